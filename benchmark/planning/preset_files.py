"""The files of presets: found by name, and read as YAML. Nothing here imports torch.

YAML of strangers is looked at before anything is made of it: what an alias repeats is counted and not built, a key that stands
twice is a mistake, and every mistake has its line.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Hashable
from pathlib import Path
from typing import Any

import yaml

from benchmark.errors import ConfigError, nearest
from reports.numbers.labels import label_mistake

FOLDER = Path(__file__).parents[1] / "presets"
MOST_BYTES = 500_000
"""Bytes of a preset's file, at most: about five thousand rows with settings of their own."""
MOST_VALUES = 100_000
"""Values and keys of a YAML text, those that aliases repeat included, at most."""
DEEPEST = 40
"""Lists and keys inside each other, at most. Presets have six."""
LONGEST_NUMBER = 100
"""Digits of a whole number, at most."""


_SURROGATE = re.compile("[\ud800-\udfff]")
"""Halves of characters, which no file can hold."""


class YamlMistake(ValueError):
    """A text is no YAML that can be read; the message is one line, with the number of the text's line."""


def available() -> dict[str, Path]:
    """Files of the built-in presets, by name."""
    return {path.stem: path for path in sorted(FOLDER.glob("*.yaml"))}


def preset_file(name: str) -> Path:
    """The file of a preset. name: of a built-in preset, or the path of a YAML file. Raises ConfigError."""
    builtin = available()
    path = builtin.get(name) or Path(name)
    if path.suffix not in (".yaml", ".yml") or not path.is_file():
        raise ConfigError(f"preset {name!r} is neither a built-in preset nor a YAML file{nearest(name, builtin)}")
    if name not in builtin and path.stem in builtin and path.resolve() != builtin[path.stem].resolve():
        raise ConfigError(f"{path}: a built-in preset is called {path.stem!r}; give the file another name")
    if mistake := label_mistake(path.stem):
        raise ConfigError(f"the preset is named by its file, and {path.stem!r} {mistake}; give the file another name")
    return path


def labels(name: str) -> set[str]:
    """Labels and methods of a preset's rows, optional ones too, as its file has them. Empty if the file is not what it should be.

    Whoever loads the preset is told what is wrong with the file. Raises ConfigError if there is no such preset.
    """

    def read(path: Path) -> dict[str, Any]:
        found = read_preset(path)
        return found if isinstance(found, dict) else {}

    try:
        raw = read(preset_file(name))
        base = available().get(str(raw.get("extends")))
        raw = (read(base) if base else {}) | raw
    except (OSError, YamlMistake):
        return set()
    lists = [raw.get(key) for key in ("methods", "optional")]
    rows = [row for each in lists if isinstance(each, list) for row in each if isinstance(row, dict)]
    found = {str(row[key]) for row in rows for key in ("label", "method") if row.get(key)}
    return found | {Path(word).stem for word in found}


def read_preset(path: Path) -> Any:
    """The content of a preset's file. Raises OSError, and YamlMistake, whose message does not name the file."""
    size = path.stat().st_size
    if size > MOST_BYTES:
        raise YamlMistake(f"{size:,} bytes, more than the {MOST_BYTES:,} that a preset may have")
    try:
        return read_yaml(path.read_text(encoding="utf-8"))
    except UnicodeDecodeError as error:
        raise YamlMistake(f"no UTF-8 text: byte {error.start + 1} is 0x{error.object[error.start]:02x}") from None


def read_yaml(text: str) -> Any:
    """The value of a YAML text: of a file, or of `--set KEY=VALUE`. Raises YamlMistake."""
    loader = _Loader(text)
    try:
        node = loader.get_single_node()
        if node is None:
            return None
        _measure(node, {}, set())
        _find_repeated_keys(loader, node)
        return loader.construct_document(node)
    except yaml.composer.ComposerError as error:
        several = str(error.context).startswith("expected a single document")
        raise YamlMistake(
            f"{_place(error.problem_mark)}{'a second document begins; one is read' if several else error.problem}"
        ) from None
    except yaml.MarkedYAMLError as error:
        place = _place(error.problem_mark or error.context_mark)
        raise YamlMistake(place + " ".join(str(error.problem or error.context).split())) from None
    except yaml.YAMLError as error:
        raise YamlMistake(" ".join(str(error).split())) from None
    finally:
        loader.dispose()


