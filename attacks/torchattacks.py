"""Any attack of torchattacks by name (Kim 2020, *Torchattacks: A PyTorch repository for adversarial attacks*; version 3.5.1).

The package is optional and imported only where it is used.
"""

from __future__ import annotations

import difflib
import importlib.metadata
import inspect
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from attacks.base import MANY, Attack, AttackError, AttackResult, Trace, describe, is_worse, outcome_of, without, worse
from attacks.parts.capture import out_of_memory
from attacks.parts.guard import StandIn, untouched
from attacks.settings import MOST, step_size_warnings
from attacks.starts import Starts
from attacks.threat_model import BALL_TOLERANCE, ThreatModel, ThreatModelError, parse_fraction
from attacks.victim import Victim, check_samples

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
TRIED_PASSES = 20
"""Forward passes after which a trial ends: whatever fails for the shape of the images has failed by then."""
TOO_LARGE_TO_TRY = {"JSMA"}
"""Algorithms that compare all pairs of pixels: a trial on large images would take all memory. They run on every shape."""

FLOAT32_ONLY = {"EADL1", "EADEN", "FAB", "AutoAttack", "TIFGSM", "PIFGSM", "PIFGSMPP"}
"""Algorithms that mix float32 constants with the images. The others compute in the type of the images."""

ATTACK_NOTHING = {
    "VANILA": "attacks nothing: it returns the images as they are; the attack clean says so",
    "GN": "adds noise without a look at eps, and what leaves the ball does not count; the attack noise stays inside",
}
"""Algorithms that are no attack within eps, and why."""

LARGEST_EXCESS = 1e-3
"""The part of eps by which an attack that was given eps may miss the ball; that much is rounding and is projected away."""


