"""Requirements on what a plug-in's class declares. They are tested before the plug-in does anything."""

from __future__ import annotations

from pydantic import BaseModel, ValidationError

from benchmark.contract.requirement import Broken


def version_is_declared(cls: type) -> None:
    version = getattr(cls, "version", None)
    if type(version) is not int or version < 1:
        raise Broken(
            f"{cls.__name__}.version is {version!r}",
            "a whole number from 1 on, raised on purpose when the same settings would give something else",
        )


def docstring_is_there(cls: type) -> None:
    # An inherited docstring is about another class; that which a dataclass gets by itself lists its fields.
    text = (cls.__dict__.get("__doc__") or "").strip()
    if not text or text.startswith(f"{cls.__name__}("):
        raise Broken(f"{cls.__name__} has no docstring", "write one whose first line says what it is: `list` shows it")


def settings_are_strict(cls: type, base: type[BaseModel]) -> None:
    settings = getattr(cls, "Settings", None)
    if not isinstance(settings, type) or not issubclass(settings, base):
        raise Broken(
            f"{cls.__name__}.Settings is {getattr(settings, '__name__', settings)!r}",
            f"a class that extends {base.__name__}",
        )
    if settings.model_config.get("extra") != "forbid" or not settings.model_config.get("frozen"):
        raise Broken(
            f"{settings.__name__} takes settings it does not know, or can be changed",
            f"leave `model_config` as {base.__name__} has it, so that a mistyped setting is an error",
        )


def settings_are_valid(settings: BaseModel) -> None:
    """Raise Broken if a default is not valid: pydantic does not validate defaults when they are used."""
    try:
        type(settings).model_validate(settings.model_dump())
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"])
        raise Broken(
            f"the defaults of {type(settings).__name__} are not valid: {field} = {first['input']!r}",
            first["msg"].removeprefix("Value error, "),
        ) from None
