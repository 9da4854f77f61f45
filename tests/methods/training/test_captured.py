"""A step that is recorded once and repeated is the step that is made each time, for every objective and every method."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from attacks.parts.clock import RunClock
from benchmark.evaluating.determinism import repeatable
from benchmark.evaluating.validation import validate
from methods.backbones import MultiHead, SmallConv, initialise
from methods.backbones.resnet import ResNet18, ResNet50
from methods.training import AdversarialTraining, CleanTraining, Fit, Objective, Recipe, Selected, Step, loop, train
from methods.training import fit as fit_module
from methods.training.algorithms.fast import FastSettings
from methods.training.algorithms.free import FreeSettings
from methods.training.algorithms.input_gradients import InputGradientSettings
from methods.training.algorithms.trades import TradesSettings
from methods.training.captured import WARM_UPS, GraphRecorder, StepRecorder, recorder_for
from methods.training.fit import make_adam
from methods.training.inner_attack import Batch, InnerAttack, Logits
from methods.training.validation import Validation
from scenarios.base import LearnTask
from tests.benchmark.running.stored import runs, table
from tests.methods.training.recording import Refusing, StandIn, moved_elsewhere
from tests.methods.training.training_cases import EPS, digits_task, network, recipe, same
from tests.tiny import run_tiny

OBJECTIVES: dict[str, Callable[[], Objective]] = {
    "clean": CleanTraining,
    "adversarial": AdversarialTraining,
    "trades": TradesSettings().objective,
    "free": FreeSettings(replays=3).objective,
    "fast": FastSettings().objective,
    "igr": InputGradientSettings().objective,
}
BACKBONES: dict[str, Any] = {"small_conv": SmallConv, "resnet18": ResNet18, "resnet50": ResNet50}
METHODS = ("joint_at", "anp_vs", "packnet", "cmat", "gpm", "dgp", "wsn", "piggyback")
"""Those whose steps are others than an objective on one network."""


@pytest.fixture(scope="module")
def task() -> LearnTask:
    return digits_task(0.5)


def trained(
    task: LearnTask,
    recorder: StepRecorder | None,
    objective: Objective | None = None,
    chosen: Recipe | None = None,
    **fit: Any,
) -> tuple[nn.Module, Selected]:
    """A small network trained under a recorder, and the outcome of the training."""
    net = network()
    made = Fit(net, list(net.parameters()), lambda: _validation(net, task), objective or AdversarialTraining(), **fit)
    rng = lambda purpose: torch.Generator().manual_seed(len(purpose))  # noqa: E731
    return net, train(made, [task], chosen or recipe(), EPS, rng, recorder=recorder)


def _validation(net: nn.Module, task: LearnTask) -> Validation:
    net.eval()
    with torch.no_grad():
        right = net(task.validation.images.float() / 255).argmax(1) == task.validation.labels
    return Validation(right, right)


@pytest.mark.parametrize("name", OBJECTIVES)
@pytest.mark.parametrize(
    "changes", [{}, {"precision": "bf16", "attack": {"steps": 2, "folded": True}}], ids=["", "folded"]
)
def test_recorded_steps_are_the_steps_made_one_by_one(task: LearnTask, name: str, changes: dict[str, Any]) -> None:
    plain, told_of_plain = trained(task, None, OBJECTIVES[name](), recipe(**changes))
    recorder = StandIn()
    recorded, told = trained(task, recorder, OBJECTIVES[name](), recipe(**changes))
    assert same(recorded, plain.state_dict())
    assert [epoch.loss for epoch in told.epochs] == [epoch.loss for epoch in told_of_plain.epochs]
    assert (told.recordings, told.why_plain) == (1, "")
    assert (told_of_plain.recordings, told_of_plain.why_plain) == (0, "there is no GPU")
    steps = len(task.train) // 16 * len(told.epochs)
    assert (recorder.asides, recorder.repeated) == (WARM_UPS, steps - WARM_UPS)


def test_the_time_of_recording_is_told_apart(task: LearnTask) -> None:
    with RunClock().running() as clock:
        trained(task, None)
        assert "capture" not in clock.seconds
        trained(task, StandIn())
    assert clock.seconds["capture"] > 0


def test_learning_rates_that_change_with_every_step_reach_recorded_steps(task: LearnTask) -> None:
    chosen = recipe(schedule="cosine", rate_per="step")
    plain, recorded = (trained(task, recorder, chosen=chosen)[0] for recorder in (None, StandIn()))
    assert same(recorded, plain.state_dict())


def test_a_callable_after_the_step_decides_by_its_number(task: LearnTask) -> None:
    numbers: list[int] = []
    trained(task, StandIn(), after_step=lambda step: numbers.append(step.number))
    assert numbers == list(range(1, len(numbers) + 1))


def test_a_network_whose_tensors_are_others_is_recorded_again(task: LearnTask) -> None:
    net = network()

    def move(step: Step) -> None:
        if step.number == 7:
            moved_elsewhere(net)

    fit = Fit(net, list(net.parameters()), lambda: _validation(net, task), after_step=move)
    told = train(fit, [task], recipe(), EPS, lambda purpose: torch.Generator().manual_seed(0), recorder=StandIn())
    assert told.recordings == 2


def test_a_step_that_cannot_be_recorded_is_made_as_it_is_and_the_reason_is_told(task: LearnTask) -> None:
    plain, _ = trained(task, None)
    found, told = trained(task, Refusing())
    assert same(found, plain.state_dict())
    assert (told.recordings, told.why_plain) == (0, "operation not permitted when stream is capturing")


class _LeavesGradients(Refusing):
    """Refuses after the backward pass was recorded: gradients lie in its memory, where nothing was computed."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def record(self, work: Any, generators: Any) -> Any:
        for parameter in self.net.parameters():
            parameter.grad = torch.full_like(parameter, 1e6)
        return super().record(work, generators)


