"""CPG (compact, pick, grow) as published: clean training, goals from cleanly trained single-task networks."""

from __future__ import annotations

from methods.cmat import CMAT, CMATSettings
from methods.settings import setting_added_later
from methods.training.choice import Algorithm, CleanChoice


class CPGSettings(CMATSettings):
    """Settings of CMAT, under clean training."""

    training: Algorithm = setting_added_later(CleanChoice(), description="clean; any algorithm of CMAT can be given")


class CPG(CMAT):
    """The algorithm of CMAT without an attack: the continual learner that CMAT is built on."""

    version = 1
    Settings = CPGSettings
