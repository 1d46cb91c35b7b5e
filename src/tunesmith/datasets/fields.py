"""The fields of a line's objects: there or not, of which type, and none that nobody knows.

Null stands for an absent key, since clients dump objects that way.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from tunesmith.datasets.json_lines import BadLine, shown

Object = Mapping[str, Any]


def refuse_extra_keys(value: Object, allowed: Iterable[str]) -> None:
    for key in value:
        if key not in allowed:
            raise BadLine(
                f"contains an extra {shown(key)}.",
                f"Leave out the key {shown(key)}; there can be {', '.join(allowed)}.",
                is_content=True,
            )


def as_object(value: Any, where: str) -> Object:
    if not isinstance(value, Mapping):
        raise BadLine(
            f'has something else than an object in "{where}".',
            f'An object is expected in "{where}", not {shown(value)}.',
        )
    return value


def list_of(value: Object, key: str) -> list[Any]:
    items = optional(value, key, list, "a list")
    return [] if items is None else list(items)


def required(value: Object, key: str, kind: Any, kind_name: str) -> Any:
    if key not in value:
        raise missing(key)
    if not isinstance(value[key], kind):
        raise BadLine(
            f'has "{key}" that is not {kind_name}.',
            f'"{key}" must be {kind_name}, not {shown(value[key])}.',
        )
    return value[key]


def optional(value: Object, key: str, kind: Any, kind_name: str) -> Any:
    return None if value.get(key) is None else required(value, key, kind, kind_name)


def missing(key: str) -> BadLine:
    return BadLine(f'is missing key "{key}".', f'Add the key "{key}".')
