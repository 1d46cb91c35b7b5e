"""The memory that large bodies may take up together, however many connections send them."""

from collections import Counter
from dataclasses import dataclass

from tunesmith.domain import errors
from tunesmith.domain.shares import Fit, fit


class BodyRoom:
    """Organisations share it as `domain/shares.py` says. For the event loop's thread alone."""

    def __init__(self, num_bytes: int) -> None:
        self._num_bytes = num_bytes
        self._held: Counter[str] = Counter()  # by organisation; nobody holds nothing

    def place(self, organization_id: str) -> "BodyPlace":
        """For one body, still empty."""
        return BodyPlace(self, organization_id)

    def change(self, organization_id: str, difference: int) -> None:
        """Takes so many bytes, or gives them back. Who finds no room is refused at once: bodies
        that waited for one another, each holding a part of the room, could all wait for ever.
        Raises RateLimited, Unavailable."""
        if difference > 0:
            self._refuse_too_much(organization_id, difference)
        self._held[organization_id] += difference
        if self._held[organization_id] == 0:
            del self._held[organization_id]

    def _refuse_too_much(self, organization_id: str, num_bytes: int) -> None:
        found = fit(
            num_bytes,
            own=self._held[organization_id],
            taken=self._held.total(),
            size=self._num_bytes,
            num_others=len(self._held.keys() - {organization_id}),
        )
        if found is Fit.BEYOND_SHARE:
            raise errors.RateLimited(
                "Too many large requests of your organization are being received. Send this one "
                "again when some of them are answered."
            )
        if found is Fit.FULL:
            raise errors.Unavailable(
                "Too many large requests are being received. Try again in a moment."
            )


@dataclass
class BodyPlace:
    """What one body takes of the room."""

    room: BodyRoom
    organization_id: str
    num_bytes: int = 0

    def grow_to(self, num_bytes: int) -> None:
        """Raises RateLimited, Unavailable. To 0, at the end, always works."""
        self.room.change(self.organization_id, num_bytes - self.num_bytes)
        self.num_bytes = num_bytes
