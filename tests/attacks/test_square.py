"""Square is the published random search, in larger batches: against torchattacks, one by one, and in what it costs."""

from __future__ import annotations

import itertools

import pytest
import torch
import torchattacks
from hypothesis import given, settings

from attacks import square
from attacks.base import AttackError
from attacks.parts.squares import eta, tiles
from attacks.square import Square
from attacks.starts import Starts
from attacks.threat_model import ThreatModel
from tests.attacks.attack_cases import EIGHT, Counting, any_random_case, batch, random_case, small_conv, threat_model
from tests.attacks.trained import STANDARD_ERROR, accuracy_after, accuracy_on, case

NAMES = {"linf": "Linf", "l2": "L2"}
EPS = {"linf": "0.2", "l2": "1.2"}


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_it_is_as_strong_as_torchattacks(norm):
    differences = []
    for seed in range(3):
        attack = Square(threat_model=ThreatModel(EPS[norm], norm), queries=200)
        mine = accuracy_after(attack, seed)
        network, images, labels, _ = case(seed)
        with torch.random.fork_rng():  # it reseeds the global generator
            for draw in range(2):  # its squares are the same for all images, so that one run is one draw
                other = torchattacks.Square(
                    network, norm=NAMES[norm], eps=float(attack.threat_model.eps), n_queries=200, seed=draw
                )
                differences.append(mine - accuracy_on(other(images, labels), seed))
        assert 0.1 < mine < 0.9
    assert max(map(abs, differences)) < 3 * STANDARD_ERROR
    assert abs(sum(differences) / 6) < STANDARD_ERROR


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_several_proposals_at_once_are_what_they_are_one_after_another(norm, monkeypatch):
    images, _, start = batch(count=10, channels=3, dtype=torch.float64)
    classifier = small_conv(channels=3, dtype=torch.float64)
    labels = classifier(images).argmax(1)
    attack = Square(threat_model=ThreatModel(EPS[norm], norm), queries=60)
    found = {}
    for rows in (1, 40, 1000):
        monkeypatch.setattr(square, "ROWS", {"cpu": rows, "cuda": rows})
        # As if only the number of forward passes counted.
        monkeypatch.setattr(square, "FIXED_ROWS", {"cpu": 10**9, "cuda": 10**9})
        counting = Counting(classifier)
        found[rows] = attack.run(counting, images, labels, start)
        assert counting.gradients == 0
        assert counting.forwards >= {1: 61, 40: 10, 1000: 2}[rows]
    for rows in (40, 1000):
        torch.testing.assert_close(found[rows].adversarial, found[1].adversarial)
        torch.testing.assert_close(found[rows].final[0].margin, found[1].final[0].margin)
    assert found[1].forward_passes <= 10 * 62
    assert found[1000].forward_passes > found[1].forward_passes


def test_what_is_evaluated_in_vain_stays_a_small_share():
    network, images, labels, start = case(1)
    attack = Square(threat_model=ThreatModel("0.02"), queries=300)  # hardly anything breaks, much is kept at first
    result = attack.run(network, images[:8], labels[:8], start.select(torch.arange(8)))
    stands = int((result.final[0].predicted == labels[:8]).sum())
    assert stands >= 6
    assert result.forward_passes < 1.25 * 8 * 302


def test_a_square_moves_every_pixel_it_covers_by_the_same_sign_per_channel():
    images = torch.full((40, 3, 9, 7), 0.5)
    labels = torch.zeros(40, dtype=torch.int64)
    seen = []

    class Sees(torch.nn.Module):
        def forward(self, x):
            seen.append(x.clone())
            return torch.stack([x.mean((1, 2, 3)), x.new_zeros(len(x))], 1)

    attack = Square(threat_model=ThreatModel("0.1"), queries=1)
    attack.run(Sees(), images, labels, Starts(0, "k", torch.arange(40)))
    _, first, second = seen[:3]
    changes = first - images
    assert torch.allclose(changes.abs(), torch.tensor(0.1))
    assert (changes == changes[:, :, :1]).all()  # stripes are vertical
    assert len({tuple(row) for row in changes[:, 0, 0].sign().tolist()}) > 20  # and each image has its own
    moved = (second - first).abs() > 1e-6
    side = int(attack.sides(9, 7)[0])
    assert side == 7  # the root of 0.8 · 63, cut to the image
    for image in range(40):
        covered = moved[image].any(0)
        rows = covered.any(1).nonzero().squeeze(1)
        assert len(rows) <= side
        for channel in range(3):
            at = second[image, channel][covered]
            assert len(at.sign().unique()) <= 2


