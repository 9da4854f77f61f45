"""Modules as strangers bring them: each is asked in the way in which it answers, or refused in one line with the mend."""

from __future__ import annotations

import copy
from dataclasses import dataclass

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import prune

from benchmark.commands.evaluate.strange_modules import (
    WayOfAsking,
    detach_computed,
    found_asking,
    plain,
    ready,
    run_uncompiled,
    settle,
)
from benchmark.errors import ConfigError
from benchmark.evaluating.fingerprints import classifier_fingerprint

CLASSES = 3


def images(count: int = 16) -> Tensor:
    return torch.rand(count, 1, 4, 4, generator=torch.Generator().manual_seed(0))


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(16, 8), nn.ReLU(), nn.Linear(8, CLASSES))


class Strange(nn.Module):
    """An honest network whose forward pass is `answer(network, images)`."""

    def __init__(self, answer, inside=None):
        super().__init__()
        self.inside = inside or network()
        self.answer = answer

    def forward(self, pixels):
        return self.answer(self.inside, pixels)


@dataclass
class Output:
    """As libraries return it."""

    logits: Tensor
    hidden: Tensor


def asked(module: nn.Module) -> tuple[WayOfAsking, Tensor]:
    """The way in which a module is asked, and its answers then."""
    with ready(module, "cpu"):
        asking = found_asking(module, images(), CLASSES)
        return asking, asking.of(module)(images())


ANSWERS = {
    "a tensor": (lambda net, x: net(x), WayOfAsking()),
    "an object": (lambda net, x: Output(net(x), x.flatten(1)), WayOfAsking(output="logits")),
    "a dict": (lambda net, x: {"features": net(x), "logits": net(x)}, WayOfAsking(output="logits")),
    "a dict with one fitting part": (lambda net, x: {"out": net(x), "more": x.flatten(1)}, WayOfAsking(output="out")),
    "a tuple": (lambda net, x: (x.flatten(1), net(x)), WayOfAsking(output=1)),
    "a list of one": (lambda net, x: [net(x)], WayOfAsking(output=0)),
    "in place": (lambda net, x: net(x.relu_()), WayOfAsking(copies=True)),
    "in place by other values": (lambda net, x: net(x.sub_(0.0)), WayOfAsking(copies=True)),
    "in place in a tuple": (lambda net, x: (net(x.relu_()), x), WayOfAsking(copies=True, output=0)),
}


@pytest.mark.parametrize("case", ANSWERS)
def test_the_logits_are_those_of_the_network_whatever_it_returns(case):
    answer, right = ANSWERS[case]
    asking, logits = asked(Strange(answer))
    assert asking == right
    assert torch.equal(logits, network().eval()(images()))
    assert len(asking.notes()) == sum([asking.copies, asking.dtype is not None, asking.output is not None])


def test_what_is_done_behind_the_back_of_autograd_is_noticed_and_spoils_no_image():
    def behind(net, x):
        x.data.clamp_(0, 0.5)
        return net(x)

    shown = images()
    module = Strange(behind).eval().requires_grad_(False)
    asking = found_asking(module, shown, CLASSES)
    assert asking == WayOfAsking(copies=True)
    asking.of(module)(shown)
    assert torch.equal(shown, images())
    assert "clone()" in asking.notes()[0]


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16, torch.bfloat16])
def test_images_are_cast_to_the_type_of_the_weights(dtype):
    asking, logits = asked(network().to(dtype))
    name = str(dtype).removeprefix("torch.")
    assert asking == WayOfAsking(dtype=name)
    assert logits.dtype == dtype
    assert torch.allclose(logits.float(), network()(images()), atol=0.05)
    assert name in asking.notes()[0]


def test_a_network_that_casts_by_itself_is_asked_as_it_is():
    asking, _ = asked(Strange(lambda net, x: net(x.double()), network().double()))
    assert asking == WayOfAsking()


def test_gradients_reach_the_images_through_the_way_of_asking():
    module = Strange(lambda net, x: (net(x.relu_()), x), network().double()).requires_grad_(False)
    shown = images().requires_grad_()
    logits = found_asking(module, images(), CLASSES).of(module)(shown)
    (gradient,) = torch.autograd.grad(logits.sum(), shown)
    assert gradient.dtype == torch.float32
    assert (gradient != 0).flatten(1).any(1).all()


def made_in_inference_mode() -> nn.Module:
    with torch.inference_mode():
        return network()


def elsewhere() -> nn.Module:
    module = Strange(lambda net, x: net(x - module.mean))
    module.mean = torch.zeros(1, device="meta")
    return module


def lazy() -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.LazyLinear(CLASSES))