def _place(mark: yaml.Mark | None) -> str:
    return "" if mark is None else f"line {mark.line + 1}, column {mark.column + 1}: "


class _Loader(yaml.SafeLoader):
    """Plain values alone. Depth is limited while nodes are made; a value that Python cannot make has its place."""

    def __init__(self, text: str) -> None:
        if _SURROGATE.search(text):
            raise YamlMistake("no UTF-8 text")
        try:
            super().__init__(text)
        except yaml.reader.ReaderError as error:
            line = text.count("\n", 0, error.position) + 1
            raise YamlMistake(f"line {line}: the character U+{error.character:04X} is not allowed") from None
        self._depth = 0

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        self._depth += 1
        if self._depth > DEEPEST:
            raise YamlMistake(f"{_place(self.peek_event().start_mark)}nested more than {DEEPEST} levels deep")
        node = super().compose_node(parent, index)
        self._depth -= 1
        return node

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:
        is_text = isinstance(node, yaml.ScalarNode)
        if is_text and node.tag.endswith(":int") and len(node.value) > LONGEST_NUMBER:
            raise YamlMistake(f"{_place(node.start_mark)}a whole number of {len(node.value)} characters")
        try:
            found = super().construct_object(node, deep)
        except (ValueError, OverflowError) as error:
            if isinstance(error, YamlMistake) or not is_text:
                raise
            shown = node.value[:LONGEST_NUMBER]
            raise YamlMistake(f"{_place(node.start_mark)}{shown!r}: {error}; quotes make it text") from None
        if isinstance(found, str) and _SURROGATE.search(found):
            raise YamlMistake(f"{_place(node.start_mark)}half a character (a surrogate)")
        return found


def _measure(node: yaml.Node, known: dict[int, tuple[int, int]], above: set[int]) -> tuple[int, int]:
    """The number of values and keys in a node, and the number of levels, as if all aliases were written out.

    known: of nodes that were met before, by their id. above: ids of the nodes that hold this one.
    Raises YamlMistake beyond `MOST_VALUES` and `DEEPEST`.
    """
    if id(node) in known:
        return known[id(node)]
    if id(node) in above:
        raise YamlMistake(f"{_place(node.start_mark)}an alias stands inside what it stands for")
    inner: list[yaml.Node] = []
    if isinstance(node, yaml.MappingNode):
        inner = [each for pair in node.value for each in pair]
    elif isinstance(node, yaml.SequenceNode):
        inner = node.value
    found = [_measure(each, known, above | {id(node)}) for each in inner]
    values, levels = 1 + sum(count for count, _ in found), 1 + max((depth for _, depth in found), default=0)
    if values > MOST_VALUES:
        raise YamlMistake(f"{_place(node.start_mark)}more than {MOST_VALUES:,} values, aliases written out")
    if levels > DEEPEST:
        raise YamlMistake(f"{_place(node.start_mark)}nested more than {DEEPEST} levels deep")
    known[id(node)] = values, levels
    return values, levels


def _find_repeated_keys(loader: _Loader, root: yaml.Node) -> None:
    """Raise YamlMistake for the first key that stands twice in one place. A merge (`<<`) may be overridden."""
    seen: set[int] = set()
    todo: deque[yaml.Node] = deque([root])
    while todo:
        node = todo.popleft()
        if id(node) in seen or not isinstance(node, yaml.CollectionNode):
            continue
        seen.add(id(node))
        if isinstance(node, yaml.SequenceNode):
            todo.extend(node.value)
            continue
        lines: dict[Hashable, int] = {}
        for key, value in node.value:
            todo.extend((key, value))
            if not isinstance(key, yaml.ScalarNode) or key.tag == "tag:yaml.org,2002:merge":
                continue
            name = loader.construct_object(key)
            if name in lines:
                raise YamlMistake(
                    f"{_place(key.start_mark)}{key.value!r} stands twice, first in line {lines[name]}; give it one value"
                )
            lines[name] = key.start_mark.line + 1
