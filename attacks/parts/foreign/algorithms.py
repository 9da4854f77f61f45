"""Algorithms of torchattacks 3.5.1: their norms, the meaning of their arguments, the classes and images that each can attack.

The package is optional and imported only where it is used.
"""

from __future__ import annotations

import difflib
import inspect
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from attacks.base import AttackError
from attacks.settings import MOST
from attacks.threat_model import ThreatModel, ThreatModelError, parse_fraction

CHECKED_VERSION = "3.5.1"

# torchattacks does not say which norm an attack is for. One whose constructor has `norm` is for both, any other for linf, but:
L2_ONLY = {"CW", "DeepFool", "PGDL2", "PGDRSL2"}
OF_NO_NORM = {"VANILA", "GN", "JSMA", "EADL1", "EADEN", "SparseFool", "OnePixel", "Pixle"}
"""L0, L1 and noise: under either norm they count where they happen to end inside the ball."""

EPS = ("eps", "max_epsilon")
"""The names that constructors give to eps."""
OURS = {
    **dict.fromkeys((*EPS, "norm"), "is that of the threat model"),
    "n_classes": "is read off the classifier",
    "seed": "follows from the evaluation's seed",
    "verbose": "is off",
}
"""Arguments that a preset must not give, and why."""

CHOICES = {
    ("APGD", "loss"): ("ce", "dlr"),
    ("UPGD", "loss"): ("ce", "dlr", "margin"),
    ("Square", "loss"): ("ce", "margin"),
    ("PGDRS", "noise_type"): ("guassian", "uniform"),  # spelled so in torchattacks
    ("PGDRSL2", "noise_type"): ("guassian", "uniform"),
    ("TIFGSM", "kernel_name"): ("gaussian", "linear", "uniform"),
    ("AutoAttack", "version"): ("standard", "plus", "rand"),
}
"""Valid texts, by algorithm and argument."""
REAL = {"c", "kappa", "scale", "lam"}
"""Arguments that need not be whole, although their default is."""

STEPS = {"steps", "num_iter_set", "max_iterations", "nb_iter", "n_queries"}
"""Arguments that count steps."""
REPEATS = {
    "n_restarts",
    "restarts",
    "binary_search_steps",
    "eot_iter",
    "m",
    "N",
    "popsize",
    "noise_batch_size",
    "nb_sample",
}
"""Arguments by which the cost is multiplied."""

CHANNELS = dict.fromkeys(("TIFGSM", "PIFGSM", "PIFGSMPP"), 3)
"""The number of channels for which the filters of an algorithm are made."""
L2_SQUARES = 5
"""The shortest side of images on which Square lays out its squares under L2; a shorter one is divided by zero."""
FEWEST_STEPS = {("EADL1", "max_iterations"): 10, ("EADEN", "max_iterations"): 10}
"""Fewest steps, by algorithm and argument: every tenth part of them is looked at, and no part is a division by zero."""
TOO_LARGE_TO_TRY = {"JSMA"}
"""Algorithms that compare all pairs of pixels: a trial on large images would take all memory. They run on every shape."""

FLOAT32_ONLY = {"EADL1", "EADEN", "FAB", "AutoAttack", "TIFGSM", "PIFGSM", "PIFGSMPP"}
"""Algorithms that mix float32 constants with the images. The others compute in the type of the images."""

ATTACK_NOTHING = {
    "VANILA": "attacks nothing: it returns the images as they are; the attack clean says so",
    "GN": "adds noise without a look at eps, and what leaves the ball does not count; the attack noise stays inside",
}
"""Algorithms that are no attack within eps, and why."""


