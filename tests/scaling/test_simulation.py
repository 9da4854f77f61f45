"""The simulation of many places orders made-up runs, to its end."""

from __future__ import annotations

import pytest

from tests.scaling.simulation import Made, MadeUpPlaces, Priced, longest_chain, makespan


def made_up() -> list[Priced]:
    """Four runs of 1 to 4 seconds; the longest one needs the shortest."""
    first, second, third = (Made(name, name, 0) for name in ("one", "two", "three"))
    last = Made("four", "four", 0, {"one": first})
    return [Priced(first, 1.0), Priced(second, 2.0), Priced(third, 3.0), Priced(last, 4.0)]


@pytest.mark.parametrize(("places", "took", "busy"), [(1, 10.0, 1.0), (2, 5.0, 1.0), (8, 5.0, 0.25)])
def test_runs_end_when_their_places_and_needs_let_them(places: int, took: float, busy: float) -> None:
    assert makespan(made_up(), places) == pytest.approx((took, busy))


def test_a_chain_is_as_long_as_its_runs_together() -> None:
    assert longest_chain(made_up()) == 5.0


def test_places_where_nothing_runs_tell_of_no_end() -> None:
    """The schedule asks once more when everything has ended."""
    places = MadeUpPlaces(2, {})
    assert places.ended(0.0) == []
    assert places.now == 0.0