def test_a_recording_that_failed_leaves_no_gradient_on_tensors_that_no_optimiser_moves(task: LearnTask) -> None:
    nets = [network(), network()]
    for net, refuses in zip(nets, (False, True), strict=True):
        moved, *others = net.parameters()

        def move_others(others: list[nn.Parameter] = others) -> None:
            with torch.no_grad():
                for parameter in others:
                    assert parameter.grad is not None
                    parameter.sub_(0.01 * parameter.grad)
                    parameter.grad = None

        fit = Fit(net, [moved], lambda net=net: _validation(net, task), after_backward=move_others)  # type: ignore[misc]
        recorder = _LeavesGradients(net) if refuses else None
        train(fit, [task], recipe(), EPS, lambda purpose: torch.Generator().manual_seed(0), recorder=recorder)
    assert same(nets[0], nets[1].state_dict())


class _Waits(AdversarialTraining):
    """Makes the host wait for a number in every step."""

    def loss(self, logits: Logits, batch: Batch, attack: InnerAttack) -> tuple[Tensor, Tensor]:
        output = logits(batch.images)
        assert float(output.detach().abs().max()) >= 0
        return F.cross_entropy(output, batch.labels), output


class _DrawsElsewhere(AdversarialTraining):
    """Draws from the generator of the process."""

    def loss(self, logits: Logits, batch: Batch, attack: InnerAttack) -> tuple[Tensor, Tensor]:
        output = logits(batch.images + 0.01 * torch.rand_like(batch.images))
        return F.cross_entropy(output, batch.labels), output


@pytest.mark.parametrize(("objective", "words"), [(_Waits, "not permitted"), (_DrawsElsewhere, "not registered")])
def test_the_stand_in_refuses_what_a_graph_would(task: LearnTask, objective: type[Objective], words: str) -> None:
    with pytest.raises(RuntimeError, match=words):
        trained(task, StandIn(), objective())


