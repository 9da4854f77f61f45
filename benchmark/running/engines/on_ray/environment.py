"""Settings that Ray reads when it is imported."""

from __future__ import annotations

import os
import secrets
import sys


def set_up(address: str | None) -> None:
    """Set what was not set before. It comes to nothing once Ray was imported.

    address: of the cluster that is to be used; None for one that this process starts.
    """
    # Nothing is told to anybody outside.
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    if address is not None or "ray" in sys.modules:
        return
    # Processes of Ray are otherwise the last to be given a core. Those of the local engine are not.
    os.environ.setdefault("RAY_worker_niceness", "0")
    if "RAY_AUTH_MODE" not in os.environ:
        # Whoever reaches the ports of a cluster may execute code there. Of this one nobody else knows the token.
        os.environ["RAY_AUTH_MODE"] = "token"
        os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))
