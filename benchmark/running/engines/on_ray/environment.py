"""Preparations for a cluster before Ray is imported: the settings that it reads then, and whether the address answers."""

from __future__ import annotations

import os
import secrets
import socket
import sys

from benchmark.errors import ConfigError

_SECONDS_TO_REACH = 10.0


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


def must_answer(address: str) -> None:
    """Raise ConfigError, in a few seconds, unless something answers at `HOST:PORT`."""
    host, colon, port = address.rpartition(":")
    if "://" in address or not colon or not host or not port.isdigit():
        raise ConfigError(
            f"--address {address}: expected HOST:PORT as `ray start --head` prints it, or auto; the command runs on a machine of "
            "the cluster"
        )
    try:
        socket.create_connection((host, int(port)), _SECONDS_TO_REACH).close()
    except (OSError, OverflowError) as error:
        raise ConfigError(
            f"--address {address}: nothing answers there ({error}); `ray status` on the head says if the cluster runs"
        ) from None