def test_the_sides_shrink_on_the_published_schedule_stretched_to_the_queries():
    sides = Square(threat_model=EIGHT, queries=10_000).sides(32, 32).tolist()
    for query, share in (
        (0, 0.8),
        (10, 0.8),
        (11, 0.4),
        (51, 0.2),
        (201, 0.1),
        (501, 0.05),
        (1001, 0.025),
        (8001, 0.8 / 512),
    ):
        assert sides[query] == max(1, round((share * 1024) ** 0.5)), query
    short = Square(threat_model=EIGHT, queries=100).sides(32, 32).tolist()
    assert short[:3] == [29, 14, 14]
    l2 = Square(threat_model=ThreatModel(1, "l2"), queries=10_000).sides(32, 32).tolist()
    assert all(side % 2 and side >= 3 for side in l2)


def test_a_fixed_schedule_halves_after_as_many_queries_however_many_there_are():
    """AutoAttack's p_selection with resc_schedule=False: it is (its own words) `p_init / 2` for 10 < it <= 50, and so on."""
    whole = Square(threat_model=EIGHT, queries=10_000).sides(32, 32).tolist()
    for queries in (100, 5000, 10_000):
        fixed = Square(threat_model=EIGHT, queries=queries, schedule="fixed").sides(32, 32).tolist()
        assert fixed == whole[:queries]
    official = Square(threat_model=EIGHT, queries=5000, schedule="fixed").sides(32, 32).tolist()
    for query, share in ((0, 0.8), (10, 0.8), (11, 0.4), (51, 0.2), (1001, 0.025), (4000, 0.8 / 64), (4999, 0.8 / 128)):
        assert official[query] == round((share * 1024) ** 0.5), query
    assert Square(threat_model=EIGHT, queries=5000).sides(32, 32).tolist()[4999] == 1  # stretched: 0.8 / 512
    l2 = Square(threat_model=ThreatModel(1, "l2"), queries=300, schedule="fixed").sides(32, 32).tolist()
    assert l2 == Square(threat_model=ThreatModel(1, "l2"), queries=10_000).sides(32, 32).tolist()[:300]


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_a_fixed_schedule_is_as_strong_as_that_of_torchattacks(norm):
    differences = []
    for seed in range(3):
        attack = Square(threat_model=ThreatModel(EPS[norm], norm), queries=200, schedule="fixed")
        mine = accuracy_after(attack, seed)
        network, images, labels, _ = case(seed)
        with torch.random.fork_rng():  # it reseeds the global generator
            for draw in range(2):
                eps = float(attack.threat_model.eps)
                other = torchattacks.Square(
                    network, norm=NAMES[norm], eps=eps, n_queries=200, seed=draw, resc_schedule=False
                )
                differences.append(mine - accuracy_on(other(images, labels), seed))
    assert abs(sum(differences) / 6) < STANDARD_ERROR


def test_the_schedule_is_no_part_of_older_specifications():
    assert "schedule" not in Square(threat_model=EIGHT).specification()
    assert Square(threat_model=EIGHT, schedule="fixed").specification()["schedule"] == "fixed"
    assert Square(threat_model=EIGHT, schedule="fixed").name == "square-5000 linf 8/255 schedule=fixed"


@pytest.mark.parametrize("side", [1, 2, 3, 5, 8])
def test_the_l2_pattern_has_norm_one_and_two_bumps_of_opposite_sign(side):
    pattern = eta(side)
    assert pattern.norm() == pytest.approx(1)
    half = side // 2
    assert (pattern[:half] >= 0).all()
    assert (pattern[half:] <= 0).all()


