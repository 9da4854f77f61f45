"""Settings of methods: typed, validated, immutable, with no unknown field.

A plug-in imports from here: `MethodSettings` (which `methods.base` has too), `Strict`, `setting_added_later`.
"""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, Field, model_validator
from pydantic.fields import FieldInfo

__all__ = ["MethodSettings", "Strict", "setting_added_later"]

_LATER = "added_later"
_MOST = 2**63 - 1


def setting_added_later(default: Any, **options: Any) -> Any:
    """A setting that came when runs were stored already.

    It is part of an identity only if it differs from its default, which must mean what was done before the setting was there.

    default: its default.
    options: as of `pydantic.Field`.
    """
    return Field(default, json_schema_extra={_LATER: True}, **options)


class Strict(BaseModel):
    """A group of settings."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    @model_validator(mode="before")
    @classmethod
    def _check_whole_numbers(cls, given: Any) -> Any:
        """Refuse a whole number that no float and no tensor can hold, before anything is computed with it."""
        for name, value in given.items() if isinstance(given, dict) else ():
            for each in value if isinstance(value, list | tuple) else [value]:
                if isinstance(each, int) and abs(each) > _MOST:
                    raise ValueError(f"{name}: a whole number of more than 63 bits")
        return given

    def identity(self) -> dict[str, Any]:
        """The settings as JSON, as far as they name a run: without `setting_added_later` settings at their defaults."""
        found = self.model_dump(mode="json")
        for name, field in type(self).model_fields.items():
            value = getattr(self, name)
            if _came_later(field) and value == field.get_default(call_default_factory=True):
                del found[name]
            elif isinstance(value, Strict):
                found[name] = value.identity()
        return found


def _came_later(field: FieldInfo) -> bool:
    extra = field.json_schema_extra
    return isinstance(extra, dict) and _LATER in extra


class MethodSettings(Strict):
    """A method's settings."""
