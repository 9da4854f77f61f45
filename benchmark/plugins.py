"""Methods, attacks and scenarios found by name: one file holds one class, and its name is the file's. None is registered."""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import inspect
import pkgutil
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Generic, TypeVar

from attacks.base import Attack
from benchmark.errors import ConfigError, nearest, quoted
from methods.base import Method
from reports.numbers.labels import label_mistake
from scenarios.base import Scenario

T = TypeVar("T")


@dataclass(frozen=True)
class Plugin(Generic[T]):
    """A class that was found in a file.

    name: of the file, without `.py`.
    cls: the class.
    path: of the file.
    sha256: of the file if it lies outside the repository, where no version guards it; otherwise None.
    """

    name: str
    cls: type[T]
    path: Path
    sha256: str | None = None

    @property
    def reference(self) -> str:
        """The name or path by which another process finds the plug-in, whatever its working directory."""
        return str(self.path.absolute()) if self.sha256 else self.name

    @property
    def summary(self) -> str:
        """The first line of the class's docstring."""
        return (inspect.getdoc(self.cls) or "").partition("\n")[0]


class Kind(Generic[T]):
    """One kind of plug-in.

    package: whose files hold the plug-ins.
    base: the class that they extend.
    noun: for messages, such as `method`.
    """

    def __init__(self, package: str, base: type[T], noun: str) -> None:
        self.package, self.base, self.noun = package, base, noun

    def _classes(self, module: ModuleType) -> list[type[T]]:
        """The plug-ins that a module defines itself."""
        return [
            value
            for value in vars(module).values()
            if inspect.isclass(value)
            and issubclass(value, self.base)
            and value.__module__ == module.__name__
            and not inspect.isabstract(value)
        ]

    def _explain_abstract(self, module: ModuleType, path: Path) -> None:
        """Raise ConfigError if a class of the module would be a plug-in but for methods that it lacks; the message names them."""
        for value in vars(module).values():
            if inspect.isclass(value) and issubclass(value, self.base) and value.__module__ == module.__name__:
                lacks = ", ".join(sorted(getattr(value, "__abstractmethods__", ())))
                raise ConfigError(f"{path}: {value.__name__} lacks {lacks}; {self.base.__name__} says what each does")

    @cache  # noqa: B019 - three instances that live as long as the process
    def all(self) -> dict[str, Plugin[T]]:
        """All plug-ins of the package, by name. Folders, and files without such a class, are helpers. Raises ConfigError."""
        package = importlib.import_module(self.package)
        found = {}
        for info in pkgutil.iter_modules(package.__path__):
            if info.ispkg:
                continue
            path = Path(str(package.__file__)).with_name(f"{info.name}.py")
            with _mistakes_named(path):
                module = importlib.import_module(f"{self.package}.{info.name}")
            classes = self._classes(module)
            if len(classes) > 1:
                raise ConfigError(
                    f"{module.__file__}: more than one {self.noun} ({_names(classes)}); one file, one class"
                )
            if classes:
                found[info.name] = Plugin(info.name, classes[0], Path(str(module.__file__)))
        return found

    def find(self, name: str) -> Plugin[T]:
        """The plug-in called `name`, or that of the file `name` if it ends in `.py`, which is executed. Raises ConfigError."""
        return self.from_file(Path(name)) if name.endswith(".py") else self.named(name)

    def named(self, name: str) -> Plugin[T]:
        """The plug-in of the repository called `name`, and no file: the name may be of somebody's record. Raises ConfigError."""
        try:
            return self.all()[name.replace("-", "_")]
        except KeyError:
            raise ConfigError(f"{self.noun} {name!r} is not known{nearest(name, self.all())}") from None

    @cache  # noqa: B019
    def from_file(self, path: Path) -> Plugin[T]:
        """The plug-in in a file outside the repository. Raises ConfigError, one line with file and cause."""
        path = path.resolve()
        if not path.is_file():
            raise ConfigError(f"{path}: no such file")
        name = path.stem
        if mistake := label_mistake(name):
            raise ConfigError(f"a {self.noun} is named by its file, and {name!r} {mistake}; give the file another name")
        if name in self.all():
            raise ConfigError(f"{path}: a {self.noun} called {name!r} exists already; give the file another name")
        module = import_file(path, f"_plugin_{self.package}.{name}")
        classes = self._classes(module)
        if not classes:
            self._explain_abstract(module, path)
        if len(classes) != 1:
            found = f"{len(classes)} ({_names(classes)})" if classes else "none"
            raise ConfigError(f"{path}: expected one class that extends {self.base.__name__}, found {found}")
        if not isinstance(getattr(classes[0], "version", None), int):
            raise ConfigError(f"{path}: {classes[0].__name__} lacks version, a whole number")
        file_hash = hashlib.sha256(path.read_bytes()).hexdigest()
        if issubclass(classes[0], Attack):
            # An attack travels without its plug-in, so it carries the hash of its file itself.
            classes[0].file_hash = file_hash
        return Plugin(name, classes[0], path, file_hash)


def import_file(path: Path, module_name: str) -> ModuleType:
    """Import a file under a module name of its own, by which dataclasses and pydantic find its classes.

    Raises ConfigError, one line with file and cause.
    """
    spec = importlib.util.spec_from_file_location(module_name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[module_name] = module
    with _mistakes_named(path):
        spec.loader.exec_module(module)
    return module


@contextmanager
def _mistakes_named(path: Path) -> Iterator[None]:
    """Turn any error inside the block into ConfigError, one line with file and cause. Only Ctrl-C goes through."""
    try:
        yield
    except SyntaxError as error:
        raise ConfigError(f"{error.filename or path}, line {error.lineno}: {error.msg}") from error
    except KeyboardInterrupt:
        raise
    except SystemExit as error:
        raise ConfigError(f"{path}: cannot be imported: it ends the program {ended(error)}") from error
    except BaseException as error:
        raise ConfigError(f"{path}: cannot be imported ({type(error).__name__}: {error})") from error


def ended(error: SystemExit) -> str:
    """The call of `sys.exit` that ends the program, and its place: `with sys.exit(3), mine.py, line 7`."""
    frames = traceback.extract_tb(error.__traceback__)
    place = f", {frames[-1].filename}, line {frames[-1].lineno}" if frames else ""
    return f"with sys.exit({'' if error.code is None else quoted(error.code)}){place}"


def _names(classes: list[type[T]]) -> str:
    return ", ".join(cls.__name__ for cls in classes)


METHODS: Kind[Method] = Kind("methods", Method, "method")  # type: ignore[type-abstract]
ATTACKS: Kind[Attack] = Kind("attacks", Attack, "attack")  # type: ignore[type-abstract]
SCENARIOS: Kind[Scenario] = Kind("scenarios", Scenario, "scenario")  # type: ignore[type-abstract]
