"""Modules of strangers under a preset's whole protocol, from the command line: measured, with a line on what was done."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmark.cli import main
from tests.tiny import write_preset

FILE = """
import torch
from torch import nn

def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 2))

class Module(nn.Module):
    def __init__(self):
        super().__init__()
        self.inside = network()INSIDE
    def forward(self, images):
        FORWARD

def traced():
    return torch.jit.trace(network().eval(), torch.rand(1, 1, 8, 8))

def quantised():
    return torch.ao.quantization.quantize_dynamic(network(), {nn.Linear}, dtype=torch.qint8)

def partly():
    found = network()
    found.load_state_dict({"1.weight": torch.ones(2, 64)}, strict=False)
    return found
"""


def evaluated(
    folder: Path,
    name: str = "Module",
    inside: str = "",
    forward: str = "return self.inside(images)",
    precision: str = "float32",
):
    """The exit code, and what was found, as JSON."""
    path, output = folder / "mine.py", folder / "found.json"
    path.write_text(FILE.replace("INSIDE", inside).replace("FORWARD", forward))
    preset = write_preset(folder, evaluation={"final": [{"attack": "fgsm"}], "precision": precision})
    code = main(["evaluate", f"{path}:{name}", "--preset", str(preset), "--task", "0", "--output", str(output)])
    return code, json.loads(output.read_text()) if code != 2 else {}


def accuracies(found):
    return {each["attack"]: each["accuracy"] for each in found["accuracies"]}


@pytest.fixture(scope="module")
def honest(tmp_path_factory):
    return evaluated(tmp_path_factory.mktemp("honest"))


def test_everything_that_was_found_is_written_as_json(honest):
    code, found = honest
    assert code == 0
    assert found["classifier"].endswith("mine.py:Module")
    assert found["task"] == {"id": 0, "name": "digits_0_1", "classes": ["0", "1"]}
    assert found["preset"] == "tiny"
    assert (found["notes"], found["failures"]) == ([], [])
    assert set(accuracies(found)) >= {"clean", "fgsm linf 51/255"}
    assert found["worst"]["attack"] == "worst"
    assert found["worst"]["low"] <= found["worst"]["accuracy"] <= found["worst"]["high"]
    assert {each["status"] for each in found["checks"]} >= {"pass", "not_run"}


SAME = {
    "in place": ("", "return self.inside(images.mul_(1))", "it writes to the images it is asked about"),
    "behind": ("", "images.data.mul_(1); images.data.add_(0); return self.inside(images)", None),
    "float64": (".double()", "return self.inside(images)", "its weights are float64"),
    "logits beside others": ("", "return {'logits': self.inside(images), 'images': images}", "'logits' of what"),
}


@pytest.mark.parametrize("case", SAME)
def test_a_network_in_another_dress_has_the_accuracies_of_the_network(tmp_path, capsys, honest, case):
    inside, forward, note = SAME[case]
    code, found = evaluated(tmp_path, inside=inside, forward=forward)
    assert code == 0
    assert accuracies(found) == accuracies(honest[1])
    assert found["failures"] == []
    assert [each["check"] for each in found["checks"] if each["status"] == "fail"] == [
        each["check"] for each in honest[1]["checks"] if each["status"] == "fail"
    ]
    if note is None:
        assert found["notes"] == []
    else:
        assert note in found["notes"][0]
        assert f"note: {found['notes'][0]}" in capsys.readouterr().out


@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning")
def test_a_traced_network_has_the_verdicts_of_the_network(tmp_path, honest):
    code, found = evaluated(tmp_path, "traced")
    assert code == 0
    assert accuracies(found) == accuracies(honest[1])
    assert found["checks"] == honest[1]["checks"]


@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning")
def test_a_quantised_network_is_measured_and_its_gradient_fails(tmp_path):
    code, found = evaluated(tmp_path, "quantised")
    assert code == 0
    assert "gradients_carry_signal" in [each["check"] for each in found["checks"] if each["status"] == "fail"]


def test_weights_that_were_not_loaded_are_told_on_the_screen_and_in_the_file(tmp_path, capsys):
    code, found = evaluated(tmp_path, "partly")
    assert code == 0
    warning = "weights: load_state_dict(strict=False) kept the first values of 1 (1.bias)"
    assert warning in found["warnings"]
    assert f"warn: {warning}" in capsys.readouterr().out


def test_a_network_for_images_of_another_scale_is_told_on_the_screen_and_in_the_file(tmp_path, capsys):
    forward = (
        "x = images / 255; c = x[:, 0, 3:5, 3:5].mean((1, 2)) - 0.1 * x.mean((1, 2, 3)); "
        "return torch.stack([0.4 - c, c - 0.4], 1)"
    )
    code, found = evaluated(tmp_path, forward=forward)
    assert code == 0
    (warning,) = found["warnings"]
    assert "if the images are scaled to [0, 255]" in warning
    assert f"warn: {warning}" in capsys.readouterr().out


def test_a_precision_that_the_machine_lacks_is_a_note_and_changes_no_number(tmp_path, honest):
    code, found = evaluated(tmp_path, precision="float16")
    assert code == 0
    assert found["notes"] == ["attacks walk in float32: no fp16 on cpu"]
    assert accuracies(found)["fgsm linf 51/255 in=fp16"] == accuracies(honest[1])["fgsm linf 51/255"]
