"""Archives of packed records: the same records are the same bytes, and no archive of a stranger gets a file written."""

from __future__ import annotations

import json
import random
import shutil
import stat
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from results.files import StoreError
from results.publishing.archive import CONTENTS, FORMAT, is_record, opened, write_archive
from results.publishing.packing import needed_with, records_of
from results.records import Run

RUN = "0123456789abcdef"
OTHER = "fedcba9876543210"
IDENTITY = {"label": "AT", "seed": 0}
FILES = {"config.json": b"{}", "tasks.parquet": b"tasks", "facts/cost.parquet": b"cost" * 100}


def make_run(folder: Path, name: str = RUN, files: Mapping[str, bytes] = FILES) -> Path:
    for file, content in files.items():
        path = folder / name / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return folder / name


def pack(path: Path, *runs: Path) -> Path:
    write_archive(path, [(run, IDENTITY, sorted(FILES)) for run in runs])
    return path


def write_zip(path: Path, members: Mapping[str, bytes], **about: Any) -> Path:
    """An archive of our format that says it has one run of these members. about: instead of what it says."""
    files = sum(name.startswith(f"{RUN}/") for name in members)
    contents = {"format": FORMAT, "version": 1, "runs": {RUN: {**IDENTITY, "files": files}}} | about
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(CONTENTS, json.dumps(contents))
        for name, content in members.items():
            archive.writestr(name, content)
    return path


def refused(path: Path) -> str:
    """The line with which an archive is refused."""
    with pytest.raises(StoreError) as refusal, opened(path):
        pass
    line = str(refusal.value)
    assert line.startswith(f"{path}: ")
    assert len(line.splitlines()) == 1
    return line


def test_the_same_records_are_the_same_bytes_whenever_and_wherever_they_were_written(tmp_path: Path) -> None:
    first = make_run(tmp_path / "a", RUN), make_run(tmp_path / "a", OTHER)
    second = make_run(tmp_path / "b", OTHER), make_run(tmp_path / "b", RUN, dict(reversed(FILES.items())))
    assert pack(tmp_path / "1.zip", *first).read_bytes() == pack(tmp_path / "2.zip", *second).read_bytes()
    with zipfile.ZipFile(tmp_path / "1.zip") as archive:
        assert {member.date_time for member in archive.infolist()} == {(1980, 1, 1, 0, 0, 0)}


def test_what_was_packed_is_extracted_as_it_was(tmp_path: Path) -> None:
    path = pack(tmp_path / "runs.zip", make_run(tmp_path))
    with opened(path) as archive:
        (run,) = archive.runs.values()
        assert (run.name, run.label, run.seed, run.files) == (RUN, "AT", 0, tuple(sorted(FILES)))
        (tmp_path / "out").mkdir()
        directory = archive.extract(run, tmp_path / "out")
    assert {file: (directory / file).read_bytes() for file in FILES} == FILES
    assert len(list(directory.rglob("*"))) == len(FILES) + 1


@pytest.mark.parametrize(
    "name",
    [
        f"{RUN}/../../escaped.json",
        f"{RUN}/checkpoints/../../../escaped.json",
        "../escaped.json",
        "/tmp/escaped.json",
        f"/{RUN}/config.json",
        f"{RUN}//config.json",
        f"{RUN}\\config.json",
        f"{RUN}/facts/..parquet",
        f"{RUN}/facts/.hidden.parquet",
        f"{RUN}/facts/a/b.parquet",
        f"{RUN}/facts/code.py",
        f"{RUN}/checkpoints/blobs/pickle.pt",
        f"{RUN}/checkpoints/blobs/short.safetensors",
        f"{RUN}/running",
        f"{RUN}/facts/new\nline.parquet",
        f"{RUN}/facts/{'long' * 60}.parquet",
        f"{OTHER}/config.json",
        f"{RUN.upper()}/tasks.parquet",
        "config.json",
        ".locks/0123456789abcdef",
        f"{RUN}/",
    ],
)
def test_a_name_that_is_no_record_of_a_run_is_refused(name: str, tmp_path: Path) -> None:
    path = write_zip(tmp_path / "a.zip", {f"{RUN}/config.json": b"{}", name: b""})
    assert "is no" in refused(path)