@dataclass(frozen=True, kw_only=True)
class Torchattacks(Attack):
    """An attack of torchattacks. Its outcome is read off a forward pass of ours on the images that it returns.

    algorithm: its name there, such as "CW".
    arguments: pairs of name and value, or a mapping, kept sorted by name. One that is not given has torchattacks' default. A
        number may be text such as "2/255" or "eps/4". eps, norm, number of classes and seed are set here.

    `from_fields`, `check_classes` and `run` raise AttackError if torchattacks has no such attack or argument, or is not
    installed.

    Only images in the ball count. Attacks without eps search the nearest adversarial image of each image (CW, DeepFool, EAD,
    SparseFool) or change few pixels at will (JSMA, OnePixel, Pixle). If their image lies outside the ball, the clean image
    takes its place, so that accuracy is that within eps. From an attack with eps an image outside the ball is an error.

    It is not batch free: torchattacks draws its random numbers for the batch as a whole, and some attacks stop when the batch
    as a whole gets no better (CW). The same batch gives the same result; an image in another batch may get another one.

    The classifier is attacked in the mode it is in, and nothing of it is changed (`attacks.parts.guard`).
    """

    version: ClassVar[int] = 1
    walks: ClassVar[bool] = False
    batch_free: ClassVar[bool] = False

    algorithm: str = field()
    arguments: tuple[tuple[str, Any], ...] = ()

    def __post_init__(self) -> None:
        if not isinstance(self.algorithm, str):
            raise AttackError(
                f"algorithm = {self.algorithm!r}: expected the name of an attack of torchattacks, such as CW"
            )
        given: Iterable[Any] = self.arguments.items() if isinstance(self.arguments, Mapping) else self.arguments
        pairs = [(str(name), self._plain(str(name), value)) for name, value in given]
        if len(dict(pairs)) != len(pairs):
            raise AttackError(f"{self.label}: an argument is given twice: {', '.join(name for name, _ in pairs)}")
        object.__setattr__(self, "arguments", tuple(sorted(pairs)))

    def _plain(self, name: str, value: Any) -> Any:
        if isinstance(value, list | tuple):
            return tuple(self._plain(name, item) for item in value)
        if isinstance(value, bool | int | float | str) and not (isinstance(value, float) and not math.isfinite(value)):
            return value
        raise AttackError(
            f"{self.label}: {name} = {value!r}: expected a finite number, text, true, false or a list of these"
        )

    @classmethod
    def from_fields(cls, algorithm: str, threat_model: ThreatModel, fields: Mapping[str, Any]) -> Torchattacks:
        """The attack with these arguments, checked against the installed torchattacks. Raises AttackError with what is valid."""
        attack = cls(threat_model=threat_model, algorithm=algorithm, arguments=tuple(fields.items()))
        attack.constructor_arguments()
        return attack

    @property
    def label(self) -> str:
        return f"{self.kind}:{self.algorithm}"

    @property
    def name(self) -> str:
        written = {
            key: ",".join(map(str, value)) if isinstance(value, tuple) else value for key, value in self.arguments
        }
        first = {"steps": written.pop("steps")} if "steps" in written else {}
        return describe(self.label, self.threat_model, first | written)

    @property
    def steps(self) -> int:  # type: ignore[override]
        """The argument `steps` where it is given, else 0."""
        steps = dict(self.arguments).get("steps", 0)
        return steps if isinstance(steps, int) else 0

    def family(self) -> tuple[Any, ...]:
        return without(self.specification())

    def passes(self, classes: int = MANY) -> float:
        """As of any attack, without the targets and queries that torchattacks counts by itself."""
        if self.algorithm == "AutoAttack":
            return 6000.0  # 5,000 queries and ten steps each of the rest
        settings = self._settings()
        return 2.0 * math.prod(max(1, settings[name]) for name in STEPS | REPEATS if name in settings) + 1

    @classmethod
    def rows_per_image(cls, attacks: Sequence[Attack]) -> int:
        settings = [each._settings() for each in attacks if isinstance(each, Torchattacks)]
        return max(each.get("noise_batch_size", each.get("max_batch_size", 1)) for each in settings)

    def warnings(self) -> tuple[str, ...]:
        found: list[str] = []
        alpha = dict(self.arguments).get("alpha")
        if alpha is not None:
            found += step_size_warnings(parse_fraction(alpha, self.threat_model.eps), self.threat_model)
        if self.algorithm == "AutoAttack":
            found.append(
                "torchattacks' AutoAttack takes 10 steps where AutoAttack takes 100; the attack autoattack does"
            )
        if self.algorithm in ATTACK_NOTHING:
            found.append(f"{self.label} {ATTACK_NOTHING[self.algorithm]}")
        found += [
            f"{name} = 0: {self.label} stays where it starts"
            for name, value in self.arguments
            if name in STEPS and value == 0
        ]
        try:
            installed = importlib.metadata.version("torchattacks")
        except importlib.metadata.PackageNotFoundError:
            return tuple(found)
        if installed != CHECKED_VERSION:
            found.append(f"torchattacks {installed} is installed; this was checked with {CHECKED_VERSION}")
        return tuple(found)

    def check_classes(self, count: int) -> None:
        super().check_classes(count)
        settings = self._settings()
        targeted = self.algorithm == "APGDT" or settings.get("version") in ("standard", "plus")
        ratio = settings.get("loss") == "dlr" or settings.get("version") == "rand"
        fewest = 4 if targeted else 3 if ratio else 2
        if count < fewest:
            instead = "loss: ce"
            if self.algorithm == "AutoAttack":
                instead = "autoattack-c2" if count == 2 else "autoattack-c3"
            elif self.algorithm == "APGDT":
                instead = "apgd with targets, whose loss is ce"
            raise AttackError(
                f"{self.label} needs {fewest} classes for its loss dlr, the classifier has {count}: use {instead}"
            )

    def check_images(self, shape: tuple[int, int, int], classes: int) -> None:
        super().check_images(shape, classes)
        channels, height, width = shape
        these = f"{channels}x{height}x{width}"
        if channels != CHANNELS.get(self.algorithm, channels):
            raise AttackError(
                f"{self.label} filters images of {CHANNELS[self.algorithm]} channels, these are {these}: use MIFGSM or NIFGSM"
            )
        tiles = self.algorithm == "Square" or self._settings().get("version") in ("standard", "plus")
        if tiles and self.threat_model.norm == "l2" and min(height, width) < L2_SQUARES:
            instead = "autoattack" if self.algorithm == "AutoAttack" else "square"
            raise AttackError(
                f"{self.label} needs images of {L2_SQUARES} pixels a side under l2, these are {these}: use {instead}"
            )
        if self.algorithm not in TOO_LARGE_TO_TRY and (said := _trial(self, shape, classes)):
            raise AttackError(f"images of {these}: {said}")

    def constructor_arguments(self) -> dict[str, Any]:
        """The arguments as the constructor takes them, eps and norm included. Raises AttackError for one that is not valid."""
        defaults = self._defaults()
        norm = self.threat_model.norm
        of = (
            "both"
            if "norm" in defaults or self.algorithm in OF_NO_NORM
            else "l2"
            if self.algorithm in L2_ONLY
            else "linf"
        )
        if of not in ("both", norm):
            instead = "PGD, FGSM, MIFGSM" if norm == "linf" else ", ".join(sorted(L2_ONLY))
            raise AttackError(
                f"{self.label} is an attack of {of}, not of {self.threat_model}; of {norm} are: {instead}, APGD"
            )
        given = {name: self._converted(name, value, defaults) for name, value in self.arguments}
        given |= {name: float(self.threat_model.eps) for name in EPS if name in defaults}
        return given | ({"norm": {"linf": "Linf", "l2": "L2"}[norm]} if "norm" in defaults else {})

    def _defaults(self) -> dict[str, Any]:
        """The constructor's arguments with their defaults, without the classifier."""
        parameters = inspect.signature(_constructor(self.algorithm)).parameters
        return {name: parameter.default for name, parameter in parameters.items() if name != "model"}

    def _settings(self) -> dict[str, Any]:
        return self._defaults() | self.constructor_arguments()

    def _converted(self, name: str, value: Any, defaults: Mapping[str, Any]) -> Any:
        """One argument as the constructor takes it, checked against its default there. Raises AttackError if it is not valid."""
        if name in OURS:
            raise AttackError(f"{self.label}: {name} {OURS[name]}; leave it out here")
        valid = [other for other in defaults if other not in OURS]
        if name not in valid:
            advice = f"did you mean {_nearest(name, valid)}? valid: {', '.join(valid)}" if valid else "it takes none"
            raise AttackError(f"{self.label}: argument {name!r} is not known; {advice}")
        default, wrong = defaults[name], f"{self.label}: {name} = {value!r}: expected "
        if isinstance(default, bool | str):
            choices = CHOICES.get((self.algorithm, name))
            if choices and value not in choices:
                raise AttackError(f"{wrong}one of {', '.join(choices)}")
            if type(value) is not type(default):
                raise AttackError(wrong + ("true or false" if isinstance(default, bool) else "text"))
        elif isinstance(default, float) or name in REAL:
            try:
                return float(parse_fraction(value, self.threat_model.eps))
            except ThreatModelError:
                raise AttackError(f"{wrong}a number such as 2/255, 0.1 or eps/4") from None
        elif isinstance(default, int) and (not isinstance(value, int) or isinstance(value, bool) or value < 0):
            raise AttackError(f"{wrong}a whole number of 0 or more")
        elif (self.algorithm, name) in FEWEST_STEPS and value < FEWEST_STEPS[self.algorithm, name]:
            raise AttackError(f"{wrong}a whole number of {FEWEST_STEPS[self.algorithm, name]} or more")
        elif isinstance(value, int) and value > MOST:
            raise AttackError(f"{self.label}: {name}: expected a whole number of 0 to {MOST:,}")
        return value

    def run(
        self,
        classifier: nn.Module,
        images: Tensor,
        labels: Tensor,
        start: Starts,
        checkpoints: Sequence[int] | None = None,
    ) -> AttackResult:
        self.constructor_arguments()
        if self.checked(checkpoints) != (self.steps,):
            raise AttackError(f"checkpoints {checkpoints} of {self.name}: torchattacks shows only where it ends")
        with torch.inference_mode(False), torch.enable_grad():
            victim = Victim(classifier, images, labels)
            check_samples(start, images)
            with untouched(classifier, start) as seed:
                clean_logits = victim.logits_only(victim.images)
                victim.check_finite()
                self.check_classes(clean_logits.shape[1])
                found = self._attacked(victim, clean_logits.shape[1], seed)
                adversarial = self.inside(found, victim.images)
                final = outcome_of(victim.logits_only(adversarial), victim.labels)
                victim.check_finite()
            clean = outcome_of(clean_logits, victim.labels)
            broken = is_worse(clean, final, victim.labels)[:, None, None, None]
        self.threat_model.check(adversarial, victim.images)
        return AttackResult(
            final={self.steps: final},
            any={self.steps: worse(clean, final, victim.labels)},
            adversarial=adversarial,
            worst=torch.where(broken, adversarial, victim.images),
            trace=Trace(largest_change=[float(self.threat_model.largest_change(adversarial, victim.images).amax())]),
            gradient_evaluations=victim.gradient_evaluations,
            forward_passes=victim.forward_passes,
        )

    def _attacked(self, victim: Victim, classes: int, seed: int) -> Tensor:
        """The images that torchattacks returns, like the batch. Raises AttackError for its errors, not for the classifier's."""
        settings, defaults = self.constructor_arguments(), self._defaults()
        settings |= {name: value for name, value in {"n_classes": classes, "seed": seed}.items() if name in defaults}
        images = victim.images.float() if self.algorithm in FLOAT32_ONLY else victim.images
        stand_in = StandIn(victim)
        try:
            attack = _constructor(self.algorithm)(stand_in, **settings)
            if self.algorithm == "JSMA":  # its target is the next of ten classes, however many there are
                attack.set_mode_targeted_by_function(lambda _, labels: (labels + 1) % classes, quiet=True)
            found = attack(images, victim.labels)
        except Exception as error:
            # The size of batches is adapted when memory runs out, so that error must be passed on as it is.
            if error is stand_in.raised or out_of_memory(error):
                raise
            said = " ".join(f"{type(error).__name__}: {error}".split())
            raise AttackError(f"{self.name}: torchattacks fails here with {said}") from error
        victim.check_finite()
        if found.shape != images.shape:
            raise AttackError(f"{self.name}: torchattacks returned {tuple(found.shape)} for {tuple(images.shape)}")
        return found.detach().to(victim.images.dtype)

    def inside(self, found: Tensor, images: Tensor) -> Tensor:
        """The images found, like `images` (N, C, H, W); the clean one if an attack without eps left the ball.

        Raises ThreatModelError if an attack that was given eps left it by more than rounding.
        """
        eps = float(self.threat_model.eps)
        given_eps = any(name in self._defaults() for name in EPS)
        limit = self.threat_model.largest_allowed + (LARGEST_EXCESS * eps if given_eps else 0)
        outside_box = torch.maximum(-found, found - 1).flatten(1).amax(1)
        kept = (self.threat_model.largest_change(found, images) <= limit) & (outside_box <= BALL_TOLERANCE)
        if given_eps and not bool(kept.all()):
            self.threat_model.check(found, images)
        return torch.where(kept[:, None, None, None], self.threat_model.ball(images).project(found), images)


