"""Tags (`domain/tagged.py`) as a grammar in llguidance's own language.

It is written twice: once for the model's tokens, and once for bytes, for the search for endings
(`closing.py`). Control tokens are no bytes, so there a *mark* stands for each of them: one of eight
ASCII characters that are in no JSON, and that no text may hold meanwhile.

    start: text? calls          calls: tag (blanks? tag)*         tag: tag_0 | tag_1
    tag_0: <[7]> "{\\"name\\": \\"f\\", \\"arguments\\": " %json {…} "}"
"""

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from tunesmith.domain.tagged import Tag, Tagged, Text

MARKS = [chr(code) for code in range(1, 9)]
ANY_TEXT = r"/[^\x01-\x08]*/"
BLANKS = r"/[ \t\r\n]{1,4}/"
MARK = re.compile("([\x01-\x08])")

Json = dict[str, Any]

# Start, end and id of each control token that a text spells out.
FindControl = Callable[[str], list[tuple[int, int, int]]]


@dataclass(frozen=True)
class Marked:
    """Tags with marks for control tokens."""

    tagged: Tagged
    token_ids: Mapping[str, int]  # by their marks


def marked(tagged: Tagged, find_control: FindControl) -> Marked:
    """Raises ValueError for more control tokens than there are marks."""
    marks: dict[int, str] = {}

    def mark(text: str) -> str:
        if MARK.search(text):
            raise ValueError("its tags hold control characters")
        done, parts = 0, []
        for start, end, token_id in find_control(text):
            if token_id not in marks:
                if len(marks) == len(MARKS):
                    raise ValueError("its tags hold too many different control tokens")
                marks[token_id] = MARKS[len(marks)]
            parts += [text[done:start], marks[token_id]]
            done = end
        return "".join([*parts, text[done:]])

    with_marks = replace(
        tagged,
        trigger=mark(tagged.trigger),
        separator=None if tagged.separator is None else mark(tagged.separator),
        tags=tuple(Tag(mark(tag.begin), tag.json_schema, mark(tag.end)) for tag in tagged.tags),
    )
    return Marked(with_marks, {text: token_id for token_id, text in marks.items()})


def lark(tagged: Tagged, spelling: Json, token_ids: Mapping[str, int] | None = None) -> str:
    """The grammar of marked tags. Marks that have no token in `token_ids` are bytes. `spelling`:
    how JSON is written, in llguidance's words."""
    known = token_ids or {}

    def literal(text: str) -> str:
        parts = [part for part in MARK.split(text) if part]
        return " ".join(
            f"<[{known[part]}]>" if part in known else json.dumps(part) for part in parts
        )

    def json_of(schema: str) -> str:
        return "%json " + json.dumps({**json.loads(schema), "x-guidance": spelling})

    begun = tagged.trigger if _ends_text(tagged) else ""  # what stands before the first tag's rest
    rules = [*_start(tagged)]
    if tagged.json_schema is not None:
        rules.append(f"json: {json_of(tagged.json_schema)}")
    between = f"{BLANKS}?" if tagged.separator is None else literal(tagged.separator)
    more = "" if tagged.is_single else f" ({between} {literal(begun)} tag)*"
    rules += ["tags: tag" + more, "tag: " + " | ".join(f"tag_{n}" for n in range(len(tagged.tags)))]
    for number, tag in enumerate(tagged.tags):
        begin, end = literal(tag.begin.removeprefix(begun)), literal(tag.end)
        rules.append(f"tag_{number}: {begin} {json_of(tag.json_schema)} {end}")
    return "\n".join(rules)


def _start(tagged: Tagged) -> list[str]:
    if tagged.json_schema is not None:
        return ["start: json | tags"]
    if tagged.text is Text.NOWHERE:
        return ["start: tags"]
    if _is_marked(tagged):  # no text can hold it
        text = "TEXT?" if tagged.text is Text.BEFORE else ""
        return [f"start: TEXT? | {text} tags", f"TEXT: {ANY_TEXT}"]
    trigger = _pattern(tagged.trigger)
    if tagged.text is Text.INSTEAD:
        return ["start: TEXT | tags", f"TEXT: {ANY_TEXT} & ~/{trigger}(?s:.*)/"]
    return [
        "start: TEXT | begun tags",
        f"begun[lazy]: /(?s:.*){trigger}/",
        f"TEXT: {ANY_TEXT} & ~/(?s:.*){trigger}(?s:.*)/",
    ]


def _is_marked(tagged: Tagged) -> bool:
    return MARK.match(tagged.trigger) is not None


def _ends_text(tagged: Tagged) -> bool:
    """A trigger of letters is read as the end of the text before it, since only there it can be
    told from text."""
    return tagged.text is Text.BEFORE and not _is_marked(tagged)


def _pattern(text: str) -> str:
    """A regular expression that matches just this."""
    return "".join(letter if letter.isalnum() else f"\\x{{{ord(letter):x}}}" for letter in text)
