"""Durations as people write them."""


def duration(seconds: float) -> str:
    """A time for people: 0:42, 12:05 or 3 h 20 min."""
    if seconds >= 3600:
        return f"{int(seconds // 3600)} h {int(seconds % 3600 // 60):02d} min"
    return f"{int(seconds // 60)}:{int(seconds % 60):02d}"
