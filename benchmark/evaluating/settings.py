"""The section `evaluation` of a preset: which attacks are run, and how."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from benchmark.evaluating.precision import Precision, short_name
from methods.settings import Strict


class Evaluation(Strict):
    """The attacks on classifiers, and their conditions.

    seed: whole number, 0 or more; every random start follows from it.
    batch_size: images that go through a classifier at once, at most; 1 or more.
    precision: in which attacks may walk: `fp32`, `tf32`, `bf16` or `fp16`. What they find is judged in float32, and where a
        precision saves nothing they walk in float32 too. `float32`, `bfloat16` and `float16` are read as well.
    matrix: attacks on every task seen so far, run after each task; one entry or more. By default clean and PGD-10.
    final: further attacks, run after the last task only.
    keep_images: True to store the adversarial images that a classifier gets wrong.
    checks: the extra attacks, run after the last task for the verdicts alone: `none`, `final` (cheap ones on a part of the
        test images) or `deep` (a black-box attack too).
    """

    seed: int = Field(0, ge=0)
    batch_size: int = Field(500, ge=1)
    precision: Annotated[Precision, BeforeValidator(short_name)] = "fp32"
    matrix: list[dict[str, Any]] = Field(
        [{"attack": "clean"}, {"attack": "pgd", "steps": 10, "step_size": "eps/4"}], min_length=1
    )
    final: list[dict[str, Any]] = Field([])
    keep_images: bool = False
    checks: Literal["none", "final", "deep"] = "final"
