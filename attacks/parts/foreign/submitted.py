"""Adversarial images that somebody else made, as an attack: its result is the images that it was given."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar

import torch
from torch import Tensor, nn

from attacks.base import Attack, AttackError, AttackResult, Trace, describe, is_worse, outcome_of, worse
from attacks.starts import Starts
from attacks.victim import Victim


@dataclass(frozen=True, slots=True)
class Images:
    """Submitted images.

    samples: int64 (N,), distinct test-set ids.
    images: float32 (N, C, H, W) in [0, 1], one of each sample.
    """

    samples: Tensor
    images: Tensor


@dataclass(frozen=True, kw_only=True)
class Submitted(Attack):
    """Images made elsewhere for one classifier. It belongs to no preset, so it is no plug-in.

    A sample without an image, or with one that does less than the unchanged image, keeps the unchanged image. That is in the ball
    too, so the attack covers every sample.

    title, author, made_with: of the submission, in the submitter's words.
    sha256: of the submitted file, 64 hex digits. Raises AttackError otherwise.
    images: what is submitted, no part of the specification. Without it the attack cannot run.
    """

    KIND: ClassVar[str] = "submitted"
    version: ClassVar[int] = 1
    walks: ClassVar[bool] = False

    title: str = field()
    author: str = ""
    made_with: str = ""
    sha256: str = field()
    images: Images | None = field(default=None, compare=False, repr=False)

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[0-9a-f]{64}", self.sha256):
            raise AttackError(f"sha256 = {self.sha256!r}: expected 64 hex digits")

    @property
    def name(self) -> str:
        # Words of a name are separated by blanks, and other columns follow it in tables.
        title = re.sub(r"[^A-Za-z0-9._+-]+", "-", self.title).strip("-")[:40]
        return describe(self.kind, self.threat_model, {"title": title or "untitled", "file": self.sha256[:8]})

    def run(
        self,
        classifier: nn.Module,
        images: Tensor,
        labels: Tensor,
        start: Starts,
        checkpoints: Sequence[int] | None = None,
    ) -> AttackResult:
        self.checked(checkpoints)
        if self.images is None:
            raise AttackError(f"{self.name}: the images are not here")
        with torch.inference_mode(False):
            victim = Victim(classifier, images, labels)
            given = self._given(victim.images, start)
            self.threat_model.check(given, victim.images)
            clean = outcome_of(victim.logits_only(victim.images), victim.labels)
            attacked = outcome_of(victim.logits_only(given), victim.labels)
            victim.check_finite()
        take = is_worse(clean, attacked, victim.labels)
        outcome = worse(clean, attacked, victim.labels)
        shown = torch.where(take[:, None, None, None], given, victim.images)
        change = float(self.threat_model.largest_change(shown, victim.images).amax())
        return AttackResult(
            final={self.steps: outcome},
            any={self.steps: outcome},
            adversarial=shown,
            worst=shown,
            trace=Trace(largest_change=[change]),
            gradient_evaluations=0,
            forward_passes=victim.forward_passes,
        )

    def _given(self, images: Tensor, start: Starts) -> Tensor:
        """The submitted image of each sample of the batch, the unchanged one if there is none: float (N, C, H, W)."""
        assert self.images is not None
        place = {int(sample): i for i, sample in enumerate(self.images.samples.tolist())}
        rows = [place.get(int(sample), -1) for sample in start.samples.tolist()]
        index = torch.tensor(rows, dtype=torch.int64)
        found = self.images.images[index.clamp_min(0)].to(images)
        return torch.where((index >= 0).to(images.device)[:, None, None, None], found, images)
