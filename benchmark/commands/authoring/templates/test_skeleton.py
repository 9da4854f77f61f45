"""The method `skeleton` keeps the contract of every method, and does what is special about it."""

from __future__ import annotations

from pathlib import Path

from benchmark.contract import learned, problems_of

FILE = Path(__file__).with_name("skeleton.py")


def test_it_keeps_the_contract_of_a_method(tmp_path: Path) -> None:
    problems = problems_of(FILE, tmp_path)
    assert not problems, "\n".join(problems)


# Change this test with the method: its name is a claim about what the method does.
def test_the_lower_the_later_rate_the_less_of_the_first_task_is_moved(tmp_path: Path) -> None:
    def moved(later_rate: float) -> float:
        """The distance that the second task moves the weights of the first task's classifier."""
        found = learned(FILE, tmp_path / str(later_rate), [f"later_rate={later_rate}"])
        before, after = found.kept[0].classifier.parameters(), found.method.classifier(0).parameters()
        return sum(float((one - other).abs().sum()) for one, other in zip(before, after, strict=True))

    assert moved(0.01) < moved(1.0)
