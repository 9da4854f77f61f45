"""Values from files and options made into typed settings, with one clear line for a mistake."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from benchmark.errors import ConfigError, nearest, quoted

M = TypeVar("M", bound=BaseModel)


def validated(model: type[M], given: Any, where: str) -> M:
    """Make `model` from `given`.

    where: begins an error message, such as the preset's name.
    Raises ConfigError for the first mistake: the field, its value, and what would be right.
    """
    try:
        return model.model_validate(given)
    except ValidationError as error:
        errors = error.errors()
        # An unknown key explains a missing one: name it first.
        first = next((item for item in errors if item["type"] == "extra_forbidden"), errors[0])
        field = ".".join(str(part) for part in first["loc"])
        more = f" (and {len(errors) - 1} more)" if len(errors) > 1 else ""
        if first["type"] == "extra_forbidden":
            valid = _fields_at(model, first["loc"][:-1])
            raise ConfigError(f"{where}: {field}: unknown key{nearest(str(first['loc'][-1]), valid)}{more}") from None
        if first["type"] == "missing":
            raise ConfigError(f"{where}: {field}: missing{more}") from None
        message = first["msg"].removeprefix("Value error, ")
        # A message about several fields at once names them itself.
        value = f"{field} = {quoted(first['input'])}: " if field else ""
        raise ConfigError(f"{where}: {value}{message}{more}") from None


def _fields_at(model: type[BaseModel], path: Sequence[int | str]) -> set[str]:
    """Valid keys of the model at `path` inside `model`."""
    models = [model]
    for part in path:
        if isinstance(part, int):
            continue
        # One of several models, told apart by their field `name`: its value is a part of the path too.
        tagged = [each for each in models if "name" in each.model_fields and each.model_fields["name"].default == part]
        if tagged:
            models = tagged
            continue
        annotation: Any = models[0].model_fields[part].annotation
        inner = [arg for arg in [annotation, *getattr(annotation, "__args__", ())] if isinstance(arg, type)]
        models = [arg for arg in inner if issubclass(arg, BaseModel)]
        if not models:
            return set()
    return set(models[0].model_fields)
