"""A page of a list."""

from dataclasses import dataclass
from typing import Generic, TypeVar

T = TypeVar("T")


@dataclass(frozen=True)
class Page(Generic[T]):
    """Some items in the list's order, and whether others follow the last one."""

    items: tuple[T, ...]
    has_more: bool
