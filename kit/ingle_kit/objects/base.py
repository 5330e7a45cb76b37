"""What every API model shares: camelCase names, rules that Python and the API server both check, small types."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated, Any, ClassVar, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator

_SPECIAL_WORDS = {"mib": "MiB", "uid": "UID", "id": "ID"}

_TIMESTAMP = re.compile(r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)$")


def timestamp(at_s: float) -> str:
    """Unix seconds -> RFC 3339 in UTC, whole seconds, as Kubernetes writes times."""
    return datetime.fromtimestamp(int(at_s), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def timestamp_s(text: str) -> float:
    """RFC 3339 -> Unix seconds. Raises ValueError for anything else."""
    if not _TIMESTAMP.match(text):
        raise ValueError(f"not an RFC 3339 time: {text!r}")
    return datetime.fromisoformat(text).timestamp()


def faults(problem: ValidationError, root: str = "spec") -> list[str]:
    """What is wrong, each with its field's path as the API server writes it: `spec.warm.prewarm[0].cron: …`."""
    return [
        f"{_path(root, one['loc'])}: {one['msg'].removeprefix('Value error, ')}" for one in problem.errors()
    ]


def _path(root: str, parts: tuple[int | str, ...]) -> str:
    return root + "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in parts)


def _well_formed(text: str) -> str:
    timestamp_s(text)
    return text


DNS_LABEL = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"
DNS_NAME = r"^[a-z0-9]([-.a-z0-9]*[a-z0-9])?$"


def camel(name: str) -> str:
    """`memory_mib` -> `memoryMiB`, `pod_uid` -> `podUID`; the first word stays as it is (`uid`)."""
    first, *rest = name.split("_")
    return first + "".join(_SPECIAL_WORDS.get(word, word.capitalize()) for word in rest)


@dataclass(frozen=True)
class Rule:
    """A cross-field rule: `cel` for the API server, `check` for Python (absent for rules on old and new value)."""

    cel: str
    message: str
    check: Callable[[Any], bool] | None = None
    field_path: str = ""
    optional_old_self: bool = False


class ApiModel(BaseModel):
    """Part of one of our objects. Immutable; unknown keys are ignored, as the API server prunes them."""

    model_config = ConfigDict(alias_generator=camel, populate_by_name=True, frozen=True, extra="ignore")
    rules: ClassVar[tuple[Rule, ...]] = ()

    @model_validator(mode="after")
    def _keep_lists_unique(self) -> Self:
        for name, field in type(self).model_fields.items():
            extra = field.json_schema_extra
            if not isinstance(extra, dict) or extra.get("x-kubernetes-list-type") not in ("map", "set"):
                continue
            keys = [_entry_key(entry, extra) for entry in getattr(self, name)]
            if len(set(keys)) < len(keys):
                raise ValueError(f"{camel(name)} has the same entry twice: remove or rename one")
        return self

    @model_validator(mode="after")
    def _keep_rules(self) -> Self:
        for rule in self.rules:
            if rule.check is not None and not rule.check(self):
                raise ValueError(rule.message)
        return self


def _entry_key(entry: Any, extra: Mapping[str, Any]) -> Any:
    keys = extra.get("x-kubernetes-list-map-keys")
    return tuple(getattr(entry, key) for key in keys) if keys else entry


def list_map(*keys: str) -> dict[str, Any]:
    """Schema extension of a list of named things: entries are merged by these keys, which are unique."""
    return {"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": list(keys)}


ATOMIC: dict[str, Any] = {"x-kubernetes-list-type": "atomic"}
SET: dict[str, Any] = {"x-kubernetes-list-type": "set"}
# Required at the API server although Python fills it in: CEL rules that compare old and new need it there.
REQUIRED_ATOMIC: dict[str, Any] = {**ATOMIC, "x-ingle-required": True}

Label63 = Annotated[str, Field(min_length=1, max_length=63, pattern=DNS_LABEL)]
Name253 = Annotated[str, Field(min_length=1, max_length=253, pattern=DNS_NAME)]
Uid = Annotated[str, Field(min_length=1, max_length=64)]
GpuUuid = Annotated[str, Field(min_length=1, max_length=64)]
ProductName = Annotated[str, Field(min_length=1, max_length=128)]
ModelName = Annotated[str, Field(min_length=1, max_length=253, pattern=r"^[!-~]+$")]
Expression = Annotated[str, Field(min_length=1, max_length=2048)]
Mib = Annotated[int, Field(ge=0, le=16_777_216)]
Watts = Annotated[int, Field(ge=0, le=10_000_000)]
LabelValue = Annotated[str, Field(max_length=63)]
Counter = Annotated[int, Field(ge=0, le=2**53 - 1)]
Timestamp = Annotated[
    str, Field(max_length=64, json_schema_extra={"format": "date-time"}), AfterValidator(_well_formed)
]


def dump(model: ApiModel) -> dict[str, Any]:
    """Kubernetes JSON of a model: camelCase, absent fields left out."""
    return model.model_dump(by_alias=True, exclude_none=True)
