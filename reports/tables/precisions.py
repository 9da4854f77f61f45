"""The precision in which attacks walked. What they found is judged in float32, whatever it was."""

from __future__ import annotations

from collections.abc import Sequence

from reports.numbers.evidence import Evidence

LONG = {"fp32": "float32", "tf32": "TF32", "bf16": "bfloat16", "fp16": "float16"}
"""Names for readers."""


def precision_words(evidences: Sequence[Evidence]) -> str:
    """A sentence or two on the precision of walks, where any other than float32 was allowed; empty otherwise."""
    allowed = {str(name) for each in evidences for name in each.evaluations["precision"].dropna()} - {"fp32"}
    if not allowed:
        return ""
    walked = [
        told
        for each in evidences
        for _, trace in each.traces
        if isinstance(told := trace.get("precision"), dict) and "walked" in told
    ]
    fast = sorted({str(told["walked"]) for told in walked} - {"fp32"})
    slow = sum(told["walked"] == "fp32" for told in walked)
    reasons = sorted({str(told["because"]) for told in walked if "because" in told})
    names = " or ".join(LONG.get(name, name) for name in fast or sorted(allowed))
    words = f"Attacks {'walk' if fast else 'may walk'} in {names}; float32 says what is broken."
    if slow:
        words += f" {slow:,} of {len(walked):,} evaluations walked in float32 too: {'; '.join(reasons)}."
    return words
