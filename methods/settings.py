"""Settings as files give them: typed, validated, immutable, none unknown; and what of them names a run."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, Field
from pydantic.fields import FieldInfo

_LATER = "added_later"


def added_later(default: Any, **options: Any) -> Any:
    """A field that came when runs were stored already: it is part of an identity only where it differs from its default,
    which must mean what was done before it was there."""
    return Field(default, json_schema_extra={_LATER: True}, **options)


class Strict(BaseModel):
    """A group of settings."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    def identity(self) -> dict[str, Any]:
        """The settings as JSON, as far as they name a run: `added_later` fields at their defaults are left out."""
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
