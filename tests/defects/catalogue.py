"""The planted defects, each in several strengths, with the checks that are meant to find it: one table for tests and command.

Sources: Athalye et al. 2018 (cut gradients, quantisation, randomness), Carlini et al. 2019 (scaled logits, probabilities, attacks
that are not run as they say), Tramèr et al. 2020 (statistics of the batch), and what published evaluations were found to do.
"""

from __future__ import annotations

from tests.defects.adversaries import ADVERSARIES
from tests.defects.defect import MASKED, PlantedDefect, series, strengths

HONEST = ("single_task_at", "madry_at", "packnet", "joint_at")
"""Adversarially trained methods: whatever fires on them is a false alarm."""
UNDEFENDED = ("standard", "single_task_standard")
"""Honest too, but without a defense."""
CARRIER = "single_task_at"
"""The row whose networks carry the defects and are attacked by the broken attacks."""

CATALOGUE: list[PlantedDefect] = [
    *series(
        "logits scaled",
        ("unbounded", "rescaled_logits"),
        "gradients/scaled_logits",
        strengths("x{:g}", 1000, 100, 30, 10),
    ),
    *series(
        "gradient stopped",
        MASKED,
        "gradients/cut_gradient",
        strengths("at {:.0%} of the pixels", 1, 0.95, 0.75, 0.5, 0.25),
    ),
    *series(
        "quantised",
        MASKED,
        "gradients/rounded",
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
    *series(
        "softmax output",
        ("outputs_are_logits", "rescaled_logits"),
        "classifiers/probabilities",
        {
            "softmax": {},
            "5 softmax": {"strength": 5},
            "50 softmax": {"strength": 50},
            "0.5 softmax + 0.5 logits": {"strength": 0.5, "of": "mixed"},
        },
    ),
    *series(
        "batch norm left in train mode",
        ("eval_mode",),
        "classifiers/left_in_training",
        {"every module": {"strength": 1}, "half of the batch norms": {"strength": 0.5}, "one": {"strength": 0}},
    ),
    *series(
        "statistics of the batch",
        ("batch_independent",),
        "classifiers/batch_statistics",
        strengths("by {:.3g}", 1, 0.5, 0.1, 0.01, 0.001),
    ),
    *series(
        "statistics that move",
        ("unchanged",),
        "classifiers/moving_statistics",
        strengths("momentum {:g}", 0.1, 0.01, 1e-3, 1e-5),
    ),
    *series(
        "normalised twice",
        ("validation_reproduced",),
        "classifiers/wrong_normalisation",
        strengths("{:.0%}", 1, 0.5, 0.25, 0.1, what="double"),
    ),
    *series(
        "normalisation missing",
        ("validation_reproduced",),
        "classifiers/wrong_normalisation",
        strengths("{:.0%}", 1, 0.5, 0.25, 0.1, what="missing"),
    ),
    *series(
        "head masked, not sliced",
        ("head_sliced",),
        "classifiers/padded_head",
        {"all other classes at 0": {"strength": 0}, "two columns at 0": {"strength": 2}},
    ),
    *series(
        "head masked by -inf",
        # The attack that validates a task refuses logits that are not finite, before anything is evaluated.
        ("head_sliced", "outputs_are_logits", "failures"),
        "classifiers/padded_head",
        {
            "all other classes": {"strength": 0, "value": "-inf"},
            "one column": {"strength": 1, "value": "-inf"},
        },
    ),
    *series(
        "random input noise",
        ("repeatable",),
        "classifiers/noisy",
        {
            **strengths("sigma {:g} eps", 1, 0.25, 0.0625),
            "sigma 0.25 eps, global generator": {"strength": 0.25, "generator": "global"},
        },
    ),
    *series(
        "old batch norm unfrozen",
        ("unforgetting",),
        "learning/unfrozen_batch_norm",
        strengths("momentum {:g}", 0.1, 1e-3, 1e-5),
    ),
    *series(
        "cached copies",
        ("unforgetting",),
        "learning/cached_copies",
        {
            "state is the newest network": {"strength": 1},
            "state moved by 1 %": {"strength": 0.01},
            "state moved by 1e-5": {"strength": 1e-5},
        },
    ),
    *series(
        "validation accuracy as it is not",
        ("validation_reproduced",),
        "learning/boasting",
        strengths("by {:g} points", 20, 5, 2),
    ),
    *series(
        "classifier fails",
        ("failures",),
        "classifiers/failing",
        {
            "raises, always": {"strength": 0},
            "raises, for bright images": {"strength": 0.45},
            "not a number, for bright images": {"strength": 0.45, "what": "nan"},
        },
    ),
    *series(
        "eps of the attack",
        ("ball_used",),
        "attacks/pgd_of_another_ball",
        {f"x {factor}": {"factor": factor} for factor in ("1/255", "1/4", "1/2", "9/10", "99/100")},
        attack=True,
    ),
    *series(
        "attack leaves the ball",
        ("within_eps", "failures"),
        "attacks/pgd_of_another_ball",
        {f"eps x {factor}": {"factor": factor} for factor in ("11/10", "101/100", "1001/1000")},
        attack=True,
    ),
    *series(
        "attack raises",
        ("failures",),
        "attacks/pgd_that_raises",
        {"always": {}, "for one image in 100": {"every": 100}},
        attack=True,
    ),
    *ADVERSARIES,
    PlantedDefect("log-softmax output", "whole", (), "classifiers/probabilities", {"of": "log"}),
    PlantedDefect(
        "gradient made smaller",
        "90 % of the signal stopped",
        (),
        "gradients/cut_gradient",
        {"strength": 0.9, "of": "signal"},
    ),
    PlantedDefect("logits made smaller", "x0.1", (), "gradients/scaled_logits", {"strength": 0.1}),
    PlantedDefect(
        "rounding passed straight through", "8 bits", (), "gradients/rounded", {"strength": 8, "passes": True}
    ),
    PlantedDefect("constant made at the first question", "in a dict", (), "classifiers/honest_cache"),
]
