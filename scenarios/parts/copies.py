"""The copy of a published data set on this machine: the places where it is looked for, and the line that says it is not there."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import ClassVar, Generic, TypeVar

from scenarios.base import DataError, SourceOptions
from scenarios.parts.data_location import DEFAULT_ROOT, describe_folder, search_roots


class Layout(ABC):
    """A way in which a data set lies in one folder.

    kind: its name, in messages and in cache keys.
    """

    kind: ClassVar[str]

    @classmethod
    @abstractmethod
    def missing(cls, folder: Path) -> list[str] | None:
        """The parts of a complete copy that `folder` lacks; None if it does not look like this layout."""


L = TypeVar("L", bound=Layout)


@dataclass(frozen=True)
class Copies(Generic[L]):
    """The copies that people keep of a published data set.

    called: its name, for people.
    folders: names that its folder has below a data root; "": the root itself.
    layouts: in which it may lie there.
    fetched_by: the class of torchvision.datasets that downloads it.
    installed: folders that packages of an operating system put it into. They are searched if no data root is given.
    hint: another way to get it, for the line that says it is not there.
    """

    called: str
    folders: Sequence[str]
    layouts: Sequence[type[L]]
    fetched_by: str
    installed: Sequence[Path] = ()
    hint: str = ""

    def find(self, source: SourceOptions) -> tuple[Path, type[L]]:
        """The folder of the first complete copy and its layout; a copy is downloaded if there is none and that is allowed.

        Raises DataError, one line: where it was looked for, what is there, and how to get it.
        """
        found = self._first(source)
        if found is None and source.download:
            self._download(search_roots(source)[0] if source.data_root is not None else DEFAULT_ROOT)
            found = self._first(source)
        if found is None:
            raise DataError(self._not_found(source))
        return found

    def _candidates(self, source: SourceOptions) -> Iterator[tuple[Path, type[L]]]:
        for root in search_roots(source):
            for below in self.folders:
                for layout in self.layouts:
                    yield root / below, layout
        for folder in self.installed if source.data_root is None else ():
            for layout in self.layouts:
                yield folder, layout

    def _first(self, source: SourceOptions) -> tuple[Path, type[L]] | None:
        for folder, layout in self._candidates(source):
            try:
                complete = layout.missing(folder) == []
            except OSError as error:
                raise DataError(f"{folder}: cannot be read ({error.strerror})") from error
            if complete:
                return folder, layout
        return None

    def _not_found(self, source: SourceOptions) -> str:
        partial = [
            f"{folder} looks like {layout.kind} but lacks {', '.join(lacking)}"
            for folder, layout in self._candidates(source)
            if (lacking := layout.missing(folder))
        ]
        roots = [*search_roots(source), *(self.installed if source.data_root is None else ())]
        seen = partial or [describe_folder(root) for root in roots]
        ways = ["give the folder that holds it with --data-root"]
        ways += [] if source.download else ["fetch it with --download"]
        ways += [self.hint] if self.hint else []
        return f"{self.called} not found; looked in {'; '.join(seen)}; {', or '.join(ways)}"

    def _download(self, root: Path) -> None:
        """Fetch the published files into `root` through torchvision, which checks their MD5."""
        try:
            getattr(import_module("torchvision.datasets"), self.fetched_by)(str(root), download=True)
        except (ImportError, OSError, RuntimeError) as error:
            reason = (str(error).splitlines() or [type(error).__name__])[0]
            raise DataError(
                f"{self.called} could not be downloaded into {root} ({reason}); fetch it elsewhere and name it with --data-root"
            ) from error
