"""Pre-trained weights: read by our names or torchvision's, counted by their bytes, and refused in one line if they do not fit."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from urllib.error import URLError

import pytest
import torch
import torchvision
from pydantic import ValidationError
from safetensors.torch import save_file
from torch import Tensor

from benchmark.errors import ConfigError
from methods.backbones import BackboneChoice, MultiHead, initialise
from methods.backbones.pretrained import TORCHVISION, _imagenet, load_pretrained
from methods.base import MethodError
from scenarios.base import SourceOptions
from tests.tiny import SHORT, begun, run_tiny

SHAPE = (1, 8, 8)


def weights(width: float = 0.125, seed: int = 5) -> dict[str, Tensor]:
    network = MultiHead(BackboneChoice(name="cifar_resnet18", width=width).build(SHAPE), (2,), (0.5,), (0.5,))
    initialise(network, torch.Generator().manual_seed(seed))
    return network.backbone.state_dict()


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "weights.safetensors"
    save_file(weights(), path)
    return path


def backbone(file: Path | str, **changes: Any) -> dict[str, Any]:
    return {"name": "cifar_resnet18", "width": 0.125, "pretrained": str(file), **changes}


def test_every_network_of_a_run_starts_from_them_with_heads_of_its_own(tmp_path: Path, file: Path) -> None:
    _, context, _ = begun(tmp_path, {"method": "madry_at"}, backbone=backbone(file))
    stream = context.job.preset.scenario(SourceOptions()).stream()
    first, second = (context.network(stream, task=task) for task in (0, 1))
    for name, tensor in weights().items():
        assert torch.equal(first.backbone.state_dict()[name].cpu(), tensor)
        assert torch.equal(second.backbone.state_dict()[name].cpu(), tensor)
    assert not torch.equal(first.heads[0].weight, second.heads[0].weight)  # type: ignore[arg-type]
    grown = context.network(stream, mu=2.0).backbone.state_dict()
    assert all(torch.equal(grown[n][tuple(slice(0, s) for s in t.shape)].cpu(), t) for n, t in weights().items())


def test_a_file_counts_by_its_bytes_and_no_weights_count_for_nothing(tmp_path: Path, file: Path) -> None:
    copied = tmp_path / "elsewhere.safetensors"
    copied.write_bytes(file.read_bytes())
    here, there = (BackboneChoice(**backbone(path)).identity() for path in (file, copied))
    assert here == there
    assert len(here["pretrained"]) == 64
    save_file(weights(seed=6), file)
    assert BackboneChoice(**backbone(file)).identity() != there
    assert BackboneChoice(name="vgg16_bn").identity() == {"name": "vgg16_bn", "width": 1.0}
    assert (
        BackboneChoice(name="resnet50", pretrained="imagenet").identity()["pretrained"]
        == "imagenet resnet50-0676ba61.pth"
    )


def test_a_state_dict_of_torch_with_a_head_of_torchvision_is_read(tmp_path: Path) -> None:
    theirs = torchvision.models.resnet18()
    torch.save({"state_dict": {f"module.{k}": v for k, v in theirs.state_dict().items()}}, tmp_path / "them.pth")
    ours = BackboneChoice(name="resnet18").build((3, 64, 64))
    load_pretrained(ours, "resnet18", str(tmp_path / "them.pth"))
    assert torch.equal(ours.state_dict()["layers.4.body.0.weight"], theirs.layer1[0].conv1.weight)


def test_weights_of_another_network_width_or_format_are_one_line(tmp_path: Path, file: Path) -> None:
    def refused(**changes: Any) -> str:
        with pytest.raises(ConfigError) as caught:
            begun(tmp_path, {"method": "madry_at"}, backbone=backbone(file, **changes))
        assert "\n" not in str(caught.value)
        return str(caught.value)

    assert "the backbone's width must be that of the weights" in refused(width=0.25)
    assert "the backbone's width must be that of the weights" in refused(width=0.0625)
    assert "these are weights of another network" in refused(name="small_conv")
    (tmp_path / "text").write_text("no weights")
    assert "neither safetensors nor a state dict" in refused(pretrained=str(tmp_path / "text"))
    torch.save([torch.zeros(2)], tmp_path / "list.pth")
    assert "is no state dict" in refused(pretrained=str(tmp_path / "list.pth"))
    assert "no such file" in refused(pretrained=str(tmp_path / "nowhere"))
    assert "vgg16_bn has no ImageNet weights; resnet18, resnet50, timm:NAME have" in refused(
        name="vgg16_bn", pretrained="imagenet"
    )


def test_a_file_that_would_run_code_is_not_unpickled(tmp_path: Path) -> None:
    class Evil:
        def __reduce__(self) -> tuple[Any, tuple[str]]:
            return (Path.touch, (tmp_path / "ran",))  # type: ignore[return-value]

    torch.save({"layers.0.weight": Evil()}, tmp_path / "evil.pth")
    with pytest.raises(ValueError, match="neither safetensors nor a state dict"):
        load_pretrained(BackboneChoice(name="resnet18").build((3, 32, 32)), "resnet18", str(tmp_path / "evil.pth"))
    assert not (tmp_path / "ran").exists()


def test_without_a_network_imagenet_is_one_line_that_says_where_to_put_the_file(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def offline(*args: Any, **kwargs: Any) -> Any:
        raise URLError("no route to host")

    monkeypatch.setattr(torch.hub, "load_state_dict_from_url", offline)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    _imagenet.cache_clear()
    with pytest.raises(
        ConfigError, match=r"resnet18-f37072fd.pth could not be fetched \(.*no route.*put it at .*checkpoints"
    ) as caught:
        begun(tmp_path, {"method": "madry_at"}, backbone={"name": "resnet18", "width": 1.0, "pretrained": "imagenet"})
    assert str(tmp_path) in str(caught.value)
    assert "\n" not in str(caught.value)
    assert set(TORCHVISION) == {"resnet18", "resnet50"}


@pytest.mark.parametrize("name", ["packnet", "cmat"])
def test_a_frozen_base_is_never_moved_and_no_task_forgets_it(tmp_path: Path, file: Path, name: str) -> None:
    settings = {**SHORT[name], "base_prune_ratio": 0.5}
    if name == "cmat":
        settings |= {"goals": [0.0, 1.0], "tolerance": 0.0}
    rows = [{"method": name, "settings": settings}]
    assert run_tiny(tmp_path, rows=rows, backbone=backbone(file)) == 0
    method, context, tasks = begun(tmp_path, rows[0], backbone=backbone(file))
    kept = {key: owners == 255 for key, owners in method.packed.owners.items()}  # type: ignore[attr-defined]
    assert all(float(mine.double().mean()) == pytest.approx(0.5, abs=0.02) for mine in kept.values())
    method.learn(tasks[0].to_learn(), context)
    packed = method.packed  # type: ignore[attr-defined]
    for key, mine in kept.items():
        assert torch.equal(packed.weights[key][tuple(slice(0, s) for s in mine.shape)][mine], weights()[key][mine])
    other, _, _ = begun(tmp_path, rows[0], backbone=backbone(file))
    other.load_state(method.state())
    assert all(torch.equal(other.packed.owners[k], packed.owners[k]) for k in packed.owners)  # type: ignore[attr-defined]
    recorded = {fact["name"] for fact in context.logs.facts}
    assert "weights_of_base" in recorded


def test_a_base_without_pretrained_weights_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(MethodError, match=r"base_prune_ratio = 0\.5 needs .* set backbone\.pretrained"):
        begun(tmp_path, {"method": "packnet", "settings": {"base_prune_ratio": 0.5}})


def test_a_name_that_is_no_backbone_is_told_the_valid_ones() -> None:
    with pytest.raises(
        ValidationError, match="valid: vgg16_bn, small_conv, resnet18, resnet50, cifar_resnet18, timm:NAME"
    ):
        BackboneChoice(name="resnet19")
