"""Our side: a method of the catalogue learns the stream, without attack and without harness."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

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
) -> Matrix:
    """Learn the stream with a method of ours."""
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
