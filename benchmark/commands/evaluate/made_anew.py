"""Somebody's network made anew from its file, in a confined process that has seen nothing, and asked what attacks handed over."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from benchmark.commands.evaluate.files import module_file
from benchmark.commands.evaluate.loading import load_classifier
from benchmark.commands.evaluate.strange_modules import WayOfAsking, detach_computed, plain, run_uncompiled, settle
from benchmark.learning import afresh
from benchmark.learning.confined import process as confined
from benchmark.learning.confined.process import Limits, Made, NotMade, plug_in_files
from benchmark.learning.confined.sandbox import CannotConfine
from benchmark.learning.confined.stored import warm_up
from benchmark.learning.handed_over import HandedOver
from benchmark.learning.opened_files import data_places
from benchmark.planning.machine import Machine

FROM_PYTHON = "a module that is given from Python has no file to make it from anew"
NOT_THE_SAME = "the file makes another network each time it is read, so there is nothing to compare with"


@dataclass(frozen=True)
class FromFile:
    """The network in a file (`process.Source`). Weights that the file loads are read before the process is confined.

    target: `FILE.py[:NAME]`.
    device: of the network.
    asking: the way in which the network is asked.
    """

    target: str
    device: str
    limits: Limits
    asking: WayOfAsking

    @classmethod
    def of(cls, target: str, machine: Machine, asking: WayOfAsking) -> FromFile:
        """The source of a network whose evaluation begins now."""
        own = (str(module_file(target).resolve()), *plug_in_files())
        return cls(
            target,
            machine.device,
            Limits(own, data_places(machine.source.data_root), time.time(), machine.threads),
            asking,
        )

    def gather(self) -> Callable[[], Callable[[], Made]]:
        """Make the network. Raises ConfigError."""
        warm_up(torch.device(self.device))
        inside, _ = plain(load_classifier(self.target).module)
        settle(inside, self.device)
        detach_computed(inside)
        network = self.asking.of(inside)
        # For the life of this process, which is a network's own.
        run_uncompiled()

        def made(task: int) -> nn.Module:
            # Nobody is ever shown this one, so every copy of it has seen nothing.
            return copy.deepcopy(network)

        return lambda: lambda: made


def judged_anew(
    source: FromFile | None, handed_over: list[HandedOver], fingerprints: Mapping[int, str]
) -> list[dict[str, Any]]:
    """Facts of phase `AFRESH` on a network that was attacked.

    source: None for a network without a file.
    fingerprints: of the network that was attacked, by task.
    Raises NotMade if the file's network could not be made again, or did not answer.
    """
    if source is None:
        return [afresh.not_judged(FROM_PYTHON)]
    try:
        with confined.ConfinedProcess(source) as process:
            judged = afresh.judge(process, handed_over, fingerprints, fingerprints[0])
            means, reached = process.means, process.reached
    except CannotConfine as reason:
        return [afresh.not_judged(str(reason))]
    except NotMade as refused:
        if not refused.reached:
            raise
        return [afresh.reached(refused.reached, str(refused))]
    if reached:
        return [afresh.reached(reached)]
    if any(fact["name"] == "another_classifier" for fact in judged):
        return [afresh.not_judged(NOT_THE_SAME)]
    return [afresh.confined_by(means), *judged]
