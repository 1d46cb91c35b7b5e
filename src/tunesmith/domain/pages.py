"""Pages of lists, and long ones part by part."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

T = TypeVar("T")

Place = tuple[Any, ...]  # in a list's order; Any: each list is ordered by columns of its own

PART = 100  # items; of 560 bytes each, what a connection takes ahead of a slow reader


@dataclass(frozen=True)
class Page(Generic[T]):
    """Some items in the list's order, and whether others follow the last one."""

    items: tuple[T, ...]
    has_more: bool
    end: Place | None = None  # of the last item, which may be gone when the next page is asked for


def in_parts(
    page: Callable[[int, str | Place | None], Page[T]], limit: int, after: str | None
) -> Iterator[Page[T]]:
    """A page of any length, in parts that don't pile up. `page` takes a limit, and what to go on
    after; it is asked at least once. Nothing is held from one part to the next, so whoever reads
    may take their time."""
    place: str | Place | None = after
    while True:
        part = page(min(limit, PART), place)
        yield part
        limit -= len(part.items)
        place = part.end
        if not part.has_more or limit <= 0:
            return
