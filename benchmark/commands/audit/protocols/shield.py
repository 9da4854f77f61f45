"""The released configurations of SHIELD (Krukowski et al. 2025) as switches, of its code next to the published table.

They change the evaluation alone, so no network is trained for them. Their eps are ratios here, which fit every preset: the
configurations of Split-CIFAR100 attack with 1/255 (PGD, steps of 4/255), 2/255 (AutoAttack) and 4/255 (FGSM), so the preset's eps
stands where a PGD with radius and step the other way round would have it.

docs/audit.md says where each finding S1 to S9 is read.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from benchmark.commands.audit.switches import TASK_BATCH, AuditedEvaluation, Switch
from reports.audit.columns import AUTOATTACK, COLUMN_TABLES, FGSM, ONE_BALL, OWN_EPS, PGD, RELEASED

ROWS = ("madry_at", "packnet", "cmat")
"""The rows on which the switches are turned: all, because nothing is trained for them."""

_SWAPPED = {"eval_eps": "eps/4", "eval_step_size": "4 eps"}
_HALF = {"eval_eps": "eps/2"}
_ONE_PGD = {"eval_alone": "pgd-100"}
_TASK_BATCH = {"eval_bn": TASK_BATCH}
_ANEW = {"reclassified": True}

SWITCHES: tuple[Switch, ...] = (
    Switch(
        "swapped_radius", _SWAPPED, False, "S1", "8/255, steps of 2/255", "2/255, steps of 8/255",
        "up, most of all: the attack has a quarter of the radius that its numbers say", methods=ROWS,
    ),
    Switch(
        "half_radius", _HALF, False, "S2", "8/255", "4/255",
        "up, much: half the radius", methods=ROWS,
    ),
    Switch(
        "one_pgd", _ONE_PGD, False, "S6", "worst case of the suite", "PGD-100 under CE, its final iterate",
        "up: one attack, its final iterate alone, is weaker than the worst of six", methods=ROWS,
    ),
    Switch(
        "eval_bn_batch", _TASK_BATCH, False, "S3", "running statistics", "statistics of the task's test images at once",
        "of either sign: clean answers may be better, and every image is attacked by way of the others too", methods=ROWS,
    ),
    Switch(
        "reclassified", _ANEW, False, "S5", "broken where an attack saw it broken", "answered anew, all images in one batch",
        "none by itself: only where an answer depends on the other images of its batch", methods=ROWS,
    ),
)  # fmt: skip

SHIELD_PGD, SHIELD_AUTOATTACK = "shield_pgd", "shield_autoattack"
BUNDLES: tuple[Switch, ...] = (
    Switch(
        SHIELD_PGD, _SWAPPED | _ONE_PGD | _TASK_BATCH, False, "S1, S3, S6", "-", "its PGD column",
        "up, much", methods=ROWS, bundle=True,
    ),
    Switch(
        SHIELD_AUTOATTACK, _HALF | _TASK_BATCH | _ANEW, False, "S2, S3, S5", "-",
        "its AutoAttack column, the suite in AutoAttack's place", "up", methods=ROWS, bundle=True,
    ),
)  # fmt: skip

SHIELD = AuditedEvaluation("shield", SWITCHES, BUNDLES, COLUMN_TABLES, ("madry_at", "packnet"))

Changes = Mapping[str, Any]
_FGSM = {"eval_alone": "fgsm"}
COLUMNS: dict[str, dict[str, Changes]] = {
    ONE_BALL: {AUTOATTACK: {}, PGD: _ONE_PGD, FGSM: _FGSM},
    OWN_EPS: {AUTOATTACK: _HALF, PGD: _ONE_PGD | _SWAPPED, FGSM: _FGSM},
    RELEASED: {
        AUTOATTACK: _HALF | _TASK_BATCH | _ANEW, PGD: _ONE_PGD | _SWAPPED | _TASK_BATCH, FGSM: _FGSM | _TASK_BATCH,
    },
}  # fmt: skip
"""The changes of the canonical protocol that give each column of the table, with one eps for all, with each its own, and with
batch norm and verdicts as released too. The suite stands where AutoAttack stands there."""
