"""A PGD whose ball is not the one that it says: eps divided by 255 twice, halved, or exceeded."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any, ClassVar

from torch import Tensor, nn

from attacks.base import Attack, AttackResult, SharedResult
from attacks.pgd import PGD
from attacks.starts import Starts
from attacks.threat_model import ThreatModel, parse_fraction


@dataclass(frozen=True, kw_only=True)
class PGDOfAnotherBall(PGD):
    """factor: what eps and step size are multiplied by on the way to the walk."""

    version: ClassVar[int] = 1

    factor: Fraction

    def __post_init__(self) -> None:
        object.__setattr__(self, "factor", parse_fraction(self.factor))
        super().__post_init__()

    @property
    def kind(self) -> str:
        # The mistake is one of PGD's, and nobody knows of it.
        return "pgd"

    @property
    def name(self) -> str:
        # The right one may be stored in the same run.
        return f"{super().name} factor={self.factor}"

    def walked(self) -> PGD:
        """The PGD that is run in fact."""
        model = ThreatModel(min(self.threat_model.eps * self.factor, Fraction(1)), self.threat_model.norm)
        fields: dict[str, Any] = {
            name: getattr(self, name) for name in ("steps", "restarts", "loss", "random_start", "targets", "eot")
        }
        return PGD(threat_model=model, step_size=self.step_size * self.factor, **fields)

    @classmethod
    def run_together(
        cls, attacks: Sequence[Attack], classifier: nn.Module, images: Tensor, labels: Tensor, start: Starts
    ) -> SharedResult:
        walked = {attack: attack.walked() for attack in attacks if isinstance(attack, PGDOfAnotherBall)}
        shared = PGD.run_together(list(walked.values()), classifier, images, labels, start)
        return replace(shared, results={attack: shared.results[pgd] for attack, pgd in walked.items()})

    def run(
        self,
        classifier: nn.Module,
        images: Tensor,
        labels: Tensor,
        start: Starts,
        checkpoints: Sequence[int] | None = None,
    ) -> AttackResult:
        return self.walked().run(classifier, images, labels, start, checkpoints)
