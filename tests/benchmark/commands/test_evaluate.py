"""`evaluate`: anybody's nn.Module under a preset's protocol, and one clear line for what is not one."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from benchmark.cli import main
from benchmark.commands.evaluate.attacking import attack_module, choose_protocol
from benchmark.commands.evaluate.loading import load_classifier
from benchmark.learning.confined import process as confined
from benchmark.planning.options import RunOptions
from tests.conftest import CONFINED_PROCESS
from tests.tiny import write_preset

GOOD = """
import torch
from torch import nn

class Pixels(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.linear = nn.Linear(64, {classes})
    def forward(self, images):
        return {returns}

classifier = Pixels()
"""


def write(folder: Path, classes: int = 2, returns: str = "self.linear(images.flatten(1))", extra: str = "") -> Path:
    path = folder / "mine.py"
    path.write_text(GOOD.format(classes=classes, returns=returns) + extra)
    return path


def evaluate(folder: Path, target: str, task: str = "0", *more: str, **changes: object) -> int:
    changes.setdefault(
        "evaluation", {"final": [{"attack": "fgsm"}, {"attack": "pgd", "steps": 3, "step_size": "eps/2"}]}
    )
    preset = write_preset(folder, **changes)
    return main(["evaluate", target, "--preset", str(preset), "--task", task, *more])


def test_a_module_is_attacked_under_the_whole_protocol(tmp_path, capsys):
    output = tmp_path / "out.csv"
    assert evaluate(tmp_path, str(write(tmp_path)), "0", "--output", str(output)) == 0
    shown = capsys.readouterr().out
    with output.open() as file:
        rows = {row["attack"]: row for row in csv.DictReader(file)}
    assert set(rows) == {
        "clean", "fgsm linf 51/255", "pgd-2 linf 51/255 a=12.75/255", "pgd-2 linf 51/255 a=12.75/255 any",
        "pgd-3 linf 51/255 a=25.5/255", "pgd-3 linf 51/255 a=25.5/255 any", "worst",
    }  # fmt: skip
    assert all(name in shown for name in rows)
    accuracy = {name: float(row["accuracy"]) for name, row in rows.items()}
    # A linear model of two classes: the gradient never turns, so three half steps reach what one whole step does.
    assert accuracy["worst"] <= min(accuracy.values())
    assert accuracy["fgsm linf 51/255"] == accuracy["pgd-3 linf 51/255 a=25.5/255"]
    assert float(rows["clean"]["low"]) < accuracy["clean"] < float(rows["clean"]["high"])


@pytest.mark.parametrize("name", ["", ":classifier", ":Pixels", ":make"])
def test_an_instance_a_class_or_a_function_will_do(tmp_path, name):
    path = write(tmp_path, extra="\ndef make():\n    return Pixels()\n")
    assert evaluate(tmp_path, f"{path}{name}", "digits_2_3") == 0


WRONG = {
    "no file": (None, "", "0", "no such Python file"),
    "no module": ("x = 1", "", "0", "expected one nn.Module, the file holds none"),
    "two modules": (
        "from torch import nn\na, b = nn.Linear(1, 1), nn.Linear(1, 1)",
        "",
        "0",
        "holds 2 (a, b); name it",
    ),
    "no such name": (
        "from torch import nn\nnet = nn.Linear(1, 1)",
        ":nett",
        "0",
        "there is no 'nett'; did you mean 'net'",
    ),
    "syntax": ("def x(:", "", "0", "line 1"),
    "import": ("import not_there", "", "0", "cannot be imported (ModuleNotFoundError"),
    "arguments": ("def make(size):\n    return size", ":make", "0", "cannot be made without arguments"),
    "no class": ("from torch import nn", ":nn", "0", "expected an nn.Module, or what makes one; found module"),
    "no classifier": ("def make():\n    return 3", ":make", "0", "found int"),
    "raises": ("from torch import nn\nnet = nn.Linear(5, 2)", "", "0", "RuntimeError"),
    "task": (
        "from torch import nn\nnet = nn.Linear(5, 2)",
        "",
        "9",
        "--task 9: no such task; valid: 0 (digits_0_1), 1",
    ),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_cannot_be_evaluated_is_one_line(tmp_path, capsys, case):
    text, name, task, message = WRONG[case]
    path = tmp_path / "wrong.py"
    if text is not None:
        path.write_text(text)
    assert evaluate(tmp_path, f"{path}{name}", task) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1


@pytest.mark.parametrize(
    ("classes", "returns", "message"),
    [
        (3, "self.linear(images.flatten(1))", "returns 3 logits per image to answer among 2 classes"),
        (2, "self.linear(images.flatten(1)).softmax(1)", "returns probabilities"),
        (2, "self.linear(images.flatten(1)) * float('nan')", "not finite"),
        (2, "self.linear(images.flatten(1)).argmax(1)", "int64"),
    ],
)
def test_a_classifier_that_breaks_its_contract_is_one_line(tmp_path, capsys, classes, returns, message):
    assert evaluate(tmp_path, str(write(tmp_path, classes, returns))) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1


CENTRE = (
    "(lambda x: (lambda c: torch.stack([0.4 - c, c - 0.4], 1))(x[:, 0, 3:5, 3:5].mean((1, 2)) - 0.1 * x.mean((1, 2, 3))))"
    "({images})"
)
"""Ones have ink in the middle, zeros have none: logits that are right on most images of the first task."""


def test_the_checks_say_what_a_reader_should_know_before_believing_the_numbers(tmp_path, capsys):
    path = write(tmp_path, returns=CENTRE.format(images="((images * 255).round() / 255)"))
    final = {"final": [{"attack": "pgd", "steps": 2, "step_size": "3 eps"}], "checks": "final"}
    assert evaluate(tmp_path, str(path), evaluation=final) == 0
    shown = capsys.readouterr().out
    assert "fail: gradients_carry_signal: 100 % of the gradient is zero at the start" in shown
    assert "fail: unbounded: an attack with eps = 1 leaves" in shown
    assert "step size 153/255 above 2 eps" in shown
    assert "not run" in shown.split("checks: ")[1].splitlines()[0]


def test_an_honest_module_has_no_failed_check_and_its_extra_attacks_are_no_rows(tmp_path, capsys):
    output = tmp_path / "out.csv"
    path = write(tmp_path, returns=CENTRE.format(images="images"))
    final = {"final": [{"attack": "fgsm"}, {"attack": "pgd", "steps": 10, "step_size": "eps/4"}], "checks": "final"}
    assert evaluate(tmp_path, str(path), "0", "--output", str(output), evaluation=final) == 0
    shown = capsys.readouterr().out
    assert "fail" not in shown
    assert "rescaled" not in output.read_text()


def test_noise_in_a_module_is_found(tmp_path, capsys):
    path = write(tmp_path, returns=CENTRE.format(images="(images + 0.1 * torch.randn_like(images))"))
    assert evaluate(tmp_path, str(path), evaluation={"final": [], "checks": "final"}) == 1
    shown = capsys.readouterr().out
    assert "fail: repeatable: " in shown
    assert "fail: unchanged: " in shown


def test_strict_ends_with_1_if_a_check_fails(tmp_path, capsys):
    honest, zero = {"final": []}, "((images * 255).round() / 255)"
    path = str(write(tmp_path, returns=CENTRE.format(images=zero)))
    assert evaluate(tmp_path, path, "0", evaluation=honest) == 0
    assert evaluate(tmp_path, path, "0", "--strict", evaluation=honest) == 1
    assert "fail: gradients_carry_signal" in capsys.readouterr().out
    path = str(write(tmp_path, returns=CENTRE.format(images="images")))
    assert evaluate(tmp_path, path, "0", "--strict", evaluation=honest) == 0


def test_an_attack_that_fails_fails_alone(tmp_path, capsys):
    path = write(tmp_path)
    final = {"final": [{"attack": "fgsm"}, {"attack": "square", "queries": 5}]}
    text = path.read_text().replace(
        "return self",
        "if not torch.is_grad_enabled() and len(images) > 16: raise RuntimeError('no forward')\n        return self",
    )
    path.write_text(text)
    assert evaluate(tmp_path, str(path), evaluation=final) == 1
    shown = capsys.readouterr().out
    assert "failed: square-5" in shown
    assert "no forward" in shown
    assert "fgsm linf 51/255" in shown


REMEMBERS = """
SEEN = {}

class Remembers(Pixels):
    def forward(self, images):
        own = self.linear(images.flatten(1))
        if SEEN:
            known = torch.cat(list(SEEN.values()))
            far = torch.cdist(images.detach().flatten(1), known.flatten(1), p=torch.inf).min(1)
            own = torch.where((far.values <= 0.2001)[:, None], self.linear(known[far.indices].flatten(1)), own)
        if len(SEEN) < 40:
            SEEN[len(SEEN)] = images.detach().clone()
        return own

class Other(Pixels):
    def __init__(self):
        super().__init__()
        torch.nn.init.normal_(self.linear.weight, generator=torch.Generator().manual_seed(SEED))

SEED = __import__("random").SystemRandom().randrange(10**6)
"""


@pytest.mark.parametrize(
    ("name", "file", "status", "words"),
    [
        ("Pixels", True, "pass", "had seen nothing gave the recorded answers"),
        ("Remembers", True, "fail", "had seen nothing give another answer"),
        ("Other", True, "not_run", "another network each time"),
        ("Pixels", False, "not_run", "given from Python"),
    ],
)
def test_the_network_of_a_file_is_made_anew_and_judged(tmp_path, monkeypatch, name, file, status, words):
    monkeypatch.setattr(confined, "ConfinedProcess", CONFINED_PROCESS)
    target = f"{write(tmp_path, extra=REMEMBERS)}:{name}"
    preset = write_preset(tmp_path, evaluation={"final": [{"attack": "fgsm"}]})
    protocol = choose_protocol(RunOptions(str(preset)), "0")
    found = attack_module(load_classifier(target).module, target, protocol, file=target if file else None)
    (verdict,) = [verdict for verdict in found.verdicts if verdict.check == "judged_afresh"]
    assert verdict.status == status
    assert words in verdict.reason


@pytest.mark.parametrize("error", ["AssertionError", "IndexError", "SystemExit"])
def test_whatever_a_network_raises_costs_the_attacks_that_met_it_and_no_others(tmp_path, capsys, error):
    few = "self.linear(images.flatten(1)) if len(images) <= 20 else self.refused()"
    method = f"""
def refused(self):
    raise {error}("twenty images at most")

Pixels.refused = refused
"""
    final = [{"attack": "fgsm", "samples": 16}, {"attack": "noise"}]
    changes = {"evaluation": {"checks": "none", "matrix": [{"attack": "clean", "samples": 16}], "final": final}}
    assert evaluate(tmp_path, str(write(tmp_path, returns=few, extra=method)), **changes) == 1
    shown = capsys.readouterr().out
    assert f"failed: noise linf 51/255: {error}: twenty images at most" in shown
    assert "fgsm linf 51/255 │" in shown


def test_a_place_that_takes_no_file_is_told_before_anything_is_attacked(tmp_path, capsys):
    (tmp_path / "file").touch()
    for output, reason in ((tmp_path, "it is a folder"), (tmp_path / "file" / "out.csv", "Not a directory")):
        assert evaluate(tmp_path, str(write(tmp_path, extra="\n1 / 0\n")), "0", "--output", str(output)) == 2
        assert reason in capsys.readouterr().err, "and not what is wrong with the network"
