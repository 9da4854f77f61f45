"""In a confined process nothing is in reach but Python code that is older than the run; what is reached for is noted."""

from __future__ import annotations

import gc
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from multiprocessing import shared_memory
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors
import torch
from safetensors.torch import save_file
from torch import nn

from benchmark.learning.confined.places import Places
from benchmark.learning.confined.process import Limits, Made, NotMade
from benchmark.learning.confined.sandbox import CannotConfine, confine
from tests.conftest import CONFINED_PROCESS

pytestmark = pytest.mark.usefixtures("what_is_spawned_is_fresh")

YOUNG, OLD = "young.py", "old.py"


@dataclass(frozen=True)
class Nothing:
    """A source of classifiers of no meaning."""

    limits: Limits
    raises: str = ""

    def gather(self) -> Callable[[], Callable[[], Made]]:
        return lambda: self._making

    def _making(self) -> Made:
        if self.raises:
            Path(self.raises).read_bytes()
        return lambda task: nn.Identity()


def limits(began: float, *, own: tuple[str, ...] = (), data: tuple[str, ...] = ()) -> Limits:
    return Limits(own, data, began, 1)


@dataclass(frozen=True)
class Tried:
    outcomes: dict[str, str]
    reached: tuple[str, ...]


def try_all(made: Made, folder: str, memory: str) -> dict[str, str]:
    """Reach for many things; by name, `refused` or `had`."""
    kept = Path(folder)
    tensor = str(kept / "kept.safetensors")

    def numpy_map() -> Any:
        return np.memmap(kept / "kept.bin", mode="r")

    attempts: dict[str, Callable[[], Any]] = {
        "a file": lambda: (kept / "kept.bin").read_bytes(),
        "a file, by its descriptor": lambda: os.open(kept / "kept.bin", os.O_RDONLY),
        "a file that is mapped": numpy_map,
        "torch.load": lambda: torch.load(kept / "kept.pt"),
        "torch.from_file": lambda: torch.from_file(str(kept / "kept.bin"), size=1),
        "safetensors": lambda: safetensors.safe_open(tensor, framework="pt").__enter__(),
        "a link to a file": lambda: os.link(kept / "kept.bin", "copy"),
        "a symbolic link to a file": lambda: os.symlink(kept / "kept.bin", "copy"),
        "a file that is written": lambda: (kept / "new.bin").write_bytes(b"1"),
        "code that is younger than the run": lambda: (kept / YOUNG).read_bytes(),
        "the names in a folder": lambda: os.listdir(kept),
        "shared memory": lambda: shared_memory.SharedMemory(memory),
        "a connection": lambda: socket.create_connection(("127.0.0.1", 9), timeout=1),
        "a name server": lambda: socket.getaddrinfo("example.org", 80),
        "a process": lambda: subprocess.run(["true"], check=False),
        "a fork": os.fork,
        "another program": lambda: os.execv("/bin/true", ["true"]),
        "a database": lambda: __import__("sqlite3").connect(str(kept / "kept.bin")),
        "a library": lambda: __import__("ctypes").CDLL("libc.so.6"),
        "every object": lambda: gc.get_objects()[0],
        "the environment it was started with": lambda: Path("/proc/self/environ").read_bytes(),
        # What an honest classifier may need.
        "code that is older than the run": lambda: (kept / OLD).read_bytes(),
        "a module that nobody imported": lambda: __import__("colorsys").rgb_to_hls(0, 0, 0),
        "a file of its own": lambda: Path("mine.txt").write_text("1") and Path("mine.txt").read_text(),
        "a device": lambda: Path("/dev/urandom").open("rb").close(),
        "a file that is not there": lambda: Path("not-there").exists() and 1,
    }
    outcomes = {}
    for name, attempt in attempts.items():
        try:
            attempt()
            outcomes[name] = "had"
        except PermissionError:
            outcomes[name] = "refused"
    return outcomes


def surroundings(made: Made) -> dict[str, Any]:
    return {
        "folder": os.listdir("."),
        "cwd": os.getcwd(),
        "variables": dict(os.environ),
        "flag": sys.dont_write_bytecode,
    }


