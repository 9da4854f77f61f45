"""Our side: a method of the catalogue learns the stream, without attack and without harness."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch

from methods.backbones import MultiHead, TaskNetwork
from scenarios.base import StreamProtocol
from tests.references.stream import Begun, Matrix, Training, begin, percent_right


def learn(
    folder: Path,
    protocol: StreamProtocol,
    seed: int,
    method: str,
    settings: Mapping[str, Any],
    training: Training | None = None,
    *,
    plain: bool = False,
    at_once: bool = False,
) -> Matrix:
    """Learn the stream with a method of ours.

    at_once: True for all heads beside each other from the first task on, as the references of DER++ have them, under protocol
        `class`; False for those of the tasks so far.
    """
    seen = MultiHead.for_seen

    def all_heads(self: MultiHead, task: int) -> TaskNetwork:
        return seen(self, len(self.heads) - 1)

    with patch.object(MultiHead, "for_seen", all_heads) if at_once else nullcontext():
        return run(begin(folder, protocol, seed, method, settings, training, plain=plain))


def run(begun: Begun) -> Matrix:
    """Learn the stream with a method that has begun."""
    matrix = Matrix()
    for task in begun.tasks:
        begun.context.begin_turn(task.id, len(begun.tasks), task.name)
        begun.method.learn(task, begun.context)
        with torch.no_grad():
            matrix.rows.append(
                [
                    percent_right(begun.method.classifier(begun.stream.asks(old))(images), labels)
                    for old, (_, _, images, labels) in enumerate(begun.images[: task.id + 1])
                ]
            )
    return matrix
