"""The end of the time in which a command works, as it is given after `--until`."""

from __future__ import annotations

import re
import time
from datetime import datetime, timedelta

from benchmark.errors import ConfigError, quoted

_SPAN = re.compile(r"(?:(\d{1,5})h)?(?:(\d{1,6})m)?(?:(\d{1,7})s)?")
_CLOCK = re.compile(r"(\d{1,2}):(\d{2})(?::(\d{2}))?")


def moment_of(text: str, now: datetime | None = None) -> float:
    """The moment of `time.monotonic` that is meant: from then on no clock that is set again changes it.

    text: a time from now such as `13m`, `1h30m` or `45s`, or the next time that a clock on the wall shows, such as `23:15`.
    now: on that clock; None for the time that it is.
    Raises ConfigError for anything else.
    """
    span, clock = _SPAN.fullmatch(str(text).strip()), _CLOCK.fullmatch(str(text).strip())
    if span and any(span.groups()):
        hours, minutes, seconds = (int(part or 0) for part in span.groups())
        left = float(3600 * hours + 60 * minutes + seconds)
    elif clock and int(clock[1]) < 24 and int(clock[2]) < 60 and int(clock[3] or 0) < 60:
        here = now or datetime.now()
        end = here.replace(hour=int(clock[1]), minute=int(clock[2]), second=int(clock[3] or 0), microsecond=0)
        if end <= here:
            end += timedelta(days=1)
        # As moments, not as what the clock shows: a night in which it is put forward is an hour shorter.
        left = end.timestamp() - here.timestamp()
    else:
        raise ConfigError(
            f"--until {quoted(text)}: expected a time from now such as 13m, 1h30m or 45s, or a time of day such as 23:15"
        )
    return time.monotonic() + left
