"""The places that a cluster offers, by what each job is given."""

from __future__ import annotations

import pytest

from benchmark.errors import ConfigError
from benchmark.planning.machine import OnRay
from benchmark.running.engines.on_ray.share import Share, must_fit, share_of

HEAD, SMALL, CARDS = {"memory": 1e9}, {"CPU": 8.0}, {"CPU": 16.0, "GPU": 4.0}


@pytest.mark.parametrize(
    ("share", "node", "places"),
    [
        (Share(1, 0), SMALL, 8),
        (Share(3, 0), SMALL, 2),
        (Share(1, 0), HEAD, 0),
        (Share(1, 1), SMALL, 0),
        (Share(1, 1), CARDS, 4),
        (Share(1, 0.5), CARDS, 8),
        (Share(1, 1 / 3), CARDS, 12),
        # Two fractions of 0.6 are more than a card.
        (Share(1, 0.6), CARDS, 4),
        (Share(1, 3), CARDS, 1),
        # Processors run out first.
        (Share(4, 0.5), CARDS, 4),
    ],
)
def test_places_of_a_node(share: Share, node: dict[str, float], places: int) -> None:
    assert share.places(node) == places


@pytest.mark.parametrize(("gpus", "sharers"), [(0, 1), (0.5, 2), (0.6, 1), (0.3, 3), (1, 1), (2, 1)])
def test_runs_that_share_a_card_divide_its_memory(gpus: float, sharers: int) -> None:
    assert Share(1, gpus).sharers == sharers


@pytest.mark.parametrize(
    ("on", "nodes", "share"),
    [
        (OnRay(), [HEAD, SMALL], Share(8, 0)),
        (OnRay(threads=2), [HEAD, SMALL], Share(2, 0)),
        (OnRay(), [SMALL, CARDS], Share(4, 1)),
        (OnRay(gpus=0.5), [SMALL, CARDS], Share(2, 0.5)),
        (OnRay(device="cpu"), [CARDS, SMALL], Share(8, 0)),
        (OnRay(device="cuda", threads=1, gpus=2), [CARDS], Share(1, 2)),
    ],
)
def test_share_of_a_job(on: OnRay, nodes: list[dict[str, float]], share: Share) -> None:
    assert share_of(on, nodes) == share


def test_gpus_that_no_node_has_are_told() -> None:
    with pytest.raises(ConfigError, match="no node of the cluster has a GPU"):
        share_of(OnRay(device="cuda"), [SMALL])


def test_a_job_that_fits_on_no_node_is_told_with_what_there_is() -> None:
    with pytest.raises(
        ConfigError, match=r"asks for 2 CPU and 8 GPU, and no node .* \(nodes: 0 CPU, 0 GPU; 16 CPU, 4 GPU\)"
    ):
        must_fit(Share(2, 8), [HEAD, CARDS], "--engine ray")
    must_fit(Share(2, 4), [HEAD, CARDS], "--engine ray")