@pytest.fixture(scope="module")
def tried(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Tried, dict[str, Any]]]:
    folder = tmp_path_factory.mktemp("kept")
    (folder / OLD).write_text("value = 1\n")
    time.sleep(0.05)
    began = time.time()
    time.sleep(0.05)
    (folder / "kept.bin").write_bytes(b"\x00" * 64)
    (folder / YOUNG).write_text("value = 1\n")
    torch.save({"weight": torch.ones(1)}, folder / "kept.pt")
    save_file({"weight": torch.ones(1)}, folder / "kept.safetensors")
    memory = shared_memory.SharedMemory(create=True, size=8)
    os.environ["KEPT_BY_THE_METHOD"] = "weights"
    try:
        with CONFINED_PROCESS(Nothing(limits(began, own=(str(folder / "plug_in.py"),)))) as process:
            around = process.ask(surroundings)
            assert process.reached == ()
            outcomes = process.ask(try_all, str(folder), memory.name)
            yield Tried(outcomes, process.reached), around
    finally:
        del os.environ["KEPT_BY_THE_METHOD"]
        memory.close()
        memory.unlink()


REFUSED = [
    "a file", "a file, by its descriptor", "a file that is mapped", "torch.load", "torch.from_file", "safetensors",
    "a link to a file", "a symbolic link to a file", "a file that is written", "code that is younger than the run",
    "the names in a folder", "shared memory", "a connection", "a name server", "a process", "a fork", "another program",
    "a database", "a library", "every object", "the environment it was started with",
]  # fmt: skip
ALLOWED = [
    "code that is older than the run", "a module that nobody imported", "a file of its own", "a device",
    "a file that is not there",
]  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_what_could_hold_a_state_is_out_of_reach(tried: tuple[Tried, dict[str, Any]], name: str) -> None:
    assert tried[0].outcomes[name] == "refused"


@pytest.mark.parametrize("name", ALLOWED)
def test_what_an_honest_classifier_needs_is_in_reach(tried: tuple[Tried, dict[str, Any]], name: str) -> None:
    assert tried[0].outcomes[name] == "had"


def test_every_reach_is_noted_by_name_and_nothing_else_is(tried: tuple[Tried, dict[str, Any]]) -> None:
    names = tried[0].reached
    assert sum(name.endswith("kept.bin") for name in names) == 1
    for part in ("kept.pt", "kept.safetensors", YOUNG, "os.fork", "socket.", "gc.get_objects", "/environ"):
        assert any(part in name for name in names), part
    assert not [name for name in names if OLD in name or "mine.txt" in name or "urandom" in name]


def test_it_begins_in_an_empty_folder_with_the_variables_that_torch_needs(tried: tuple[Tried, dict[str, Any]]) -> None:
    around = tried[1]
    assert around["folder"] == []
    assert around["cwd"] != os.getcwd()
    assert around["flag"]
    assert "KEPT_BY_THE_METHOD" not in around["variables"]
    assert around["variables"]["HOME"] == around["variables"]["TMPDIR"] == around["cwd"]


def test_a_classifier_that_cannot_be_made_without_a_file_says_which(tmp_path: Path) -> None:
    kept = tmp_path / "kept.bin"
    kept.write_bytes(b"1")
    with pytest.raises(NotMade) as caught, CONFINED_PROCESS(Nothing(limits(0.0), raises=str(kept))):
        pass
    assert caught.value.reached == (str(kept),)
    assert caught.value.kind == "PermissionError"
    assert "read_bytes" in caught.value.traceback


def test_a_machine_whose_audit_hooks_are_not_heard_offers_no_confinement(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The hook is never added, so that this process stays as it is."""
    here, variables = os.getcwd(), dict(os.environ)
    flag = sys.dont_write_bytecode
    monkeypatch.setattr(sys, "addaudithook", lambda hook: None)
    monkeypatch.setattr("benchmark.learning.confined.landlock.restrict", lambda *places: False)
    monkeypatch.setattr("benchmark.learning.confined.readers.wrap", lambda: None)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    witness = tmp_path / "witness"
    witness.touch()
    try:
        with pytest.raises(CannotConfine, match="hooks"):
            confine(0.0, (), (), str(witness), str(tmp_path))
    finally:
        os.chdir(here)
        os.environ.clear()
        os.environ.update(variables)
        sys.dont_write_bytecode = flag


def test_where_python_looks_in_vain_for_modules_is_no_reach(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A library that is imported late makes Python ask at every entry of its path; `python3.zip` is hardly ever there."""
    absent = tmp_path / "python3.zip"
    monkeypatch.syspath_prepend(str(absent))
    places = Places(time.time(), (), frozenset(), (), str(tmp_path / "private"))
    for late in (False, True):
        assert places.may_read(str(absent), late)
        assert not places.may_read(str(tmp_path / "other.zip"), late)
    assert places.may_list(str(absent))
    assert not places.may_list(str(tmp_path / "other"))
    absent.write_bytes(b"something")
    assert not places.may_read(str(absent), late=True)
    assert not places.may_list(str(absent))
