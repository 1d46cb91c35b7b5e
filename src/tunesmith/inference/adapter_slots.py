"""Adapters that are ready for use: a fixed number of slots. No torch here.

Slot 0 is the bare base model. A sequence pins its adapter's slot while it runs; when all slots
are pinned, a sequence with yet another adapter waits. Of the others the least recently used
leaves first; it stays known by its folder and is loaded again when asked for.

A slot can be pinned before its weights are there. They are read elsewhere, between steps
(`missing`, `place`), and until then the sequences that hold the pin are not computed.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

Weights = TypeVar("Weights")


@dataclass(frozen=True, eq=False)
class KnownAdapter:
    """An adapter that requests may name. A name that is loaded anew makes a new one of these:
    sequences under way keep what they began with."""

    name: str
    folder: Path


class AdapterSlots(Generic[Weights]):
    def __init__(self, num_slots: int) -> None:
        """`num_slots`: besides slot 0."""
        self._free = list(range(num_slots, 0, -1))  # the lowest is last and goes first
        self._held: dict[KnownAdapter, _Slot[Weights]] = {}  # least recently used first

    def can_pin(self, adapter: KnownAdapter | None) -> bool:
        return (
            adapter is None
            or adapter in self._held
            or bool(self._free)
            or any(slot.num_pins == 0 for slot in self._held.values())
        )

    def pin(self, adapter: KnownAdapter | None) -> int:
        """Keeps a slot for the adapter until `unpin`; the slot's number."""
        if adapter is None:
            return 0
        slot = self._held.pop(adapter, None) or _Slot(self._empty_slot())
        self._held[adapter] = slot  # at the end: the most recently used
        slot.num_pins += 1
        return slot.number

    def unpin(self, adapter: KnownAdapter | None) -> None:
        if adapter is not None:
            self._held[adapter].num_pins -= 1

    def is_ready(self, adapter: KnownAdapter | None) -> bool:
        return adapter is None or self._held[adapter].weights is not None

    def weights(self, adapter: KnownAdapter) -> Weights:
        weights = self._held[adapter].weights
        assert weights is not None, "a sequence runs only when its adapter is ready"
        return weights

    def missing(self) -> list[KnownAdapter]:
        """Adapters whose slots wait for weights; each is told once."""
        found = [
            adapter
            for adapter, slot in self._held.items()
            if slot.weights is None and not slot.is_told
        ]
        for adapter in found:
            self._held[adapter].is_told = True
        return found

    def place(self, adapter: KnownAdapter, weights: Weights) -> None:
        """Puts weights into the adapter's slot; drops them if it lost its slot meanwhile."""
        if adapter in self._held:
            self._held[adapter].weights = weights

    def drop(self, adapter: KnownAdapter) -> None:
        """Frees the adapter's slot, if it has one and nobody uses it."""
        slot = self._held.get(adapter)
        if slot is not None and slot.num_pins == 0:
            del self._held[adapter]
            self._free.append(slot.number)

    def _empty_slot(self) -> int:
        if not self._free:
            self.drop(next(a for a, slot in self._held.items() if slot.num_pins == 0))
        return self._free.pop()


@dataclass
class _Slot(Generic[Weights]):
    number: int
    weights: Weights | None = None
    num_pins: int = 0
    is_told: bool = False  # `missing` has named it
