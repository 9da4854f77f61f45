"""Data that is written in code is weighed: words, and the code itself, are no data."""

from __future__ import annotations

import base64
import random
import sys
import types
from pathlib import Path

import pytest

from benchmark.evaluating.inspection import code_files
from benchmark.evaluating.inspection.code_files import MOST_DATA, data_in_code, is_about_packages, is_code
from tests.conftest import REPOSITORY


def data(count: int, seed: int = 0) -> str:
    return base64.b85encode(random.Random(seed).randbytes(count)).decode()


def weighed(path: Path, text: str) -> int:
    """Bytes of data of a file with this text; 0 if they are too few."""
    path.write_text(text, encoding="utf-8")
    return data_in_code([str(path)]).get(str(path), 0)


@pytest.mark.parametrize("form", ["X = {!r}", "# {}", '"""{}"""', "def f():\n    '''{}'''"])
def test_random_text_counts_wherever_it_stands(tmp_path: Path, form: str) -> None:
    found = weighed(tmp_path / "code.py", form.format(data(2500).replace("\\", "")))
    assert 2400 < found < 3500


def test_numbers_count(tmp_path: Path) -> None:
    drawn = random.Random(0)
    assert weighed(tmp_path / "code.py", f"X = {[drawn.randrange(256) for _ in range(4000)]}") > 4000


def test_words_do_not_count(tmp_path: Path) -> None:
    drawn = random.Random(0)
    words = ["".join(drawn.choices("abcdefghij", k=8)) for _ in range(5000)]
    lines = "\n".join(" ".join(words[i : i + 10]) for i in range(0, 5000, 10))
    assert weighed(tmp_path / "code.py", f'"""{lines}"""') == 0


def test_a_file_that_is_no_code_counts_as_a_whole(tmp_path: Path) -> None:
    path = tmp_path / "images.py"
    path.write_bytes(random.Random(0).randbytes(3000))
    assert data_in_code([str(path)])[str(path)] >= 3000


def test_data_in_many_files_adds_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Modules of other tests are in this process, and hold data of their own.
    monkeypatch.setattr(code_files, "sys", types.SimpleNamespace(modules={}))
    paths = [tmp_path / f"part_{i}.py" for i in range(4)]
    for i, path in enumerate(paths):
        path.write_text(f"X = {data(900, i)!r}")
    assert data_in_code(map(str, paths[:2])).keys().isdisjoint(map(str, paths))
    assert data_in_code(map(str, paths)).keys() >= set(map(str, paths))


def test_modules_of_a_method_are_weighed_and_installed_ones_are_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "mine.py"
    path.write_text(f"X = {data(3000)!r}")
    module = types.ModuleType("mine")
    module.__file__ = str(path)
    monkeypatch.setitem(sys.modules, "mine", module)
    found = data_in_code()
    assert found.pop(str(path)) > MOST_DATA
    assert not [name for name in found if "site-packages" in name]


def test_no_method_of_this_repository_has_much_data_in_it() -> None:
    assert not data_in_code(map(str, (REPOSITORY / "methods").rglob("*.py"))).keys() & {
        str(path) for path in (REPOSITORY / "methods").rglob("*.py")
    }


@pytest.mark.parametrize("name", ["a.py", "a.pyc", "libcudart-d0da.so.11.0", "a.cpython-311.so", "a.dylib"])
def test_code_is_told_by_its_name(name: str) -> None:
    assert is_code(f"/somewhere/{name}")


@pytest.mark.parametrize("name", ["a.py.npz", "images.so.txt", "a.npz", "py"])
def test_other_files_are_no_code(name: str) -> None:
    assert not is_code(f"/somewhere/{name}")


def test_files_about_packages_are_those_of_installed_ones() -> None:
    import numpy as np

    packages = Path(np.__file__).resolve().parent.parent
    assert is_about_packages(str(packages / "numpy-1.dist-info" / "METADATA"))
    assert is_about_packages(str(packages / "numpy" / "py.typed"))
    assert not is_about_packages("/tmp/numpy-1.dist-info/METADATA")
    assert not is_about_packages(str(packages / "numpy" / "images.npz"))
