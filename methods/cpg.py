"""CPG (compact, pick, grow) as published: clean training, goals from cleanly trained single-task networks."""

from __future__ import annotations

from methods.cmat import CMAT, CMATSettings
from methods.settings import added_later
from methods.training.choice import Algorithm, CleanChoice


class CPGSettings(CMATSettings):
    """CMAT's, under clean training."""

    training: Algorithm = added_later(CleanChoice(), description="as of CMAT")


class CPG(CMAT):
    """CMAT's algorithm without an attack: the continual learner that it is built on."""

    version = 1
    Settings = CPGSettings
