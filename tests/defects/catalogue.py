"""The planted defects, each in several strengths, with the checks that are meant to find it: one table for tests and command.

Sources: Athalye et al. 2018 (cut gradients, quantisation, randomness), Carlini et al. 2019 (scaled logits, probabilities, attacks
that are not run as they say), Tramèr et al. 2020 (statistics of the batch), and what published evaluations were found to do.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

PLUGINS = Path(__file__).with_name("plugins")

HONEST = ("single_task_at", "madry_at", "packnet", "joint_at")
"""Adversarially trained methods: whatever fires on them is a false alarm."""
UNDEFENDED = ("standard", "single_task_standard")
"""Honest too, but without a defense."""
CARRIER = "single_task_at"
"""The row whose networks carry the defects and are attacked by the broken attacks."""


@dataclass(frozen=True)
class PlantedDefect:
    """A defect at one strength.

    defect, strength: in words; together they are the label.
    meant: checks of which at least one must find it; none if it does no harm, and then no check may find it.
    plugin: the file that holds it.
    settings: those of the method, or the fields of the attack.
    full: True for the full strength, which must never be missed.
    attack: True for an attack, which takes the place of every PGD of the evaluation.
    """

    defect: str
    strength: str
    meant: tuple[str, ...]
    plugin: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    full: bool = False
    attack: bool = False

    @property
    def label(self) -> str:
        return f"{self.defect}, {self.strength}"

    @property
    def path(self) -> Path:
        return PLUGINS / f"{self.plugin}.py"

    @property
    def is_harmless(self) -> bool:
        return not self.meant


def _series(
    defect: str,
    meant: tuple[str, ...],
    plugin: str,
    strengths: Mapping[str, Mapping[str, Any]],
    *,
    attack: bool = False,
) -> list[PlantedDefect]:
    """One defect in several strengths, the first of them full."""
    return [
        PlantedDefect(defect, strength, meant, plugin, settings, full=index == 0, attack=attack)
        for index, (strength, settings) in enumerate(strengths.items())
    ]


def _strengths(form: str, *values: float, **settings: Any) -> dict[str, dict[str, Any]]:
    """Strengths that differ in the setting `strength` alone. form: how they are written."""
    return {form.format(value): {"strength": value, **settings} for value in values}


MASKED = ("unbounded", "gradients_carry_signal")
"""A gradient that hides what is there shows in itself, or in an attack without bounds that finds nothing."""

CATALOGUE: list[PlantedDefect] = [
    *_series(
        "logits scaled", ("unbounded", "rescaled_logits"), "scaled_logits", _strengths("x{:g}", 1000, 100, 30, 10)
    ),
    *_series(
        "gradient stopped", MASKED, "cut_gradient", _strengths("at {:.0%} of the pixels", 1, 0.95, 0.75, 0.5, 0.25)
    ),
    *_series(
        "quantised",
        MASKED,
        "rounded",
        {
            "input, 8 bits": {"strength": 8},
            "input, 6 bits": {"strength": 6},
            "input, 4 bits": {"strength": 4},
            "half of the input, 8 bits": {"strength": 8, "share": 0.5},
            "features, to 1/256": {"strength": 8, "of": "features"},
            "logits, to 1/8": {"strength": 3, "of": "logits"},
            "logits, to 1/256": {"strength": 8, "of": "logits"},
        },
    ),
    *_series(
        "softmax output",
        ("outputs_are_logits", "rescaled_logits"),
        "probabilities",
        {
            "softmax": {},
            "5 softmax": {"strength": 5},
            "50 softmax": {"strength": 50},
            "0.5 softmax + 0.5 logits": {"strength": 0.5, "of": "mixed"},
        },
    ),
    *_series(
        "batch norm left in train mode",
        ("eval_mode",),
        "left_in_training",
        {"every module": {"strength": 1}, "half of the batch norms": {"strength": 0.5}, "one": {"strength": 0}},
    ),
    *_series(
        "statistics of the batch",
        ("batch_independent",),
        "batch_statistics",
        _strengths("by {:.3g}", 1, 0.5, 0.1, 0.01, 0.001),
    ),
    *_series(
        "statistics that move", ("unchanged",), "moving_statistics", _strengths("momentum {:g}", 0.1, 0.01, 1e-3, 1e-5)
    ),
    *_series(
        "normalised twice",
        ("validation_reproduced",),
        "wrong_normalisation",
        _strengths("{:.0%}", 1, 0.5, 0.25, 0.1, what="double"),
    ),
    *_series(
        "normalisation missing",
        ("validation_reproduced",),
        "wrong_normalisation",
        _strengths("{:.0%}", 1, 0.5, 0.25, 0.1, what="missing"),
    ),
    *_series(
        "head masked, not sliced",
        ("head_sliced",),
        "padded_head",
        {"all other classes at 0": {"strength": 0}, "two columns at 0": {"strength": 2}},
    ),
    *_series(
        "head masked by -inf",
        # The attack that validates a task refuses logits that are not finite, before anything is evaluated.
        ("head_sliced", "outputs_are_logits", "failures"),
        "padded_head",
        {
            "all other classes": {"strength": 0, "value": "-inf"},
            "one column": {"strength": 1, "value": "-inf"},
        },
    ),
    *_series(
        "random input noise",
        ("repeatable",),
        "noisy",
        {
            **_strengths("sigma {:g} eps", 1, 0.25, 0.0625),
            "sigma 0.25 eps, global generator": {"strength": 0.25, "generator": "global"},
        },
    ),
    *_series(
        "old batch norm unfrozen",
        ("unforgetting",),
        "unfrozen_batch_norm",
        _strengths("momentum {:g}", 0.1, 1e-3, 1e-5),
    ),
    *_series(
        "cached copies",
        ("unforgetting",),
        "cached_copies",
        {
            "state is the newest network": {"strength": 1},
            "state moved by 1 %": {"strength": 0.01},
            "state moved by 1e-5": {"strength": 1e-5},
        },
    ),
    *_series(
        "validation accuracy as it is not",
        ("validation_reproduced",),
        "boasting",
        _strengths("by {:g} points", 20, 5, 2),
    ),
    *_series(
        "classifier fails",
        ("failures",),
        "failing",
        {
            "raises, always": {"strength": 0},
            "raises, for bright images": {"strength": 0.45},
            "not a number, for bright images": {"strength": 0.45, "what": "nan"},
        },
    ),
    *_series(
        "eps of the attack",
        ("ball_used",),
        "pgd_of_another_ball",
        {f"x {factor}": {"factor": factor} for factor in ("1/255", "1/4", "1/2", "9/10", "99/100")},
        attack=True,
    ),
    *_series(
        "attack leaves the ball",
        ("within_eps", "failures"),
        "pgd_of_another_ball",
        {f"eps x {factor}": {"factor": factor} for factor in ("11/10", "101/100", "1001/1000")},
        attack=True,
    ),
    *_series(
        "attack raises",
        ("failures",),
        "pgd_that_raises",
        {"always": {}, "for one image in 100": {"every": 100}},
        attack=True,
    ),
    PlantedDefect("log-softmax output", "whole", (), "probabilities", {"of": "log"}),
    PlantedDefect(
        "gradient made smaller", "90 % of the signal stopped", (), "cut_gradient", {"strength": 0.9, "of": "signal"}
    ),
    PlantedDefect("logits made smaller", "x0.1", (), "scaled_logits", {"strength": 0.1}),
]