def test_an_l2_proposal_has_the_whole_norm():
    images = torch.full((4, 3, 12, 12), 0.5)
    seen = []

    class Sees(torch.nn.Module):
        def forward(self, x):
            seen.append(x.clone())
            return torch.stack([x.mean((1, 2, 3)) + 9, x.new_zeros(len(x))], 1)

    model = ThreatModel("0.7", "l2")
    Square(threat_model=model, queries=5).run(
        Sees(), images, torch.zeros(4, dtype=torch.int64), Starts(0, "k", torch.arange(4))
    )
    for points in seen[1:]:
        change = (points - 0.5).flatten(1).norm(dim=1)  # every image is 0.5 everywhere
        torch.testing.assert_close(change, torch.full_like(change, 0.7))


def test_broken_images_are_not_asked_again():
    images, labels, start = batch(count=20, classes=4)
    classifier = small_conv(4)
    with torch.no_grad():
        wrong = (classifier(images).argmax(1) + 1) % 4
    assert Square(threat_model=EIGHT, queries=50).run(classifier, images, wrong, start).forward_passes == 20
    result = Square(threat_model=ThreatModel(1), queries=500).run(classifier, images, labels, start)
    assert result.forward_passes < 20 * 250


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"queries": 0}, "queries = 0"),
        ({"restarts": 0}, "restarts = 0"),
        ({"p_init": 0}, "p_init = 0: expected a number above 0"),
        ({"p_init": "big"}, "p_init: 'big' is not a number"),
        ({"schedule": "official"}, "schedule = 'official': expected one of stretched, fixed"),
    ],
)
def test_wrong_settings_are_one_line(changes, message):
    with pytest.raises(AttackError, match=message):
        Square(threat_model=EIGHT, **changes)


def test_its_name_shows_what_differs_from_the_default():
    assert Square(threat_model=EIGHT).name == "square-5000 linf 8/255"
    assert Square(threat_model=EIGHT, queries=9, restarts=2, p_init="0.3").name == "square-9 linf 8/255 r=2 p=3/10"


@given(**any_random_case(most_pixels=9))
@settings(max_examples=30)
def test_it_never_leaves_the_ball_or_the_box(eps, norm, shape, dtype, seed):
    classifier, images, labels, start = random_case(shape, dtype, seed)
    model = threat_model(eps, norm)
    result = Square(threat_model=model, queries=12).run(classifier, images, labels, start)
    model.check(result.adversarial, images)
    assert result.adversarial.dtype == dtype


def test_the_l2_tiles_stand_in_the_middle_of_the_image():
    images = torch.full((2, 1, 32, 32), 0.5)
    ball = ThreatModel("0.5", "l2").ball(images)
    covered = (tiles(ball, Starts(0, "k", torch.arange(2)), 0) != images).any(0).any(0)
    for axis in (0, 1):
        places = covered.any(1 - axis).nonzero().squeeze(1)
        assert (int(places[0]), int(places[-1])) == (1, 30)  # five tiles of six pixels


@pytest.mark.parametrize(("live", "kept"), [(1, 0.01), (1, 0.5), (16, 0.9), (16, 0.01), (64, 0.01)])
def test_as_many_proposals_are_made_at_once_as_answer_most_queries_for_their_cost(live, kept):
    """Against adding up: each proposal is used if none before it was kept."""
    sizes = range(1, max(1, 64 // live) + 1)
    values = []
    for many in sizes:
        used = sum((1 - kept) ** before for before in range(many))
        values.append(used / (5 + live * many))
    assert square.cheapest(live, kept, sizes, 5) == values.index(max(values)) + 1
    few = square.few_sizes(sizes[-1])
    assert square.cheapest(live, kept, few, 5) == max(few, key=lambda many: values[many - 1])


def test_on_a_gpu_proposals_come_in_few_sizes_each_at_most_half_as_large_again_as_the_one_before():
    assert square.few_sizes(1) == [1]
    assert square.few_sizes(5) == [1, 2, 3, 4]
    sizes = square.few_sizes(512)
    assert sizes[0] == 1
    assert sizes[-1] == 512
    assert len(sizes) == 18
    assert all(after <= 2 * before for before, after in itertools.pairwise(sizes[:2]))
    assert all(2 * after <= 3 * before for before, after in itertools.pairwise(sizes[1:]))
