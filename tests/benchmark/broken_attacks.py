"""Attacks that each break one thing, with what `check` must say of it.

Each entry: what in `SOUND` is replaced by what, then regular expressions, one for every line that must say FAIL, in their order;
no other may.
"""

from __future__ import annotations

SOUND = """
import random
from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np
import torch
import torch.nn.functional as F

from attacks.base import Attack, AttackResult, Outcome, Trace, describe, outcome_of, worse
from attacks.victim import Victim


@dataclass(frozen=True, kw_only=True)
class Mine(Attack):
    "Signed steps from a random point of the ball, written by a third party."

    version: ClassVar[int] = 1
    steps: int = 2
    length: float = 0.5

    @property
    def name(self):
        return describe(self.kind, self.threat_model, {"steps": self.steps})

    def run(self, classifier, images, labels, start, checkpoints=None):
        reported = self.checked(checkpoints)
        with torch.inference_mode(False), torch.enable_grad():
            victim, eps = Victim(classifier, images, labels), float(self.threat_model.eps)
            ball = self.threat_model.ball(victim.images)
            point = ball.project(victim.images + eps * start.uniform(victim.images.shape))
            final, any_, worst, losses, zeros, length = {}, {}, point, [], [], self.length * eps
            for step in range(self.steps + 1):
                point = point.detach().requires_grad_()
                logits = victim.logits(point)
                loss = F.cross_entropy(logits, victim.labels, reduction="sum")
                outcome = outcome_of(logits.detach(), victim.labels)
                found = outcome if step == 0 else worse(found, outcome, victim.labels)
                taken = (found.margin == outcome.margin)[:, None, None, None]
                worst = torch.where(taken, point.detach(), worst)
                losses.append(float(loss.detach()))
                if step in reported:
                    final[step], any_[step] = outcome, found
                if step < self.steps:
                    gradient = victim.gradient(loss, point)
                    zeros.append(float((gradient == 0).float().mean()))
                    point = ball.project(point.detach() + length * gradient.sign())
            victim.check_finite()
            last = point.detach()
            change = float(self.threat_model.largest_change(last, victim.images).max())
            return AttackResult(
                final, any_, last, worst, Trace(losses, zeros, [0.0] * self.steps, [change]),
                victim.gradient_evaluations, victim.forward_passes,
            )
"""

Change = tuple[str, str]

CHECKED = "            victim.check_finite()\n"

SPECIFICATION = """    def specification(self):
        found = super().specification()
        return {key: found[key] for key in found if key != "length"}

"""

