"""`--device`: every device of torch that the program can use is read, and what is not there is refused in one line."""

from __future__ import annotations

import pytest
import torch

from benchmark.cli import main, make_parser
from benchmark.errors import ConfigError
from benchmark.planning.machine import make_machine
from benchmark.planning.options import RunOptions, device_name
from benchmark.planning.presets import load_preset

COMMANDS = {
    "run": ["run", "--preset", "digits", "--dry-run"],
    "evaluate": ["evaluate", __file__, "--preset", "digits", "--task", "0"],
    "audit": ["audit", "--preset", "digits", "--dry-run"],
    "time": ["time", "--preset", "digits"],
    "verify": ["verify", "cmat"],
}


@pytest.mark.parametrize(
    ("given", "name"),
    [("auto", "auto"), ("cpu", "cpu"), ("cpu:0", "cpu"), ("CUDA", "cuda"), ("cuda:1", "cuda:1"), ("cuda:07", "cuda:7"),
     ("mps", "mps"), ("mps:0", "mps")],
)  # fmt: skip
def test_a_device_is_read_as_torch_writes_it(given, name):
    assert device_name(given) == name
    assert RunOptions("digits", device=given).device == name


@pytest.mark.parametrize("given", ["", "gpu", "cpu:1", "cuda:", "cuda:-1", "cuda:1.5", "cuda:x", "cuda:1,2", "mps:1"])
@pytest.mark.parametrize("command", COMMANDS)
def test_anything_else_is_refused_by_every_command(capsys, command, given):
    assert main([*COMMANDS[command], "--device", given]) == 2
    error = capsys.readouterr().err
    assert f"--device {given}: expected auto, cpu, cuda, cuda:N (the GPU of number N, from 0) or mps" in error
    assert error.count("\n") == 1


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_with_a_device_takes_all_of_them(command):
    for given in ("cpu:0", "cuda:1", "mps"):
        assert make_parser().parse_args([*COMMANDS[command], "--device", given]).device == device_name(given)


def made(device: str) -> str:
    return make_machine(RunOptions("digits", device=device), load_preset("digits", [])).device


def refusal(device: str) -> str:
    with pytest.raises(ConfigError) as refused:
        made(device)
    return str(refused.value)


def test_a_gpu_that_is_not_there_is_refused(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    assert "--device cuda:1: no CUDA GPU is there" in refusal("cuda:1")
    assert "--device mps: no such GPU is there" in refusal("mps")
    assert made("auto") == "cpu"


def test_a_gpu_is_chosen_by_its_number(monkeypatch):
    chosen = []
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "set_device", chosen.append)
    assert made("cuda:1") == "cuda:1"
    assert chosen == ["cuda:1"]
    assert made("cuda") == "cuda"
    assert chosen == ["cuda:1"]
    assert "--device cuda:2: this machine has 2 CUDA GPUs, numbered from 0" in refusal("cuda:2")


def test_mps_is_used_where_it_can_compute_what_is_needed(monkeypatch):
    zeros = torch.zeros
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    monkeypatch.setattr(torch, "zeros", lambda *shape, device, **more: zeros(*shape, **more))
    assert made("mps") == "mps"

    def without_float64(*shape, **more):
        raise TypeError("Cannot convert a MPS Tensor to float64 dtype as the MPS framework doesn't support float64.")

    monkeypatch.setattr(torch, "zeros", without_float64)
    assert "--device mps: it cannot compute in float64" in refusal("mps")
