"""Any attack of torchattacks by name (Kim 2020, *Torchattacks: A PyTorch repository for adversarial attacks*; version 3.5.1).

The package is optional and imported only where it is used.
"""

from __future__ import annotations

import importlib.metadata
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from attacks.base import MANY, Attack, AttackError, AttackResult, Trace, describe, is_worse, outcome_of, without, worse
from attacks.parts.foreign.algorithms import (
    ATTACK_NOTHING,
    CHECKED_VERSION,
    FLOAT32_ONLY,
    STEPS,
    TOO_LARGE_TO_TRY,
    TorchattacksAlgorithm,
)
from attacks.parts.foreign.stand_in import StandIn
from attacks.parts.graphs.capture import out_of_memory
from attacks.parts.guard import untouched
from attacks.settings import step_size_warnings
from attacks.starts import Starts
from attacks.threat_model import BALL_TOLERANCE, ThreatModel, ThreatModelError, parse_fraction
from attacks.victim import Victim, check_samples

LARGEST_EXCESS = 1e-3
"""The part of eps by which an attack that was given eps may miss the ball; that much is rounding and is projected away."""
TRIED_PASSES = 20
"""Forward passes after which a trial ends: whatever fails for the shape of the images has failed by then."""


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
        return self._known.label

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
        return self._known.passes(dict(self.arguments), self.threat_model)

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
        self._known.check_classes(self._settings(), count)

    def check_images(self, shape: tuple[int, int, int], classes: int) -> None:
        super().check_images(shape, classes)
        self._known.check_images(self._settings(), self.threat_model.norm, shape)
        if self.algorithm not in TOO_LARGE_TO_TRY and (said := _trial(self, shape, classes)):
            raise AttackError(f"images of {'x'.join(map(str, shape))}: {said}")

    def constructor_arguments(self) -> dict[str, Any]:
        """The arguments as the constructor takes them, eps and norm included. Raises AttackError for one that is not valid."""
        return self._known.constructor_arguments(dict(self.arguments), self.threat_model)

    @property
    def _known(self) -> TorchattacksAlgorithm:
        return TorchattacksAlgorithm(self.algorithm)

    def _settings(self) -> dict[str, Any]:
        return self._known.settings(dict(self.arguments), self.threat_model)

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
        settings, defaults = self.constructor_arguments(), self._known.defaults()
        settings |= {name: value for name, value in {"n_classes": classes, "seed": seed}.items() if name in defaults}
        images = victim.images.float() if self.algorithm in FLOAT32_ONLY else victim.images
        stand_in = StandIn(victim)
        try:
            attack = self._known.constructor()(stand_in, **settings)
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
        given_eps = self._known.takes_eps()
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