BROKEN: dict[str, tuple[list[Change], list[str]]] = {
    "version": ([("version: ClassVar[int] = 1", "version: ClassVar[int] = 0")], [r"Mine.version is 0: a whole number"]),
    "docstring": (
        [('    "Signed steps from a random point of the ball, written by a third party."\n', "")],
        [r"Mine has no docstring: write one"],
    ),
    "no dataclass": (
        [("@dataclass(frozen=True, kw_only=True)\n", ""), ("steps: int = 2", "steps = 2"), ("length: float", "length")],
        [r"Mine is no frozen dataclass: decorate it"],
    ),
    "no equality": (
        [
            (
                "    @property",
                "    def __eq__(self, other):\n        return self is other\n    __hash__ = object.__hash__\n\n    @property",
            )
        ],
        [r"two attacks with the same fields are not equal"],
    ),
    "specification": (
        [("    @property", SPECIFICATION + "    @property")],
        [r"specification\(\) lacks length: every field is part of what the attack is"],
    ),
    "name": (
        [('return describe(self.kind, self.threat_model, {"steps": self.steps})', "return 'yours'")],
        [r"its name is 'yours': one line that begins with"],
    ),
    "raises": (
        [("            ball =", "            raise RuntimeError('planted')\n            ball =")],
        [r"raises RuntimeError: planted: see mine.py, line 3\d$"],
    ),
    "no result": (
        [
            ("return AttackResult(", "return tuple(["),
            ("victim.forward_passes,\n            )", "victim.forward_passes])"),
        ],
        [r"run\(\) returns a tuple: return an AttackResult"],
    ),
    "other checkpoints": (
        [("if step in reported:", "if True:")],
        [r"`final` after \[0, 1, 2\] steps: after 2 alone"],
    ),
    "leaves the ball": (
        [
            (
                "point = ball.project(point.detach() + length * gradient.sign())",
                "point = (point.detach() + 3 * length * gradient.sign()).clamp(0, 1)",
            ),
            ("largest_change(last, victim.images).max())", "largest_change(last, victim.images).max()) * 0"),
        ],
        [r"`adversarial` changes an image by 0.\d+, more than eps = linf 8/255: project after every step"],
    ),
    "leaves the box": (
        [
            (
                "point = ball.project(point.detach() + length * gradient.sign())",
                "point = victim.images + eps * gradient.sign()",
            )
        ],
        [r"`adversarial` reaches -0.0\d+ .. 1.0\d+: clip to \[0, 1\]"],
    ),
    "another type": (
        [("final, any_, last, worst,", "final, any_, last.double(), worst,")],
        [
            r"`adversarial` is torch.float64 .*: like the images: torch.float32",
            r"raises RuntimeError: .*(Double|double)",
        ],
    ),
    "outcomes of other images": (
        [("final, any_, last, worst,", "final, any_, ball.project(last + 0.01), worst,")],
        [r"`final` is not what the classifier says about `adversarial`: ask the classifier about the very images"],
    ),
    "a graph": (
        [("outcome = outcome_of(logits.detach(), victim.labels)", "outcome = outcome_of(logits, victim.labels)")],
        [r"`adversarial` or `final` still holds a graph: return detached tensors"],
    ),
    "any is the last": (
        [
            (
                "found = outcome if step == 0 else worse(found, outcome, victim.labels)",
                "found = outcome if step == 0 else Outcome(outcome.predicted, torch.maximum(found.margin, outcome.margin))",
            )
        ],
        [r"`any` is not what the classifier says about `worst`", r"`any` has a larger margin than `final`"],
    ),
    "a trace of tensors": (
        [("losses.append(float(loss.detach()))", "losses.append(loss.detach())")],
        [r"trace.loss holds other things than floats"],
    ),
    "a trace that is too long": (
        [("losses.append(float(loss.detach()))", "losses.extend([float(loss.detach())] * 2)")],
        [r"the trace has 6 losses and 2 shares of zero gradients for 2 steps"],
    ),
    "writes to the images": (
        [(CHECKED, CHECKED + "            _ = images.is_inference() or images.requires_grad_()\n")],
        [r"it changes the images it is given: work on a copy"],
    ),
    "gradients in the parameters": (
        [("gradient = victim.gradient(loss, point)", "loss.backward()\n                    gradient = point.grad")],
        [r"it writes gradients into the classifier's parameters: torch.autograd.grad"],
    ),
    "freezes the classifier": (
        [("            ball =", "            classifier.requires_grad_(False)\n            ball =")],
        [r"it changes which parameters take a gradient"],
    ),
    "training mode": (
        [("            victim.check_finite()", "            victim.check_finite()\n            classifier.train()")],
        [
            r"`final` is not what the exact classifier",
            r"it switches the classifier to training mode",
            r"an image gets another result in a batch",
        ],
    ),
    "writes to the classifier": (
        [
            (
                "            victim.check_finite()",
                "            victim.check_finite()\n            classifier.head.bias.data.add_(1)",
            )
        ],
        [r"no attribute 'head'", r"it changes the classifier's weights or buffers"],
    ),
    "global random numbers": (
        [("start.uniform(victim.images.shape)", "(2 * torch.rand(victim.images.shape) - 1)")],
        [
            r"it uses or seeds a global generator \(torch.manual_seed\): take every random number from `start`",
            r"it gives another result the second time: take every random number from `start`",
            r"an image gets another result in a batch",
            r"gives another result under torch.no_grad",
            r"the checkpoint after 1 of 6 steps",
        ],
    ),
    "seeds a global generator": (
        [("            ball =", "            np.random.seed(0)\n            ball =")],
        [r"it uses or seeds a global generator \(numpy.random.seed\)"],
    ),
    "random numbers by the place in the batch": (
        [
            (
                "start.uniform(victim.images.shape)",
                "(2 * torch.rand(victim.images.shape, generator=torch.Generator().manual_seed(0)) - 1)",
            )
        ],
        [r"an image gets another result in a batch of 1 than in one of 12: draw per sample"],
    ),
    "cannot under no_grad": (
        [("with torch.inference_mode(False), torch.enable_grad():", "if True:")],
        [r"raises .*(grad|inference).*: see mine.py|gives another result under"],
    ),
    "moves with eps 0": (
        [
            ("victim.images + eps *", "victim.images + 0.01 *"),
            (
                "ball = self.threat_model.ball(victim.images)",
                "ball = __import__('attacks.threat_model').threat_model.ThreatModel('8/255').ball(victim.images)",
            ),
        ],
        [r"with eps 0 it changes images or predictions: keep every iterate in the ball"],
    ),
    "a schedule over the steps": (
        [("self.length * eps", "self.length * eps / self.steps")],
        [r"the checkpoint after 1 of 6 steps is not the attack of 1 steps: .*override family\(\)"],
    ),
    "believes NaN": (
        [("            victim.check_finite()\n", "")],
        [r"a classifier that returns NaN: it runs as if nothing were wrong"],
    ),
    "checks nothing": (
        [
            ("        reported = self.checked(checkpoints)\n", "        reported = checkpoints or [self.steps]\n"),
        ],
        [r"checkpoints = \[\]: it runs as if nothing were wrong: ask the classifier through attacks.victim.Victim"],
    ),
}
