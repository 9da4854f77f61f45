"""The worked examples in docs/ do what they say: each page is followed to the letter in a copy of the repository."""

from __future__ import annotations

import re
from contextlib import nullcontext
from pathlib import Path

import pandas as pd
import pytest

from tests.conftest import REPOSITORY
from tests.docs.reader import DOCS, Reader, copy_of_the_repository, page

PAGES = sorted(path.stem for path in DOCS.glob("adding-*.md"))


@pytest.fixture
def reader(tmp_path: Path) -> Reader:
    return Reader(copy_of_the_repository(tmp_path))


def leaderboard(reader: Reader) -> pd.DataFrame:
    return pd.read_csv(reader.place / "reports" / "output" / "leaderboard.csv")


@pytest.mark.slow
def test_the_method_of_the_page_gets_a_row(reader: Reader) -> None:
    reader.follow(page("adding-a-method"))
    board = leaderboard(reader).set_index("label")
    assert set(board.index) == {"rehearsal", "madry_at"}
    assert set(board["preset"]) == {"memory"}
    assert set(board["verdict"]) <= {"pass", "warn"}
    worst = board["ACC_lopezpaz2017 worst"]
    assert worst["rehearsal"] > worst["madry_at"], "kept images help against forgetting"


@pytest.mark.slow
def test_the_attack_of_the_page_is_measured_and_no_weaker_than_fgsm(reader: Reader) -> None:
    reader.follow(page("adding-an-attack"))
    (row,) = leaderboard(reader).to_dict("records")
    attacked = ("fgsm linf 51/255", "mi-fgsm-10 linf 51/255 a=12.75/255")
    weak, strong = (row[f"ACC_lopezpaz2017 {attack}"] for attack in attacked)
    assert strong <= weak


@pytest.mark.slow
def test_the_scenario_of_the_page_is_learned(reader: Reader) -> None:
    reader.follow(page("adding-a-scenario"))
    board = leaderboard(reader)
    assert set(board["label"]) == {"madry_at"}
    assert set(board["preset"]) == {"turned"}
    assert (board["ACC_lopezpaz2017 clean"] > 0.2).all(), "chance is 0.1"


def test_every_page_is_followed_and_linked() -> None:
    assert PAGES == ["adding-a-method", "adding-a-scenario", "adding-an-attack"]
    readme = (REPOSITORY / "README.md").read_text(encoding="utf-8")
    assert all(f"](docs/{name}.md)" in readme for name in PAGES)


@pytest.mark.parametrize("name", PAGES)
def test_paths_that_a_page_names_are_there(name: str) -> None:
    named = re.findall(r"`((?:methods|attacks|scenarios|benchmark|tests)/\w[\w/]*\.py)`", page(name))
    assert named
    for path in named:
        assert (REPOSITORY / path).exists(), path


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        ("```console\n$ echo done in 3:12\ndone in 0:07\n```\n", ""),
        ("```console\n$ printf 'a\\nb\\nc  d\\n'\n...\nb\nc d\n```\n", ""),
        ("```console\n$ echo one\n$ echo two\none\n```\n", "did not print"),
        ("```console\n$ printf 'b\\na\\n'\na\nb\n```\n", "did not print"),
        ("```console\n$ exit 2\n```\n", "ended with 2"),
        ("```console\n$ echo error: x\nerror: x\n```\n", "ended with 0"),
        ('```python title="a.py"\nprint(1)\n```\n```python title="a.py"\nx\n```\n```console\n$ python a.py\n```\n', "NameError"),
        ('```yaml title="a"\nx\ny\n```\n```diff title="a"\n x\n-y\n+z\n```\n```console\n$ cat a\nz\n```\n', ""),
        ('```yaml title="a"\nx\n```\n```diff title="a"\n-y\n+z\n```\n', "not once in it"),
        ("```python\nx\n```\n", "belongs nowhere"),
        ("```console\n$ true\n", "cannot be read"),
        ("```python file='a.py'\nx\n```\n", "cannot be read"),
    ],
)  # fmt: skip
def test_a_page_that_is_wrong_is_found_out(text: str, wrong: str, tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match=wrong) if wrong else nullcontext():
        Reader(tmp_path).follow(text)


def test_python_is_a_process_that_has_imported_nothing_of_the_repository(tmp_path: Path) -> None:
    lines = [
        "import os, sys",
        "print(__name__, sys.argv, os.getcwd() == sys.path[0], os.environ['COLUMNS'])",
        "print(sorted({name.partition('.')[0] for name in sys.modules} & {'benchmark', 'methods', 'results', 'tests'}))",
        "sys.exit(3)",
    ]
    (tmp_path / "a.py").write_text("\n".join(lines))
    code, printed = Reader(tmp_path).run("python a.py --set 'a=[1, 2]'")
    assert (code, printed) == (3, "__main__ ['a.py', '--set', 'a=[1, 2]'] True 120\n[]\n")
    assert Reader(tmp_path).run("python -c 'import a' | tail -n 1") == (0, "[]\n")