class _EnoughError(Exception):
    """A trial went on for as many forward passes as it may."""


class _MeanColour(nn.Module):
    """Logits that are linear in the mean of each channel, for images of any size. Ends its trial after `TRIED_PASSES`."""

    def __init__(self, channels: int, classes: int) -> None:
        super().__init__()
        numbers = torch.arange(1.0, 1 + channels * classes).view(classes, channels)
        self.weight = nn.Parameter(numbers.sin(), requires_grad=False)
        self.passes = 0

    def forward(self, images: Tensor) -> Tensor:
        self.passes += 1
        if self.passes > TRIED_PASSES:
            raise _EnoughError
        return images.mean((2, 3)) @ self.weight.T


@lru_cache(maxsize=1024)
def _trial(attack: Torchattacks, shape: tuple[int, int, int], classes: int) -> str:
    """The words in which an attack fails on two images of this shape, on a tiny classifier; empty if it does not."""
    classifier = _MeanColour(shape[0], classes)
    images = torch.linspace(0.2, 0.8, 2 * math.prod(shape)).view(2, *shape)
    labels, start = classifier(images).argmax(1), Starts(0, "trial", torch.arange(2))
    try:
        with torch.inference_mode(False), torch.enable_grad(), untouched(classifier, start) as seed:
            attack.inside(attack._attacked(Victim(classifier, images, labels), classes, seed), images)
    except _EnoughError:
        return ""
    except (AttackError, ThreatModelError) as error:
        return str(error).removeprefix(f"{attack.name}: ")
    return ""


def _constructor(algorithm: str) -> Any:
    """The class of torchattacks of that name. Raises AttackError if there is none, with the nearest name, or no package."""
    try:
        import torchattacks
    except ImportError as error:
        raise AttackError("torchattacks is not installed, which this attack needs: pip install torchattacks") from error
    if algorithm in torchattacks.__wrapper__:
        raise AttackError(
            f"torchattacks:{algorithm} wraps other attacks or trains classifiers; it cannot be run by name"
        )
    valid = [name for name in torchattacks.__all__ if name not in torchattacks.__wrapper__]
    if algorithm not in valid:
        raise AttackError(
            f"torchattacks has no {algorithm!r}; did you mean {_nearest(algorithm, valid)}? valid: {', '.join(valid)}"
        )
    return getattr(torchattacks, algorithm)


def _nearest(name: str, valid: Sequence[str]) -> str:
    by_lower_case = {other.lower(): other for other in valid}
    return by_lower_case[difflib.get_close_matches(name.lower(), by_lower_case, n=1, cutoff=0.0)[0]]