def test_a_name_cannot_hide_behind_the_end_of_a_text(tmp_path: Path) -> None:
    path = write_zip(tmp_path / "a.zip", {f"{RUN}/config.json": b"{}", f"{RUN}/facts/hidden.parquetX.py": b""})
    path.write_bytes(path.read_bytes().replace(b"parquetX.py", b"parquet\0.py"))
    refused(path)


def test_the_name_of_a_run_is_no_way_out_either(tmp_path: Path) -> None:
    for name in ("..", "../../x", "", "x" * 16):
        runs = {RUN: {**IDENTITY, "files": 1}, name: {**IDENTITY, "files": 0}}
        assert "is no run in it" in refused(write_zip(tmp_path / "a.zip", {f"{RUN}/config.json": b"{}"}, runs=runs))


def edited(change: Callable[[zipfile.ZipInfo], object]) -> Callable[[Path], None]:
    """Writes an archive one of whose members is changed before it is written."""

    def write(path: Path) -> None:
        write_zip(path, {f"{RUN}/config.json": b"{}"})
        with zipfile.ZipFile(path) as archive:
            contents = json.loads(archive.read(CONTENTS))
        contents["runs"][RUN]["files"] = 2
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr(CONTENTS, json.dumps(contents))
            archive.writestr(f"{RUN}/config.json", b"{}")
            member = zipfile.ZipInfo(f"{RUN}/tasks.parquet")
            change(member)
            archive.writestr(member, b"/etc/passwd" * 100)

    return write


def set_mode(kind: int) -> Callable[[zipfile.ZipInfo], object]:
    return lambda member: setattr(member, "external_attr", (kind | 0o777) << 16)


@pytest.mark.parametrize(
    ("write", "reason"),
    [
        (edited(set_mode(stat.S_IFLNK)), "is no ordinary file"),
        (edited(set_mode(stat.S_IFIFO)), "is no ordinary file"),
        (edited(set_mode(stat.S_IFDIR)), "is no ordinary file"),
        (edited(lambda member: setattr(member, "compress_type", zipfile.ZIP_DEFLATED)), "is compressed"),
        (edited(lambda member: setattr(member, "compress_type", zipfile.ZIP_LZMA)), "is compressed"),
    ],
)
def test_a_member_that_is_no_plain_file_is_refused(write: Callable[[Path], None], reason: str, tmp_path: Path) -> None:
    write(tmp_path / "a.zip")
    assert reason in refused(tmp_path / "a.zip")


def test_two_members_of_one_name_are_refused_on_any_file_system(tmp_path: Path) -> None:
    members = {f"{RUN}/config.json": b"{}", f"{RUN}/facts/a.parquet": b"", f"{RUN}/facts/A.parquet": b""}
    assert "two members have the same name" in refused(write_zip(tmp_path / "a.zip", members))


@pytest.mark.parametrize(
    ("about", "reason"),
    [
        ({"format": "another"}, "of another format"),
        ({"version": 2}, "version 2"),
        ({"runs": []}, "of another format"),
        ({"runs": {RUN: {**IDENTITY, "files": 3}}}, "has 1 files of 3"),
        ({"runs": {RUN: {"label": "AT", "files": 1}}}, "does not say"),
        ({"runs": {RUN: {"label": "x" * 10_000, "seed": 0, "files": 1}}}, "does not say"),
    ],
)
def test_contents_that_do_not_fit_are_refused(about: dict[str, Any], reason: str, tmp_path: Path) -> None:
    assert reason in refused(write_zip(tmp_path / "a.zip", {f"{RUN}/config.json": b"{}"}, **about))


