"""Models of timm as backbones: any that gives a row of features, with one width, learned and masked as the others."""

from __future__ import annotations

import builtins
from pathlib import Path
from typing import Any

import pytest
import torch

from methods.backbones import BackboneChoice, MultiHead, initialise
from methods.base import MethodError
from methods.parts.maskable import check_maskable
from methods.parts.stochastic_masks import MaskedNetwork, Masks
from tests.tiny import SHORT, begun, run_tiny

timm = pytest.importorskip("timm")
SHAPE = (3, 32, 32)


@pytest.mark.parametrize("name", ["resnet10t", "mobilenetv3_small_050", "vit_tiny_patch16_224"])
def test_models_give_as_many_features_as_they_say_and_masks_can_be_made_plain(name: str) -> None:
    backbone = BackboneChoice(name=f"timm:{name}").build(SHAPE)
    network = MultiHead(backbone, (3,), (0.5,) * 3, (0.5,) * 3)
    initialise(network, torch.Generator().manual_seed(0))
    plain, images = network.for_task(0).eval(), torch.rand(2, *SHAPE)
    with torch.no_grad():
        assert backbone(images).shape == (2, backbone.features)
        masked = MaskedNetwork(plain, Masks(plain, 2.0, 2.0)).eval()
        assert torch.allclose(masked.materialise()(images), masked(images), rtol=1e-3, atol=1e-5)
        assert not torch.equal(masked(images), plain(images))


def test_a_seed_means_the_same_weights_whatever_was_drawn_before() -> None:
    torch.manual_seed(1)
    first = BackboneChoice(name="timm:vit_tiny_patch16_224").build(SHAPE).state_dict()
    torch.manual_seed(2)
    before = torch.get_rng_state()
    second = BackboneChoice(name="timm:vit_tiny_patch16_224").build(SHAPE).state_dict()
    assert torch.equal(torch.get_rng_state(), before)
    assert all(torch.equal(first[key], second[key]) for key in first)


def test_methods_learn_them_and_forget_nothing_of_what_they_claim(tmp_path: Path) -> None:
    rows = [{"method": "packnet", "settings": SHORT["packnet"]}, {"method": "madry_at"}]
    assert run_tiny(tmp_path, rows=rows, backbone={"name": "timm:test_resnet", "width": 1.0}) == 0


def test_what_cannot_grow_says_so_before_anything_is_learned(tmp_path: Path) -> None:
    backbone = {"name": "timm:test_resnet", "width": 1.0}
    with pytest.raises(MethodError, match=r"mu_max = 1\.5: this backbone has one width and cannot grow; set mu_max=1"):
        begun(tmp_path, {"method": "cmat", "settings": {"mu_max": 1.5, "goals": [0.5, 0.5]}}, backbone=backbone)
    with pytest.raises(ValueError, match="a model of timm has one width"):
        BackboneChoice(name="timm:test_resnet", width=0.5)


def test_a_missing_model_or_library_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValueError, match=r"timm has no model of this name; alike: .*resnet18"):
        BackboneChoice(name="timm:resnet18.no_such_tag").build(SHAPE)
    real = builtins.__import__

    def without(name: str, *args: Any, **kwargs: Any) -> Any:
        if name == "timm":
            raise ImportError(name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(ValueError, match="needs timm, which is not installed: pip install timm"):
        BackboneChoice(name="timm:resnet18").build(SHAPE)


@pytest.mark.parametrize("name", ["convnext_atto", "resnet10t"])
def test_a_norm_that_a_model_counts_to_its_head_is_read_and_its_classes_are_not(tmp_path: Path, name: str) -> None:
    theirs = timm.create_model(name, num_classes=7).eval()
    torch.save(theirs.state_dict(), tmp_path / "weights.pth")
    choice = BackboneChoice(name=f"timm:{name}", pretrained=str(tmp_path / "weights.pth"))
    backbone, images = choice.build(SHAPE).eval(), torch.rand(2, *SHAPE)
    choice.check_start(choice.build(SHAPE))
    choice.start(backbone)
    with torch.no_grad():
        expected = theirs.forward_head(theirs.forward_features(images), pre_logits=True)
        assert torch.allclose(backbone(images), expected, atol=1e-5)


def test_weights_for_images_of_another_size_are_one_line(tmp_path: Path) -> None:
    torch.save(timm.create_model("test_vit").state_dict(), tmp_path / "weights.pth")
    choice = BackboneChoice(name="timm:test_vit", pretrained=str(tmp_path / "weights.pth"))
    with pytest.raises(ValueError, match=r"pos_embed is .* must be of a model for images of the same size"):
        choice.check_start(choice.build(SHAPE))


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("swin_tiny_patch4_window7_224", "rows of 2 images, so it can have no mask per image"),
        ("nf_resnet26", "do not all use their weights as they are"),  # standardised before use
        ("eva02_tiny_patch14_224", "do not all use their weights as they are"),  # the module is not called
        ("convnext_atto", "no activation"),
    ],
)
def test_a_network_on_which_masks_would_not_do_what_is_learned_is_refused(name: str, reason: str) -> None:
    images = torch.rand(2, 3, 64, 64)
    network = MultiHead(BackboneChoice(name=f"timm:{name}").build((3, 64, 64)), (3,), (0.5,) * 3, (0.5,) * 3)
    initialise(network, torch.Generator().manual_seed(0))
    plain = network.for_task(0).train()
    with pytest.raises(ValueError, match=reason):
        check_maskable(MaskedNetwork(plain, Masks(plain, 2.0, 2.0)), images)
    assert all(module.training for module in plain.modules())


def test_anp_vs_refuses_it_in_one_line(tmp_path: Path) -> None:
    row = {"method": "anp_vs", "settings": {"warm_start": False}}
    method, context, tasks = begun(tmp_path, row, backbone={"name": "timm:test_nfnet", "width": 1.0})
    with pytest.raises(MethodError, match=r"this backbone cannot be masked: .*; choose another one"):
        method.learn(tasks[0].to_learn(), context)
