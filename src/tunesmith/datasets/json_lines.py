"""Lines of a JSON Lines file, read one at a time and parsed strictly.

Strictly means: no NaN, no key twice, no half of a surrogate pair: what Python's `json` lets pass
and what would surprise somebody further on. What can't be used raises `BadLine`, here and in
`chat_line.py`; `check.py` collects them.
"""

import json
import math
from collections.abc import Iterable, Iterator
from typing import Any, BinaryIO

MAX_LINE_BYTES = 4 * 1024 * 1024
MAX_DEPTH = 100  # lists and objects within one another
MAX_DIGITS = 400
BYTE_ORDER_MARK = b"\xef\xbb\xbf"


class BadLine(Exception):
    """Why a line can't be used, told twice: `detail` in the manner of the hosted service, which
    says `Example 7, message 2 {detail}`, and `advice`, a sentence on what to do."""

    def __init__(
        self, detail: str, advice: str, *, message: int | None = None, is_content: bool = False
    ) -> None:
        super().__init__(detail)
        self.detail = detail
        self.advice = advice
        self.message = message  # which one of the example's, from 1; None: the example itself
        self.is_content = is_content  # the right form, but something in it isn't allowed


def read_lines(source: BinaryIO) -> Iterator[tuple[int, bytes]]:
    """Number, from 1, and bytes of each line that isn't blank. A line that is too long is given
    cut off, a byte longer than the limit, and its rest is never held in memory."""
    number = 0
    while line := source.readline(MAX_LINE_BYTES + 1):
        number += 1
        if number == 1:
            line = line.removeprefix(BYTE_ORDER_MARK)
        rest = line
        while len(rest) > MAX_LINE_BYTES and not rest.endswith(b"\n"):
            rest = source.readline(MAX_LINE_BYTES + 1)
        if line.strip() or len(line) > MAX_LINE_BYTES:
            yield number, line.rstrip(b"\r\n")


def parse_line(number: int, line: bytes) -> Any:
    """The line's JSON value.

    Raises BadLine.
    """
    if len(line) > MAX_LINE_BYTES:
        size = f"{MAX_LINE_BYTES // 1024**2} MiB"
        raise BadLine(f"is longer than {size}", f"A line can have {size} at most; shorten it.")
    try:
        text = line.decode("utf-8")
        value = json.loads(
            text,
            parse_constant=_refuse_constant,
            parse_float=_finite,
            parse_int=_bounded,
            object_pairs_hook=_without_repetition,
        )
        if _is_too_deep(value):
            raise RecursionError
        if "\\u" in text:
            json.dumps(value, ensure_ascii=False).encode("utf-8")
    except UnicodeDecodeError as error:
        reason, advice = f"byte {error.start + 1} is not UTF-8", "Save the file as UTF-8."
    except UnicodeEncodeError:
        reason = "an escape is one half of a surrogate pair"
        advice = "Write the other half as well, or the character itself."
    except json.JSONDecodeError as error:
        reason = str(error)
        advice = f"This isn't valid JSON at character {error.pos + 1}: {error.msg}."
    except RecursionError:
        reason = "too many levels"
        advice = f"Its lists and objects can be nested {MAX_DEPTH} levels deep at most."
    except ValueError as error:  # from the functions below
        reason, advice = str(error), f"This can't be used as JSON: {error}."
    else:
        return value
    raise BadLine(
        f"cannot be parsed. Error: line contains invalid json: {reason} (line {number})", advice
    )


def shown(value: object) -> str:
    """A client's value inside a sentence: as JSON, in ASCII, and short."""
    text = json.dumps(value)
    return text if len(text) <= 60 else text[:57] + "..."


def _refuse_constant(name: str) -> float:
    raise ValueError(f"{name} is not a JSON number")


def _finite(digits: str) -> float:
    number = float(digits)
    if math.isinf(number):
        raise ValueError("a number is too large")
    return number


def _bounded(digits: str) -> int:
    if len(digits) > MAX_DIGITS:
        raise ValueError(f"a number has more than {MAX_DIGITS} digits")
    return int(digits)


def _without_repetition(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) < len(pairs):
        seen: set[str] = set()
        for name, _ in pairs:
            if name in seen:
                raise ValueError(f"an object has the key {shown(name)} more than once")
            seen.add(name)
    return value


def _is_too_deep(value: Any) -> bool:
    level = [value]
    for _ in range(MAX_DEPTH + 1):
        level = [inner for outer in level for inner in _inside(outer)]
        if not level:
            return False
    return True


def _inside(value: Any) -> Iterable[Any]:
    if isinstance(value, dict):
        return value.values()
    return value if isinstance(value, list) else ()
