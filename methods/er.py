"""Experience replay, trained adversarially: every step sees old images beside new ones (Chaudhry et al. 2019)."""

from __future__ import annotations

from dataclasses import replace

from torch import Tensor

from methods.parts.replay import Replay, ReplayingObjective, side_by_side
from methods.strategies.rehearsal import Rehearsal
from methods.training import Batch, Fit, InnerAttack, Logits


class LossOverBoth(ReplayingObjective):
    """The inner objective over the images of the stream and as many old ones as are drawn: one attack, one mean."""

    def loss(self, logits: Logits, batch: Batch, attack: InnerAttack) -> tuple[Tensor, Tensor]:
        old, _ = self.replay.draw(batch)
        both = side_by_side([batch, old])
        loss, output = self.inner.loss(self.logits_of(both), both, attack)
        return loss, output[: len(batch.labels)]


class ER(Rehearsal):
    """One network; the loss of every step is the mean over new images and old ones, which a reservoir keeps.

    Algorithm 1, with reservoir sampling. Under protocol `task` an image competes in its own task's head alone, as in the released
    code. All images go through the network in one forward pass, so batch norm's statistics are those of the mixture.

    Deviations: the reservoir is filled when a task is over (`Rehearsal`). The paper passes over the stream once; here it is the
    recipe's epochs. Under attack, which the paper has not, old images are attacked in every step anew, beside new ones (FLAIR,
    AAAI 2025, released code: anew too, in an attack of their own).
    """

    version = 1
    paper = "Chaudhry et al. 2019, On Tiny Episodic Memories in Continual Learning"

    def replaying(self, fit: Fit, replay: Replay) -> Fit:
        return replace(fit, objective=LossOverBoth(fit.objective, replay, self.logits))
