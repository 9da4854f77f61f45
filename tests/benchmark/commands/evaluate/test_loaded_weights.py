"""Weights that a file loads: what does not fit is one line with the mend, and what was never loaded is a warning."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from benchmark.commands.evaluate.loading import load_classifier
from benchmark.errors import ConfigError

FILE = """
import sys
import torch
from torch import nn

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.body, self.head = nn.Linear(4, 4), nn.Linear(4, 2)
    def forward(self, images):
        return self.head(self.body(images.flatten(1)))

def state(prefix="", only=""):
    return {prefix + key: value for key, value in Net().state_dict().items() if key.startswith(only)}

def make():
    net = Net()
    MAKE
    return net
"""


def loaded(folder: Path, make: str, name: str = ":make"):
    path = folder / "mine.py"
    path.write_text(FILE.replace("MAKE", make))
    return load_classifier(f"{path}{name}")


MISFITS = {
    "of DataParallel": (
        "net.load_state_dict(state('module.'))",
        "its weights do not fit: missing 4 (body.bias, body.weight, head.bias, ...), unexpected 4 (module.body.weight, "
        "module.body.bias, module.head.weight, ...); its keys begin with 'module.' (of nn.DataParallel): "
        "strip it with key.removeprefix('module.')",
    ),
    "of torch.compile": ("net.load_state_dict(state('_orig_mod.'))", "begin with '_orig_mod.' (of torch.compile)"),
    "of another wrapper": ("net.load_state_dict(state('model.net.'))", "begin with 'model.net.': strip it"),
    "in a checkpoint": (
        "net.load_state_dict({'epoch': 3, 'state_dict': state()})",
        "its weights lie under 'state_dict': load_state_dict(state['state_dict'])",
    ),
    "in a checkpoint of DataParallel": (
        "net.load_state_dict({'model': state('module.')})",
        "lie under 'model': load_state_dict(state['model']); its keys begin with 'module.'",
    ),
    "a whole module": (
        "net.load_state_dict({'model': Net()})",
        "'model' is a module: load_state_dict(state['model'].s",
    ),
    "a module": ("net.load_state_dict(Net())", "was given a Net, expected a state dict; load its state_dict()"),
    "into a wrapper": ("nn.DataParallel(net).load_state_dict(state())", "into the module inside, its .module"),
    "another shape": (
        "net.load_state_dict(state() | {'head.bias': torch.zeros(10)})",
        "of another shape 1 (head.bias is (10,) in the state and (2,) in the network)",
    ),
    "a part": ("net.load_state_dict(state(only='body'))", "its weights do not fit: missing 2 (head.bias, head.weight)"),
}


@pytest.mark.parametrize("case", MISFITS)
def test_weights_that_do_not_fit_are_one_line_with_the_mend(tmp_path, case):
    make, message = MISFITS[case]
    with pytest.raises(ConfigError) as refused:
        loaded(tmp_path, make)
    assert message in str(refused.value)
    assert str(refused.value).startswith(f"{tmp_path / 'mine.py'}:make: ")
    assert "\n" not in str(refused.value)


def test_weights_that_do_not_fit_when_the_file_is_imported_are_one_line_too(tmp_path):
    with pytest.raises(ConfigError, match=r"begin with 'module\.'"):
        loaded(tmp_path, "pass\nnet = Net()\nnet.load_state_dict(state('module.'))\ndef other():\n    net = 0")


NOT_LOADED = {
    "nothing fits": (
        "net.load_state_dict(state('module.'), strict=False)",
        "weights: load_state_dict(strict=False) kept the first values of 4 (body.weight, body.bias, head.weight, ...) "
        "and found no place for 4 (module.body.weight, module.body.bias, module.head.weight, ...)",
    ),
    "a part": ("net.load_state_dict(state(only='body'), strict=False)", "kept the first values of 2 (head.weight, "),
    "too much": (
        "net.load_state_dict(state() | {'mean': 0}, strict=False)",
        "(strict=False) found no place for 1 (mean)",
    ),
    "cast afterwards": ("net.load_state_dict(state(only='body'), strict=False); net.double()", "kept the first values"),
}


@pytest.mark.parametrize("case", NOT_LOADED)
def test_weights_that_were_never_loaded_are_a_warning(tmp_path, case):
    make, message = NOT_LOADED[case]
    (warning,) = loaded(tmp_path, make).warnings
    assert message in warning


@pytest.mark.parametrize(
    "make",
    [
        "net.load_state_dict(state())",
        "net.load_state_dict(state(), strict=False)",
        "net.load_state_dict(state(only='body'), strict=False); net.load_state_dict(state(only='head'), strict=False)",
        "net.load_state_dict(state(only='body'), strict=False); net.head.load_state_dict(nn.Linear(4, 2).state_dict())",
        "net.load_state_dict(state(only='body'), strict=False); nn.init.ones_(net.head.weight); nn.init.ones_(net.head.bias)",
        "Net().load_state_dict(state('module.'), strict=False)",
        "net.load_state_dict(state(), assign=True)",
    ],
)
def test_weights_that_were_loaded_after_all_are_none(tmp_path, make):
    assert loaded(tmp_path, make).warnings == []


NO_MODULE = {
    "state()": "found dict, weights without a network; build the network, load_state_dict() them",
    "(net, 1)": "found tuple; take its element 0",
    "{'model': net, 'epoch': 1}": "found dict; take its 'model'",
    "torch.export.export(net, (torch.rand(1, 4),))": "found ExportedProgram; take its .module()",
    "sys.exit(3)": "ends the program when it is made (exit code 3)",
    "net.cuda() if not torch.cuda.is_available() else 1 / 0": "fails when it is made",
    "torch.nowhere": "fails when it is made (AttributeError",
}


@pytest.mark.parametrize("made", NO_MODULE)
def test_what_is_no_module_is_one_line_with_the_mend(tmp_path, made):
    with pytest.raises(ConfigError) as refused:
        loaded(tmp_path, f"net = {made}")
    assert NO_MODULE[made] in str(refused.value)
    assert "\n" not in str(refused.value)


NO_WEIGHTS = {
    b"<!DOCTYPE html><html><title>Google Drive - Virus scan warning</title>": "is a web page",
    b"\n<html>": "is a web page",
    b"version https://git-lfs.github.com/spec/v1\noid sha256:12\nsize 9\n": "is a pointer of Git LFS",
}


@pytest.mark.parametrize("content", NO_WEIGHTS)
def test_what_a_download_left_in_place_of_weights_is_named(tmp_path, content):
    (tmp_path / "weights.pt").write_bytes(content)
    load = f"torch.load({str(tmp_path / 'weights.pt')!r}, weights_only=False)"
    before = torch.load
    with pytest.raises(ConfigError, match=NO_WEIGHTS[content]) as refused:
        loaded(tmp_path, f"net.load_state_dict({load})")
    assert "weights.pt" in str(refused.value)
    assert "\n" not in str(refused.value)
    assert torch.load is before


def test_a_class_that_needs_arguments_is_told_so_and_a_file_of_weights_is_no_network(tmp_path):
    with pytest.raises(ConfigError, match=r"cannot be made without arguments .* expected an nn\.Module, or a class"):
        loaded(tmp_path, "pass\ndef needs(size):\n    net = 0", ":needs")
    (tmp_path / "weights.pt").touch()
    with pytest.raises(ConfigError, match=r"holds weights; give a FILE\.py"):
        load_classifier(str(tmp_path / "weights.pt"))
