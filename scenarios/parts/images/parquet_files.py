"""The data sets that lie in a folder as parquet files: their names say which part and which shard each file is."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from scenarios.base import DataError
from scenarios.parts.data_location import describe_folder, visible_entries
from scenarios.parts.images.settings import named

TRAIN, TEST, VALIDATION = "train", "test", "validation"

_SPLITS = {
    **dict.fromkeys(("train", "training"), TRAIN),
    **dict.fromkeys(("test", "testing"), TEST),
    **dict.fromkeys(("val", "valid", "validation", "dev"), VALIDATION),
}
_SHARD = re.compile(r"[-_.](\d+)[-_.]of[-_.](\d+)$")
_UNNAMED = ("data", "default", "parquet", "plain_text")
"""Folders that the Hugging Face hub puts between a data set and its files; they name nothing."""

EXPECTED = "expected train-*.parquet and test-*.parquet (or validation-*.parquet), as the Hugging Face hub names them"


@dataclass(frozen=True, slots=True)
class ShardSet:
    """The parquet files of one data set.

    name: of the data set.
    splits: the files of "train", and of "test" or "validation" or both, in their order.
    """

    name: str
    splits: Mapping[str, Sequence[Path]]


@dataclass(frozen=True, slots=True)
class _Named:
    """A file as its name describes it.

    split: TRAIN, TEST or VALIDATION; None if the name says none.
    group: the names of what lies above, and of the data set if the file's name holds one: files of one group are one data set.
    shard: (number, of how many); None if the name says none.
    """

    file: Path
    split: str | None
    group: tuple[str, ...]
    shard: tuple[int, int] | None


def parquet_files(folder: Path) -> list[Path]:
    """Every parquet file in `folder` and below, also behind links, sorted, without hidden ones.

    Raises DataError for a folder that cannot be read, or a name that is no text.
    """
    return sorted(_files_below(folder, ()))


def _files_below(folder: Path, above: tuple[Path, ...]) -> Iterator[Path]:
    place = folder.resolve()
    if place in above:  # a link to a folder that it lies in
        return
    for entry in visible_entries(folder):
        if entry.is_dir():
            yield from _files_below(entry, (*above, place))
        elif entry.suffix.lower() in (".parquet", ".pq"):
            yield entry


def shard_sets(name: str, folder: Path) -> list[ShardSet]:
    """The data sets in a folder, in alphabetical order; a single one bears the folder's `name`.

    Raises DataError if there is none, or if files of one are missing.
    """
    groups: dict[tuple[str, ...], list[_Named]] = {}
    unnamed = []
    for file in parquet_files(folder):
        described = _described(file, folder)
        if described.split is None:
            unnamed.append(file)
        else:
            groups.setdefault(described.group, []).append(described)
    if not groups:
        seen = f"{unnamed[0]}: its name says no part" if unnamed else f"{describe_folder(folder)}; no parquet files"
        raise DataError(f"{seen}; {EXPECTED}")
    found: dict[str, ShardSet] = {}
    for group in sorted(groups):
        called = name if len(groups) == 1 else _name_of(group) or name
        if called in found:
            raise DataError(f"{folder}: holds two data sets named {called}; name the folder of one of them instead")
        found[called] = ShardSet(called, _splits(folder, called, groups[group]))
    return list(found.values())


def _described(file: Path, folder: Path) -> _Named:
    stem, above = named(file)[: -len(file.suffix)], list(file.relative_to(folder).parts[:-1])
    shard = _SHARD.search(stem)
    words = re.split(r"([-_.])", stem[: shard.start()] if shard else stem)
    split = None
    for i, word in enumerate(words):
        if word.lower() in _SPLITS:
            split = _SPLITS[word.lower()]
            # The separator goes with the word, and so does the number of a shard: `test-0`, `cars_test`.
            words[max(i - 1, 0) : i + 1] = []
            break
    else:
        for i, part in enumerate(reversed(above)):
            if part.lower() in _SPLITS:
                split = _SPLITS[part.lower()]
                del above[len(above) - 1 - i]
                break
    rest = re.sub(r"(^|[-_.])\d+$", "", "".join(words)).strip("-_.")
    numbers = (int(shard[1]), int(shard[2])) if shard else None
    return _Named(file, split, (*above, rest) if rest else tuple(above), numbers)


def _name_of(group: tuple[str, ...]) -> str:
    return "_".join(part for part in group if part.lower() not in _UNNAMED)


def _splits(folder: Path, name: str, files: Sequence[_Named]) -> dict[str, list[Path]]:
    """The files of each split, in order. Raises DataError if a shard is missing or stands twice, or a part is missing."""
    found: dict[str, list[Path]] = {}
    for split in (TRAIN, TEST, VALIDATION):
        mine = [each for each in files if each.split == split]
        if mine:
            _check_shards(mine)
            found[split] = [each.file for each in mine]
    if TRAIN not in found or len(found) < 2:
        lacking = "train" if TRAIN not in found else "test or validation"
        holds = ", ".join(each.file.relative_to(folder).as_posix() for each in files[:4])
        raise DataError(f"{folder}: data set {name} has no {lacking} files, only {holds}; {EXPECTED}")
    return found


def _check_shards(files: Sequence[_Named]) -> None:
    numbered = [(each.shard, each.file) for each in files if each.shard is not None]
    if not numbered:
        return
    if len(numbered) < len(files) or len({count for (_, count), _ in numbered}) > 1:
        one, other = files[0].file, next(each.file for each in files if _count(each) != _count(files[0]))
        raise DataError(f"{one}: stands beside {other.name}, and both hold the same part; leave the files of one copy")
    count = numbered[0][0][1]
    for (number, _), file in numbered:
        if number >= count:
            raise DataError(
                f"{file}: shard {number} of {count}, which are numbered from 0; leave it out, or fetch it anew"
            )
    there = [number for (number, _), _ in numbered]
    if lacking := sorted(set(range(count)) - set(there)):
        missing = ", ".join(f"-{number:05d}-of-{count:05d}" for number in lacking[:3])
        raise DataError(
            f"{numbered[0][1]}: is one of {count} shards, {len(lacking)} of which are not beside it ({missing}); fetch them too"
        )
    if len(there) > count:
        twice = next(number for number in there if there.count(number) > 1)
        raise DataError(f"{numbered[0][1].parent}: shard {twice} of {count} stands there twice; leave one of them")


def _count(described: _Named) -> int | None:
    return described.shard[1] if described.shard else None
