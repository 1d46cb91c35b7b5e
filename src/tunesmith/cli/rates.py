"""Limits per minute as people write them: 60, unlimited, default."""

from tunesmith.domain.errors import InvalidRequest

MAX_LIMIT = 10**12
WORDS = {"default": None, "unlimited": 0}


def read_limit(words: str) -> int | None:
    """As in `RateLimits`. Raises InvalidRequest."""
    if words in WORDS:
        return WORDS[words]
    if words.isdecimal() and words.isascii() and len(words) <= 13 and 1 <= int(words) <= MAX_LIMIT:
        return int(words)
    raise InvalidRequest(
        f"'{words}' is not a limit: write a number from 1 to {MAX_LIMIT}, 'unlimited', or "
        "'default' for what the service's settings say."
    )


def limit_in_words(limit: int | None) -> str:
    return {None: "default", 0: "unlimited"}.get(limit) or str(limit)
