"""Dark experience replay ++: old images are held to their labels and to the logits that they had."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from pydantic import ValidationError
from torch import Tensor

from methods.derpp import DarkReplay, DERpp, DERppSettings, distance
from methods.parts.image_memory import KeptImages
from methods.parts.replay import Replay
from methods.training import Batch, CleanTraining, Recipe
from scenarios.base import Task
from scenarios.parts.augmentation import to_float
from tests.methods.rehearsing import answers, kept_by, rehearsed
from tests.methods.training.training_cases import recipe


def derpp(folder: Path, **options: Any) -> tuple[DERpp, list[Task]]:
    method, _, tasks = rehearsed(folder, "derpp", **options)
    assert isinstance(method, DERpp)
    return method, tasks


def stored(kept: KeptImages) -> Tensor:
    assert kept.logits is not None
    return kept.logits


def test_the_distance_is_the_mean_squared_one() -> None:
    output, kept = torch.randn(2, 6, 3, generator=torch.Generator().manual_seed(0))
    assert float(distance(output, kept, 3)) == pytest.approx(float(F.mse_loss(output, kept)))
    assert float(distance(kept, kept, 3)) == 0
    # Classes to come are stored, and not answered yet.
    assert float(distance(output[:, :2], kept, 3)) == pytest.approx(
        float((output - kept)[:, :2].square().sum(1).mean() / 3)
    )


def test_classes_that_were_not_stored_count_nothing_and_give_finite_gradients() -> None:
    output = torch.tensor([[1.0, 2.0, -torch.inf, 9.0], [1.0, 2.0, 3.0, 9.0]], requires_grad=True)
    kept = torch.tensor([[0.0, 0.0, -torch.inf], [0.0, 0.0, 0.0]])
    found = distance(output, kept, 4)
    assert float(found.detach()) == pytest.approx((5 + 14) / 2 / 4)
    found.backward()
    assert output.grad is not None
    assert torch.allclose(output.grad, torch.tensor([[1.0, 2.0, 0, 0], [1.0, 2.0, 3.0, 0]]) / 4)


def test_stored_logits_are_those_of_the_network_that_was_kept_and_never_change(tmp_path: Path) -> None:
    method, _ = derpp(tmp_path / "one", tasks=1)
    kept, after_one = kept_by(method), stored(kept_by(method))
    own = method.classifier(0)
    assert torch.allclose(after_one, own(to_float(kept.images)), atol=1e-5)
    method, _ = derpp(tmp_path / "two", tasks=2)
    both = kept_by(method)
    old = (both.tasks == 0).nonzero()[:, 0]
    assert torch.allclose(stored(both)[old], own(to_float(both.images[old])), atol=1e-5)
    assert not torch.allclose(stored(both)[old], method.classifier(0)(to_float(both.images[old])), atol=1e-3)
    new = (both.tasks == 1).nonzero()[:, 0]
    assert torch.allclose(stored(both)[new], method.classifier(1)(to_float(both.images[new])), atol=1e-5)
    assert stored(both).dtype == torch.float32


def test_under_protocol_class_logits_are_of_all_classes_those_to_come_too(tmp_path: Path) -> None:
    method, _ = derpp(tmp_path / "one", tasks=1, protocol="class")
    kept = kept_by(method)
    with torch.no_grad():
        of_all = method.network.for_seen(len(method.stream) - 1)(to_float(kept.images))
    assert of_all.shape[1] > method.stream.seen[0]
    assert torch.allclose(stored(kept), of_all, atol=1e-5)
    both = kept_by(derpp(tmp_path / "two", tasks=2, protocol="class")[0])
    old = (both.tasks == 0).nonzero()[:, 0]
    # What is stored of an image stays as it was.
    assert float(torch.cdist(stored(both)[old], stored(kept)).min(1).values.max()) < 1e-5


def test_attacked_logits_are_other_ones_and_taking_them_leaves_the_network_as_it_was(tmp_path: Path) -> None:
    clean, tasks = derpp(tmp_path / "clean", tasks=1)
    attacked, _ = derpp(tmp_path / "attacked", tasks=1, stored_logits="attacked")
    assert torch.equal(answers(clean, tasks[0]), answers(attacked, tasks[0]))
    kept = kept_by(clean)
    assert torch.equal(kept.images, kept_by(attacked).images)
    right = [
        float(stored(kept_by(each)).gather(1, kept.labels[:, None]).mean() - stored(kept_by(each)).mean())
        for each in (clean, attacked)
    ]
    assert right[1] < right[0]


class _Loss:
    """The loss of a step on old and new images without an attack, and the draws that it was made of."""

    def __init__(self, method: DERpp, batch: Batch, **settings: Any) -> None:
        chosen = DERppSettings(training="clean", **settings)
        replay = Replay(kept_by(method), 1.0, "none", (8, 8), (torch.Generator().manual_seed(0), torch.Generator()))
        self.drawn: list[tuple[Batch, Tensor]] = []
        whole = replay.draw

        def noted(beside: Batch) -> tuple[Batch, Tensor]:
            self.drawn.append(whole(beside))
            return self.drawn[-1]

        replay.draw = noted  # type: ignore[method-assign]
        objective = DarkReplay(CleanTraining(), replay, method.logits, chosen, 4)
        self.value, self.output = objective.loss(method.asked(1), batch, None)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def begun(tmp_path_factory: pytest.TempPathFactory) -> tuple[DERpp, Batch]:
    """A method after one task, its network in eval mode, and a batch of the next."""
    method, tasks = derpp(tmp_path_factory.mktemp("derpp"), tasks=1)
    labels = tasks[1].train.labels[:8]
    return method, Batch(to_float(tasks[1].train.images[:8]), labels, torch.ones_like(labels))


def _own(method: DERpp, batch: Batch) -> float:
    logits = method.network(batch.images, batch.tasks)
    return float(F.cross_entropy(logits, batch.labels).detach())


@pytest.mark.parametrize("draws", [1, 2])
def test_the_loss_is_that_of_new_images_and_two_terms_of_old_ones(begun: tuple[DERpp, Batch], draws: int) -> None:
    method, batch = begun
    with torch.no_grad():
        method.network.heads[0].bias.add_(0.5)
    made = _Loss(method, batch, alpha=0.7, beta=0.3, draws=draws)
    (held, places), (labelled, others) = made.drawn[0], made.drawn[-1]
    assert len(made.drawn) == draws
    assert torch.equal(places, others) is (draws == 1)
    apart = distance(method.network(held.images, held.tasks), stored(kept_by(method))[places], 4)
    apart = apart.detach()
    assert float(apart) == pytest.approx(0.125, rel=1e-4)
    expected = _own(method, batch) + 0.7 * float(apart) + 0.3 * _own(method, labelled)
    assert float(made.value.detach()) == pytest.approx(expected, rel=1e-5)
    assert len(made.output) == 8
    with torch.no_grad():
        method.network.heads[0].bias.sub_(0.5)


def test_a_term_of_weight_0_draws_nothing(begun: tuple[DERpp, Batch]) -> None:
    method, batch = begun
    labels = _Loss(method, batch, alpha=0, beta=0.3)
    assert len(labels.drawn) == 1
    assert float(labels.value.detach()) == pytest.approx(_own(method, batch) + 0.3 * _own(method, labels.drawn[0][0]))
    logits = _Loss(method, batch, alpha=2, beta=0)
    assert len(logits.drawn) == 1
    # The network is the one whose logits were stored, and the view is the same: nothing is apart.
    assert float(logits.value.detach()) == pytest.approx(_own(method, batch), abs=1e-6)


def test_passes_count_every_draw() -> None:
    chosen: Recipe = recipe()
    once = DERpp.passes(DERppSettings(beta=0), chosen)
    assert once == DERpp.passes(DERppSettings(draws=1), chosen) == 2 * (2 * chosen.attack.steps + 3)
    assert DERpp.passes(DERppSettings(), chosen) == 1.5 * once


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"alpha": 0, "beta": 0}, "nothing is replayed"),
        ({"stored_logits": "attacked", "training": "clean"}, "clean attacks nothing"),
        ({"stored_logits": "attacked", "training": "igr"}, "igr attacks nothing"),
        ({"draws": 3}, "1 or 2"),
    ],
)
def test_settings_that_contradict_each_other_are_refused(settings: dict[str, Any], says: str) -> None:
    with pytest.raises(ValidationError, match=says):
        DERppSettings.model_validate(settings)
