"""The columns of every stored table, and the phases of facts. `VERSION` rises when old readers would misread new files."""

from __future__ import annotations

import pyarrow as pa

VERSION = 1

ANY = " any"
"""Suffix of the attack name under which the any-iterate outcome of the same attack is stored."""

OLDER_VERSIONS = {(kind, 1): {"schedule": "stretched"} for kind in ("autoattack", "autoattack-c2", "autoattack-c3")}
"""Older versions of attacks that a setting makes now: (kind, version) → that setting. They have it in their name.

AutoAttack's first version stretched the schedule of Square to its queries, which the official code does not do.
"""

TASKS = pa.schema(
    [
        ("task", pa.int16()),
        ("name", pa.string()),
        ("classes", pa.list_(pa.string())),
        ("train", pa.int32()),
        ("validation", pa.int32()),
        ("test", pa.int32()),
        ("chance", pa.float64()),
        ("fingerprint", pa.string()),
        ("test_fingerprint", pa.string()),
    ]
)

PREDICTIONS = pa.schema(
    [
        ("after_task", pa.int16()),
        ("task", pa.int16()),
        ("sample", pa.int32()),
        ("attack", pa.dictionary(pa.int32(), pa.string())),
        ("label", pa.int16()),
        ("predicted", pa.int16()),
        ("margin", pa.float32()),
        ("evaluation_id", pa.dictionary(pa.int32(), pa.string())),
    ]
)

EVALUATIONS = pa.schema(
    [
        ("after_task", pa.int16()),
        ("task", pa.int16()),
        ("attack", pa.string()),  # the name, without the any-iterate suffix
        ("evaluation_id", pa.string()),
        ("kind", pa.string()),
        ("norm", pa.string()),
        ("eps", pa.string()),  # exact, e.g. 8/255
        ("steps", pa.int32()),
        ("step_size", pa.string()),  # exact; null where the attack has none
        ("restarts", pa.int32()),
        ("loss", pa.string()),
        ("specification", pa.string()),  # every field, as JSON
        ("attack_version", pa.int32()),
        ("classifier", pa.string()),  # fingerprint of the attacked classifier
        ("task_fingerprint", pa.string()),
        ("seed", pa.int64()),
        ("precision", pa.string()),
        ("device", pa.string()),
        ("arithmetic", pa.string()),  # torch's version, processor or GPU, instructions in use
        ("threads", pa.int32()),
        ("batch_size", pa.int32()),
        ("samples", pa.int32()),
        ("trajectory", pa.string()),  # name of the attack that was run, and of which this is a checkpoint
        ("reused", pa.bool_()),  # copied from an evaluation of the same unchanged classifier
        ("seconds", pa.float64()),  # of the trajectory, counted for its longest attack only
        ("gradient_evaluations", pa.int64()),  # image gradients, likewise
        ("forward_passes", pa.int64()),
        ("largest_change", pa.float64()),  # measured, in pixel space
        ("unchanged", pa.bool_()),  # classifier and random state hashed equal before and after
        ("trace", pa.string()),  # JSON: loss, zero_gradients, non_finite, largest_change per iterate
    ]
)

FACTS = pa.schema(
    [
        ("task", pa.int16()),  # -1: of the whole run
        ("phase", pa.string()),
        ("name", pa.string()),
        ("value", pa.float64()),
        ("text", pa.string()),
    ]
)

TRAINING = pa.schema(
    [
        ("task", pa.int16()),
        ("phase", pa.string()),
        ("epoch", pa.int32()),
        ("loss", pa.float64()),
        ("clean_train", pa.float64()),  # null where it was not measured in this epoch
        ("robust_train", pa.float64()),
        ("clean_validation", pa.float64()),
        ("robust_validation", pa.float64()),
        ("learning_rate", pa.float64()),
        ("seconds", pa.float64()),
        ("selected", pa.bool_()),
    ]
)


YOUNGER = ("arithmetic",)
"""Columns that records of older versions lack. They are null there."""

TABLES = {"predictions": PREDICTIONS, "evaluations": EVALUATIONS, "facts": FACTS, "training": TRAINING}
"""The tables that a run stores in parts, each in the folder of its name."""


# The phases of facts: every fact of a run belongs to one of them.

METHOD = "method"
"""Facts that the method itself records while it learns, such as the capacity that is left."""

HARNESS = "harness"
"""Facts that the benchmark records when a task was learned: its classifier's fingerprint and validation outcomes."""

COSTS = "cost"
"""The costs of the run. A run without this part is not finished."""

SECONDS = "seconds"
"""Facts on where the time of the run went: seconds by purpose, in the processes that worked on it. Older runs have none."""

PROBES = "probes"
"""Facts from a few forward passes on each classifier."""

GRADIENTS = "gradients"
"""Facts from finite differences: how far the gradient of each classifier is from what the classifier does."""

DATA = "data"
"""Warnings of the data of a run: images under two classes, images to learn from that are tested on, other copies."""

LEARNING = "learning"
"""Facts on what a method reached for while it learned: files that it opened, loaders that it called."""

UNSEEN = "unseen"
"""Facts on each classifier's answers to test images beside its answers to images that no method can know."""

AFRESH = "afresh"
"""Facts on what classifiers answer that were made anew from the stored state and have seen nothing."""

VALIDATED = "validated"
"""Facts on the validation images that the classifiers after the last task get right. `tune` compares by them."""

UNFORGETTING = "unforgetting"
"""Facts from the proof that nothing is forgotten. A method's claim that it forgets nothing has the same name."""


SAFE_MARGIN = 1e-3
"""Predictions of smaller margins may flip by rounding."""