def test_steps_of_every_method_can_be_recorded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert run_tiny(tmp_path, METHODS, results="plain") == 0
    recorders: list[StandIn] = []
    monkeypatch.setattr(loop, "recorder_for", lambda device: recorders.append(StandIn()) or recorders[-1])
    assert run_tiny(tmp_path, METHODS, results="recorded") == 0
    plain, recorded = ({run.label: run for run in runs(tmp_path, name)} for name in ("plain", "recorded"))
    assert plain.keys() == recorded.keys() >= {*METHODS}
    for label, run in plain.items():
        assert table(recorded[label]).equals(table(run)), label
    assert sum(recorder.repeated for recorder in recorders) > 20


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("name", OBJECTIVES)
@repeatable()
def test_on_a_gpu_a_graph_trains_the_same_network_to_the_bit(task: LearnTask, name: str) -> None:
    device = torch.device("cuda")
    on_gpu = LearnTask(task.id, task.name, task.classes, task.train.to(device), task.validation.to(device))
    found = []
    for recorder in (GraphRecorder(device), Refusing()):
        net = network().to(device)
        fit = Fit(net, list(net.parameters()), lambda net=net: _validation(net, on_gpu), OBJECTIVES[name]())
        rng = lambda purpose: torch.Generator(device).manual_seed(len(purpose))  # noqa: E731
        told = train(fit, [on_gpu], recipe(), EPS, rng, recorder=recorder)
        found.append(({key: tensor.cpu() for key, tensor in net.state_dict().items()}, told))
    assert found[0][1].recordings == 1
    assert found[0][1].why_plain == ""
    assert same(network(), found[0][0]) is False
    assert all(torch.equal(tensor, found[1][0][key]) for key, tensor in found[0][0].items())


def test_adam_on_a_gpu_is_one_whose_steps_torch_lets_record(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fit_module, "_rate_on", lambda device, rate: (torch.tensor(rate), True))
    (group,) = make_adam([nn.Parameter(torch.ones(2))], 0.1).param_groups
    assert (group["capturable"], group["fused"]) == (True, True)
    monkeypatch.undo()
    (group,) = make_adam([nn.Parameter(torch.ones(2))], 0.1).param_groups
    assert group["capturable"] is False


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_on_a_gpu_a_step_of_adam_is_recorded(task: LearnTask) -> None:
    device = torch.device("cuda")
    on_gpu = LearnTask(task.id, task.name, task.classes, task.train.to(device), task.validation.to(device))
    net = network().to(device)
    fit = Fit(net, list(net.parameters()), lambda: _validation(net, on_gpu))
    rng = lambda purpose: torch.Generator(device).manual_seed(len(purpose))  # noqa: E731
    told = train(fit, [on_gpu], recipe(optimizer="adam"), EPS, rng)
    assert (told.recordings, told.why_plain) == (1, "")


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("name", BACKBONES)
def test_on_a_gpu_trainings_after_a_validation_are_recorded_too(task: LearnTask, name: str) -> None:
    device = torch.device("cuda")
    on_gpu = LearnTask(task.id, task.name, task.classes, task.train.to(device), task.validation.to(device))
    multi = MultiHead(BACKBONES[name]((1, 8, 8), 0.125), (2,), (0.3,), (0.4,))
    initialise(multi, torch.Generator().manual_seed(0))
    net = multi.to(device, memory_format=torch.channels_last).for_task(0)
    for _ in range(2):
        fit = Fit(net, list(net.parameters()), lambda: validate(net, on_gpu, recipe(), EPS))
        rng = lambda purpose: torch.Generator(device).manual_seed(len(purpose))  # noqa: E731
        told = train(fit, [on_gpu], recipe(), EPS, rng)
        assert (told.recordings, told.why_plain) == (1, "")


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@repeatable()
def test_on_a_gpu_a_training_that_cannot_be_recorded_goes_on(task: LearnTask) -> None:
    device = torch.device("cuda")
    on_gpu = LearnTask(task.id, task.name, task.classes, task.train.to(device), task.validation.to(device))
    found = []
    for recorder in (GraphRecorder(device), Refusing()):
        net = network().to(device)
        fit = Fit(net, list(net.parameters()), lambda net=net: _validation(net, on_gpu), _Waits())
        rng = lambda purpose: torch.Generator(device).manual_seed(len(purpose))  # noqa: E731
        told = train(fit, [on_gpu], recipe(), EPS, rng, recorder=recorder)
        found.append({key: tensor.cpu() for key, tensor in net.state_dict().items()})
        assert told.recordings == 0
        assert told.why_plain
    assert all(torch.equal(tensor, found[1][key]) for key, tensor in found[0].items())


def test_only_a_gpu_has_a_recorder() -> None:
    assert recorder_for(torch.device("cpu")) is None
