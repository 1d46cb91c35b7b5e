"""Identifiers in OpenAI's shapes (behaviour reference, section 13.2)."""

import secrets
import string
from collections.abc import Callable

BASE62 = string.digits + string.ascii_uppercase + string.ascii_lowercase
HEX = "0123456789abcdef"

RandomBelow = Callable[[int], int]
"""Gives a number in `[0, n)`; `secrets.randbelow` outside of tests."""


class Ids:
    """Makes identifiers; handed to whoever creates objects, so that tests can fix them."""

    def __init__(self, random_below: RandomBelow = secrets.randbelow) -> None:
        self._random_below = random_below

    def file(self) -> str:
        return "file-" + self.base62(24)

    def upload(self) -> str:
        return "upload_" + self.base62(24)

    def upload_part(self) -> str:
        return "part_" + self.base62(24)

    def job(self) -> str:
        return "ftjob-" + self.base62(24)

    def event(self) -> str:
        return "ftevent-" + self.base62(24)

    def checkpoint(self) -> str:
        return "ftckpt_" + self.base62(24)

    def permission(self) -> str:
        return "cp_" + self.base62(24)

    def adapter(self) -> str:
        """Also the `{id}` at the end of an `ft:` name: 8 characters."""
        return self.base62(8)

    def chat_completion(self) -> str:
        return "chatcmpl-" + self.base62(29)

    def completion(self) -> str:
        return "cmpl-" + self.base62(29)

    def tool_call(self) -> str:
        return "call_" + self.base62(24)

    def organization(self) -> str:
        return "org-" + self.base62(24)

    def project(self) -> str:
        return "proj_" + self.base62(24)

    def key_row(self) -> str:
        return "key_" + self.base62(16)

    def request(self) -> str:
        return "req_" + self._word(HEX, 32)

    def seed(self) -> int:
        """A seed for a job that came without one: 0 to 2**31 - 1."""
        return self._random_below(2**31)

    def base62(self, length: int) -> str:
        return self._word(BASE62, length)

    def _word(self, alphabet: str, length: int) -> str:
        return "".join(alphabet[self._random_below(len(alphabet))] for _ in range(length))
