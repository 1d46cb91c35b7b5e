"""The memory that large bodies may take up together, however many connections send them."""

from tunesmith.domain import errors


class BodyRoom:
    """Who finds it full is refused at once: bodies that waited for one another, each holding a
    part of the room, could all wait for ever."""

    def __init__(self, num_bytes: int) -> None:
        self._num_free = num_bytes

    def take(self, num_bytes: int) -> None:
        """Raises Unavailable."""
        if num_bytes > self._num_free:
            raise errors.Unavailable(
                "Too many large requests are being received. Try again in a moment."
            )
        self._num_free -= num_bytes

    def give_back(self, num_bytes: int) -> None:
        self._num_free += num_bytes
