"""Fields of a request by the paths that `description.py` gives them."""

import copy
import re
from collections.abc import Iterator
from typing import Any

Json = dict[str, Any]


def holds(body: Json, path: str) -> bool:
    """Whether the field is there; with `path=value`, whether it has the value, or holds it."""
    path, is_valued, value = path.partition("=")
    for container, key in _places(body, path):
        found = container[key]
        if not is_valued or value in (found if isinstance(found, list) else [str(found)]):
            return True
    return False


def put(body: Json, path: str, value: Any) -> Json:
    """A copy with another value in the field, wherever it is."""
    body = copy.deepcopy(body)
    for container, key in list(_places(body, path)):
        container[key] = value
    return body


def removed(body: Json, path: str) -> Json:
    """A copy without the field."""
    body = copy.deepcopy(body)
    for container, key in list(_places(body, path)):
        del container[key]
    return body


def value_at(body: Json, path: str) -> Any:
    container, key = next(_places(body, path))
    return container[key]


def _places(value: Any, path: str) -> Iterator[tuple[Any, Any]]:
    """Where the field is: the object and its key, or the list and its index."""
    yield from _steps(value, re.findall(r"[^.\[\]]+(?![^\[]*\])|\[[^\]]*\]", path))


def _steps(value: Any, steps: list[str]) -> Iterator[tuple[Any, Any]]:
    step, *rest = steps
    for key in _keys(value, step):
        if rest:
            yield from _steps(value[key], rest)
        else:
            yield value, key


def _keys(value: Any, step: str) -> list[Any]:
    if not step.startswith("["):
        return [step] if isinstance(value, dict) and step in value else []
    if not isinstance(value, list):
        return []
    kind = step[1:-1]
    items = [(index, item) for index, item in enumerate(value) if isinstance(item, dict)]
    return [index for index, item in items if not kind or kind in map(str, item.values())]