def meta() -> nn.Module:
    with torch.device("meta"):
        return network()


def exported_for_one_image() -> nn.Module:
    return torch.export.export(network().eval(), (images(1),)).module()


REFUSED = {
    "lazy": (lazy, "1.weight has no weights yet; send one batch"),
    "meta": (meta, "1.weight is on the meta device, so it has no data"),
    "another size": (lambda: nn.Linear(5, 2), "does not answer float32 images of shape (16, 1, 4, 4): RuntimeError"),
    "another argument": (lambda: nn.Bilinear(4, 4, 2), "missing 1 required positional argument"),
    "numpy": (lambda: Strange(lambda net, x: net(torch.from_numpy(x.numpy()))), "numpy has no gradient"),
    "made in inference mode": (made_in_inference_mode, "make its weights outside torch.inference_mode"),
    "a tensor elsewhere": (elsewhere, "mean is a plain tensor on meta: register_buffer('mean', ...)"),
    "one image at a time": (exported_for_one_image, "it answers one image alone"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_asked_is_refused_in_one_line_with_the_mend(case):
    make, message = REFUSED[case]
    with pytest.raises(ConfigError) as refused:
        asked(make())
    assert message in str(refused.value)
    assert "\n" not in str(refused.value)
    assert len(str(refused.value)) < 600


def test_an_answer_that_holds_several_fitting_tensors_is_left_to_the_contract():
    asking = found_asking(Strange(lambda net, x: (net(x), net(x))).requires_grad_(False), images(), CLASSES)
    assert asking == WayOfAsking()


def test_trying_a_module_leaves_no_trace():
    module = nn.Sequential(nn.BatchNorm2d(1), nn.Dropout(), network())
    before, drawn = copy.deepcopy(module.state_dict()), torch.get_rng_state()
    with ready(module, "cpu"):
        found_asking(module, images(), CLASSES)
    assert all(torch.equal(before[name], value) for name, value in module.state_dict().items())
    assert torch.equal(drawn, torch.get_rng_state())
    assert all(part.training for part in module.modules())
    assert all(parameter.requires_grad for parameter in module.parameters())


class ReturnsNothing(nn.Module):
    """Its own `train` and `to` return nothing, as many do."""

    def __init__(self):
        super().__init__()
        self.inside = network()

    def train(self, mode=True):
        super().train(mode)

    def to(self, *places, **more):
        super().to(*places, **more)

    def forward(self, pixels):
        return self.inside(pixels)


def no_compiler(graph, inputs):
    raise AssertionError("it was compiled")


def compiled_inside() -> nn.Module:
    return Strange(lambda net, x: net(x), torch.compile(network(), backend=no_compiler))


def scripted() -> nn.Module:
    return torch.jit.script(network())


def traced() -> nn.Module:
    return torch.jit.trace(network().eval(), images(1))


MEASURED = {
    "returns nothing": ReturnsNothing,
    "DataParallel": lambda: nn.DataParallel(network()),
    "compiled": lambda: torch.compile(network(), backend=no_compiler),
    "compiled inside": compiled_inside,
    "both": lambda: nn.DataParallel(torch.compile(network(), backend=no_compiler)),
    "scripted": scripted,
    "traced": traced,
    "frozen": lambda: torch.jit.freeze(traced()),
    "traced inside": lambda: Strange(lambda net, x: net(x), traced()),
    "a graph": lambda: torch.fx.symbolic_trace(network()),
    "exported": lambda: torch.export.export(
        network().eval(), (images(2),), dynamic_shapes=({0: torch.export.Dim.AUTO},)
    ).module(),
}


@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning")
@pytest.mark.parametrize("case", MEASURED)
def test_wrappers_scripts_and_graphs_answer_like_the_network_and_copies_of_them_are_the_same(case):
    module, _ = plain(MEASURED[case]())
    with run_uncompiled():
        asking, logits = asked(module)
        assert asking == WayOfAsking()
        assert torch.allclose(logits, network().eval()(images()), atol=1e-6)
        settle(module, "cpu")
        assert classifier_fingerprint(copy.deepcopy(module)) == classifier_fingerprint(module)


def test_a_compiled_network_is_noted():
    assert "before torch.compile" in plain(MEASURED["both"]())[1][0]
    assert plain(MEASURED["DataParallel"]())[1] == []


def test_a_pruned_network_can_be_copied_once_its_computed_weights_are_detached():
    module = network()
    prune.l1_unstructured(module[1], "weight", amount=3)
    settle(module, "cpu")
    before = module(images())
    detach_computed(module)
    assert torch.equal(copy.deepcopy(module)(images()), before)