def test_a_foreign_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.zip"
    refused(path)
    for content in (b"", b"PK", b"PK\5\6" + bytes(18), b"<html>" * 1000, b"\x80\x04" * 100):
        path.write_bytes(content)
        refused(path)
    path.unlink()
    path.mkdir()
    refused(path)
    with zipfile.ZipFile(tmp_path / "photos.zip", "w") as archive:
        archive.writestr("photo.jpg", b"...")
    assert "first member" in refused(tmp_path / "photos.zip")


def test_an_archive_that_was_cut_off_anywhere_is_refused(tmp_path: Path) -> None:
    path = pack(tmp_path / "runs.zip", make_run(tmp_path))
    whole = path.read_bytes()
    for length in range(0, len(whole) - 1, 37):
        path.write_bytes(whole[:length])
        refused(path)


def test_a_damaged_member_is_found_when_it_is_extracted(tmp_path: Path) -> None:
    path = pack(tmp_path / "runs.zip", make_run(tmp_path))
    path.write_bytes(path.read_bytes().replace(b"costcost", b"costlost", 1))
    (tmp_path / "out").mkdir()
    with opened(path) as archive, pytest.raises(StoreError, match="not a whole file"):
        archive.extract(archive.runs[RUN], tmp_path / "out")


def test_whatever_is_changed_in_an_archive_it_is_read_whole_or_refused(tmp_path: Path) -> None:
    """Bytes edited, lost, inserted and copied, in the members and in the directory at the end."""
    path = pack(tmp_path / "runs.zip", make_run(tmp_path))
    whole, draw, lines = path.read_bytes(), random.Random(0), list[str]()
    for number in range(600):
        content, place = bytearray(whole), draw.randrange(len(whole))
        how = number % 4
        if how == 0:
            content[place] ^= 1 << draw.randrange(8)
        elif how == 1:
            del content[place : place + draw.randrange(1, 20)]
        elif how == 2:
            content[place:place] = draw.randbytes(draw.randrange(1, 9))
        else:
            content[place : place + 8] = content[draw.randrange(len(whole)) :][:8]
        path.write_bytes(content)
        out = tmp_path / "out"
        out.mkdir()
        try:
            with opened(path) as archive:
                for run in archive.runs.values():
                    archive.extract(run, out)
        except StoreError as refusal:
            lines.append(str(refusal))
        else:
            assert {file: (out / RUN / file).read_bytes() for file in FILES} == FILES
        assert {found.name for found in tmp_path.iterdir()} == {"runs.zip", "out", RUN}
        assert {found.name for found in out.iterdir()} <= {RUN}
        shutil.rmtree(out)
    assert all(len(line.splitlines()) == 1 for line in lines)
    assert len(lines) > 400


def test_weights_are_records_on_demand_alone() -> None:
    weights = ["checkpoints/task-000.json", f"checkpoints/blobs/{'0' * 64}.safetensors", "handed_over/a.safetensors"]
    assert not any(is_record(file, weights=False) for file in weights)
    assert all(is_record(file, weights=True) for file in weights)


def test_half_of_a_pair_and_what_is_derived_or_of_a_machine_are_left_behind(tmp_path: Path) -> None:
    kept = ["config.json", "evaluations/a.parquet", "failures.jsonl", "predictions/a.parquet"]
    left = [
        "predictions/b.parquet",
        "running",
        "verdicts.json",
        "merged/predictions.parquet",
        "set-aside/1-facts-x.parquet",
    ]
    left += ["facts/.x.parquet.partial", "predictions/.a.parquet.x.partial"]
    directory = make_run(tmp_path, files=dict.fromkeys([*kept, *left], b""))
    (directory / "tasks.parquet").symlink_to("/etc/passwd")
    assert records_of(Run(directory, {"identity": {}})) == kept


def test_runs_are_packed_with_those_that_they_need() -> None:
    needs = {"a": ["b"], "b": ["c", "gone"], "c": [], "d": ["a"]}
    runs = [Run(Path(name), {"identity": {"hash": name, "prerequisites": needed}}) for name, needed in needs.items()]
    assert [run.hash for run in needed_with(runs[:1], runs)] == ["a", "b", "c"]