@dataclass(frozen=True)
class TorchattacksAlgorithm:
    """An algorithm of torchattacks, looked up in the installed package where that is needed.

    name: its name there, such as "CW".

    Methods that look it up raise AttackError if torchattacks has no such algorithm, or is not installed.
    """

    name: str

    @property
    def label(self) -> str:
        return f"torchattacks:{self.name}"

    @property
    def usual_norm(self) -> str:
        """The norm under which it is run where none is asked for."""
        return "l2" if self.name in L2_ONLY else "linf"

    def constructor(self) -> Any:
        """The class of torchattacks of that name. Raises AttackError if there is none, with the nearest name, or no package."""
        try:
            import torchattacks
        except ImportError as error:
            raise AttackError(
                "torchattacks is not installed, which this attack needs: pip install torchattacks"
            ) from error
        if self.name in torchattacks.__wrapper__:
            raise AttackError(f"{self.label} wraps other attacks or trains classifiers; it cannot be run by name")
        valid = [name for name in torchattacks.__all__ if name not in torchattacks.__wrapper__]
        if self.name not in valid:
            raise AttackError(
                f"torchattacks has no {self.name!r}; did you mean {_nearest(self.name, valid)}? valid: {', '.join(valid)}"
            )
        return getattr(torchattacks, self.name)

    def defaults(self) -> dict[str, Any]:
        """The constructor's arguments with their defaults, without the classifier."""
        parameters = inspect.signature(self.constructor()).parameters
        return {name: parameter.default for name, parameter in parameters.items() if name != "model"}

    def takes_eps(self) -> bool:
        """True if it is told eps; the others search the nearest adversarial image, or change few pixels at will."""
        return any(name in self.defaults() for name in EPS)

    def constructor_arguments(self, given: Mapping[str, Any], threat_model: ThreatModel) -> dict[str, Any]:
        """The arguments as the constructor takes them, eps and norm included.

        given: arguments by name, as a preset has them.
        Raises AttackError for an argument that is not valid, and for a norm that the algorithm is not for.
        """
        defaults, norm = self.defaults(), threat_model.norm
        if norm != self.usual_norm and "norm" not in defaults and self.name not in OF_NO_NORM:
            instead = "PGD, FGSM, MIFGSM" if norm == "linf" else ", ".join(sorted(L2_ONLY))
            raise AttackError(
                f"{self.label} is an attack of {self.usual_norm}, not of {threat_model}; of {norm} are: {instead}, APGD"
            )
        taken = {name: self._converted(name, value, defaults, threat_model) for name, value in given.items()}
        taken |= {name: float(threat_model.eps) for name in EPS if name in defaults}
        return taken | ({"norm": {"linf": "Linf", "l2": "L2"}[norm]} if "norm" in defaults else {})

    def settings(self, given: Mapping[str, Any], threat_model: ThreatModel) -> dict[str, Any]:
        """Every argument of the constructor: those given, eps and norm, else the default. Raises as `constructor_arguments`."""
        return self.defaults() | self.constructor_arguments(given, threat_model)

    def passes(self, given: Mapping[str, Any], threat_model: ThreatModel) -> float:
        """Forward and backward passes per image, as far as the arguments tell. Raises as `constructor_arguments`."""
        if self.name == "AutoAttack":
            return 6000.0  # 5,000 queries and ten steps each of the rest
        settings = self.settings(given, threat_model)
        return 2.0 * math.prod(max(1, settings[name]) for name in STEPS | REPEATS if name in settings) + 1

    def check_classes(self, settings: Mapping[str, Any], count: int) -> None:
        """Raises AttackError if its loss needs more classes than the classifier has."""
        targeted = self.name == "APGDT" or settings.get("version") in ("standard", "plus")
        ratio = settings.get("loss") == "dlr" or settings.get("version") == "rand"
        fewest = 4 if targeted else 3 if ratio else 2
        if count < fewest:
            instead = "loss: ce"
            if self.name == "AutoAttack":
                instead = "autoattack-c2" if count == 2 else "autoattack-c3"
            elif self.name == "APGDT":
                instead = "apgd with targets, whose loss is ce"
            raise AttackError(
                f"{self.label} needs {fewest} classes for its loss dlr, the classifier has {count}: use {instead}"
            )

    def check_images(self, settings: Mapping[str, Any], norm: str, shape: tuple[int, int, int]) -> None:
        """Raises AttackError if it is made for other images than such of shape (C, H, W)."""
        channels, height, width = shape
        these = f"{channels}x{height}x{width}"
        if channels != CHANNELS.get(self.name, channels):
            raise AttackError(
                f"{self.label} filters images of {CHANNELS[self.name]} channels, these are {these}: use MIFGSM or NIFGSM"
            )
        tiles = self.name == "Square" or settings.get("version") in ("standard", "plus")
        if tiles and norm == "l2" and min(height, width) < L2_SQUARES:
            instead = "autoattack" if self.name == "AutoAttack" else "square"
            raise AttackError(
                f"{self.label} needs images of {L2_SQUARES} pixels a side under l2, these are {these}: use {instead}"
            )

    def _converted(self, name: str, value: Any, defaults: Mapping[str, Any], threat_model: ThreatModel) -> Any:
        """One argument as the constructor takes it, checked against its default there. Raises AttackError if it is not valid."""
        if name in OURS:
            raise AttackError(f"{self.label}: {name} {OURS[name]}; leave it out here")
        valid = [other for other in defaults if other not in OURS]
        if name not in valid:
            advice = f"did you mean {_nearest(name, valid)}? valid: {', '.join(valid)}" if valid else "it takes none"
            raise AttackError(f"{self.label}: argument {name!r} is not known; {advice}")
        default, wrong = defaults[name], f"{self.label}: {name} = {value!r}: expected "
        if isinstance(default, bool | str):
            choices = CHOICES.get((self.name, name))
            if choices and value not in choices:
                raise AttackError(f"{wrong}one of {', '.join(choices)}")
            if type(value) is not type(default):
                raise AttackError(wrong + ("true or false" if isinstance(default, bool) else "text"))
        elif isinstance(default, float) or name in REAL:
            try:
                return float(parse_fraction(value, threat_model.eps))
            except ThreatModelError:
                raise AttackError(f"{wrong}a number such as 2/255, 0.1 or eps/4") from None
        elif isinstance(default, int) and (not isinstance(value, int) or isinstance(value, bool) or value < 0):
            raise AttackError(f"{wrong}a whole number of 0 or more")
        elif (self.name, name) in FEWEST_STEPS and value < FEWEST_STEPS[self.name, name]:
            raise AttackError(f"{wrong}a whole number of {FEWEST_STEPS[self.name, name]} or more")
        elif isinstance(value, int) and value > MOST:
            raise AttackError(f"{self.label}: {name}: expected a whole number of 0 to {MOST:,}")
        return value


def _nearest(name: str, valid: Sequence[str]) -> str:
    by_lower_case = {other.lower(): other for other in valid}
    return by_lower_case[difflib.get_close_matches(name.lower(), by_lower_case, n=1, cutoff=0.0)[0]]
