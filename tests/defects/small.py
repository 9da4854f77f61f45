"""The catalogue at full strength on a stream so small that the tests run all of it once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from tests.defects.calibrating import Calibration
from tests.defects.catalogue import CATALOGUE, HONEST, UNDEFENDED

SMALL: dict[str, Any] = {
    "description": "Two tasks of digits, learned well enough that a defect has something to hide.",
    "scenario": {"name": "digits", "tasks": 2},
    "backbone": {"name": "small_conv", "width": 0.5},
    "eps": "51/255",
    "recipe": {
        "epochs": 12,
        "batch_size": 32,
        "learning_rate": 0.02,
        "attack": {"steps": 5},
        "selection": {"every": 6, "steps": 10},
    },
    "methods": [
        *({"method": name} for name in (*HONEST, *UNDEFENDED) if name != "packnet"),
        {"method": "packnet", "settings": {"retrain_epochs": 4, "retrain_must_improve": True}},
    ],
    "evaluation": {
        "matrix": [{"attack": "clean"}, {"attack": "pgd", "steps": 10, "step_size": "eps/4"}],
        "final": [
            {"attack": "noise"},
            {"attack": "fgsm"},
            {"attack": "pgd", "steps": 10, "step_size": ["eps/8", "eps/4", "eps/2"]},
        ],
    },
    "threads": 1,
}
CHOSEN = [planted for planted in CATALOGUE if planted.full or planted.is_harmless]


def small_calibration(folder: Path) -> Calibration:
    preset = folder / "small.yaml"
    preset.write_text(yaml.safe_dump(SMALL), encoding="utf-8")
    return Calibration(str(preset), CHOSEN, seeds=[0], results=folder / "runs", workers=1)
