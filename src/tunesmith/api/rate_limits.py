"""Requests and tokens per minute of each key (behaviour reference, sections 17.3, 18.2 and 18.4).

Every request with a valid key counts as one: completions for themselves, and everything else
together, so that polling a job takes nothing from a chat. The tokens of a completion are reserved
before the engine is asked, those of its prompt and as many more as it may have (`max_tokens`), and
put right when it is known how many it took.

Nothing is kept of a key but two or three numbers for a minute (`domain/meter.py`): no write to the
database, and a restart begins anew.
"""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum, auto
from typing import Any

from fastapi import Request

from tunesmith.api.engine_messages import Chunk
from tunesmith.domain import errors
from tunesmith.domain.meter import Meters, Reading
from tunesmith.domain.tenancy import Caller, RateLimits

COMPLETIONS = {"/v1/chat/completions", "/v1/completions"}


class Outcome(Enum):
    """How a completion ended."""

    WHOLE = auto()
    FAILED = auto()
    LEFT = auto()  # by the client


class Rates:
    def __init__(
        self,
        defaults: RateLimits = RateLimits(),  # noqa: B008  # frozen
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`defaults` are for keys that have no limits of their own."""
        self._defaults = defaults
        self._meters = Meters(clock)

    def count(self, request: Request, caller: Caller) -> None:
        """Raises RequestLimitReached. What is left is told in the headers of the answer."""
        limit = caller.limits.or_else(self._defaults).requests
        if not limit:
            return
        is_completion = request.method == "POST" and request.scope["path"] in COMPLETIONS
        reading = self._meters.take((caller.key_id, "requests", is_completion), 1, limit)
        _tell(request, "requests", reading)
        if reading.wait_s:
            raise errors.RequestLimitReached(
                _refusal(caller, reading, 1, "requests per min (RPM)"), reading.wait_s
            )

    def reserve(
        self, request: Request, caller: Caller, *, num_prompt: int, num_completion: int
    ) -> "Charge":
        """Tokens for a completion. Raises TokenLimitReached."""
        limit = caller.limits.or_else(self._defaults).tokens
        if not limit:
            return Charge()
        name, amount = (caller.key_id, "tokens"), num_prompt + num_completion
        reading = self._meters.take(name, amount, limit)
        _tell(request, "tokens", reading)
        if reading.wait_s:
            raise errors.TokenLimitReached(
                _refusal(caller, reading, amount, "tokens per min (TPM)"), reading.wait_s
            )
        return Charge(num_prompt, amount, lambda more: self._meters.correct(name, more, limit))


@dataclass
class Charge:
    """What a request has reserved, and what is known of what it takes."""

    num_prompt: int = 0
    num_reserved: int = 0
    correct: Callable[[int], None] = lambda _: None
    num_pieces: int = 0
    num_used: int = 0

    def note(self, chunk: Chunk) -> None:
        self.num_pieces += len(chunk.pieces)
        if chunk.usage is not None:
            self.num_used += chunk.usage.prompt_tokens + chunk.usage.completion_tokens

    def settle(self, outcome: Outcome) -> None:
        """To be called once. Of an answer that broke off only the pieces are known, of one token
        or more each, so it takes at least what was reserved for it."""
        if outcome is Outcome.WHOLE:
            used = self.num_used
        elif outcome is Outcome.FAILED and self.num_pieces == 0:
            used = 0
        else:
            used = max(self.num_reserved, self.num_prompt + self.num_pieces)
        self.correct(used - self.num_reserved)


def duration(seconds: float) -> str:
    """As OpenAI writes it: 12ms, 1.5s, 6m0s."""
    milliseconds = math.ceil(1000 * seconds - 1e-3)
    if milliseconds < 1000:
        return f"{milliseconds}ms" if milliseconds > 0 else "0s"
    minutes, rest = divmod(milliseconds, 60_000)
    hours, minutes = divmod(minutes, 60)
    text = f"{rest / 1000:g}s"
    if hours:
        return f"{hours}h{minutes}m{text}"
    return f"{minutes}m{text}" if minutes else text


def _tell(request: Request, measure: str, reading: Reading) -> None:
    headers: dict[str, Any] = request.scope["state"].setdefault("rate_headers", {})
    headers[f"x-ratelimit-limit-{measure}"] = str(reading.limit)
    headers[f"x-ratelimit-remaining-{measure}"] = str(reading.remaining)
    headers[f"x-ratelimit-reset-{measure}"] = duration(reading.empty_in_s)


def _refusal(caller: Caller, reading: Reading, amount: int, measure: str) -> str:
    where = f"for {caller.key_id} in organization {caller.organization.id} on {measure}"
    if math.isinf(reading.wait_s):
        return (
            f"Request too large {where}: Limit {reading.limit}, Requested {amount}. The input or "
            "output tokens must be reduced in order to run successfully."
        )
    return (
        f"Rate limit reached {where}: Limit {reading.limit}, Used {reading.used}, Requested "
        f"{amount}. Please try again in {duration(reading.wait_s)}."
    )
