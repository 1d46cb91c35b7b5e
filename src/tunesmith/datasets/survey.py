"""Going through a file once: every line checked, every good example rendered, all of it noted.

What a `Survey` says is the truth about a file for everybody: the job that validates it, the run
that trains on it, and the report before either. It is a folder, written whole or not at all:

    survey.json     what is wrong, what is remarkable, and the size of each other file
    examples.bin    one record per good example (`EXAMPLE`)
    rows.bin …      the rows (`rows.py`), if somebody is to train on them

Lines are read, rendered and written a chunk at a time, so memory doesn't grow with the file; only
at its end some 30 bytes an example are in memory at once, for the statistics.
"""

import hashlib
import json
import os
from bisect import bisect_left
from collections.abc import Callable, Collection, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from tunesmith.datasets.check import FileCheck, Problems
from tunesmith.datasets.render import Renderer
from tunesmith.datasets.rows import RowWriter, packed
from tunesmith.disk import sizes_of, written_whole
from tunesmith.domain.errors import InvalidRequest, InvalidTrainingData
from tunesmith.domain.examples import Example, Format, Preference
from tunesmith.domain.pages import Page
from tunesmith.domain.surveys import ExampleNote, Flaw, Lengths, Lines, Problem, Survey

SHORTEST_BIN = 16  # of the histogram: up to 16 tokens, up to 32, …
SURVEY_FILE, EXAMPLES_FILE = "survey.json", "examples.bin"
EXAMPLE = np.dtype(  # an ExampleNote
    [
        ("line", "<i8"),
        ("num_tokens", "<i4"),
        ("num_learned", "<i4"),
        ("digest", "<u8"),  # the same for examples that are the same to the model
        ("is_truncated", "?"),
        ("is_used", "?"),
    ]
)
# Rendered together, by a few threads: the tokenizer lets go of Python's lock. Two threads were
# 1.6 times as fast as one on two cores.
CHUNK_EXAMPLES = 64
CHUNK_BYTES = 2**20
THREADS = min(4, os.cpu_count() or 1)
LISTED_LINES = 100


def survey_file(
    source: BinaryIO,
    renderer: Renderer,
    folder: Path,
    *,
    formats: Collection[Format],
    max_tokens: int,
    max_problems: int,
    keeps_rows: bool,
    watch: Callable[[], None] = lambda: None,
) -> Survey:
    """Surveys `source` into `folder`. `watch` is called now and then; what it raises ends the work,
    and nothing stays."""
    check = FileCheck(source, formats)
    problems = Problems(max_problems)
    bears_loss = False
    with written_whole(folder) as unfinished, ExitStack() as opened:
        notes = opened.enter_context((unfinished / EXAMPLES_FILE).open("wb"))
        rows = opened.enter_context(RowWriter(unfinished)) if keeps_rows else None
        threads = opened.enter_context(ThreadPoolExecutor(THREADS, thread_name_prefix="render"))
        for chunk in _chunks(check):
            watch()
            for found in threads.map(lambda item: _rendered(renderer, item, max_tokens), chunk):
                if isinstance(found, Problem):
                    problems.add(found)
                    continue
                bears_loss = bears_loss or found.bears_loss
                notes.write(found.note)
                if rows is not None and found.is_used:
                    rows.add(found.rows)
        opened.close()
        survey = _summary(check, problems, bears_loss, max_tokens, read_notes(unfinished))
        _save(survey, unfinished)
    return survey


def read_survey(folder: Path) -> Survey | None:
    """None if there is no whole one."""
    try:
        contents = json.loads((folder / SURVEY_FILE).read_text(encoding="utf-8"))
        is_whole = sizes_of(folder, without=SURVEY_FILE) == contents["sizes"]
        return _from_json(contents["survey"]) if is_whole else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def read_notes(folder: Path) -> NDArray[np.void]:
    """A record of `EXAMPLE` for each good example, in the file's order."""
    return np.fromfile(folder / EXAMPLES_FILE, EXAMPLE)


def page_of_notes(folder: Path, limit: int, after: int | None) -> Page[ExampleNote]:
    """Some of the good examples of a survey, those that follow line `after`, or the first ones.

    Raises InvalidRequest if no good example is on that line.
    """
    notes = _mapped_notes(folder)
    start = 0
    if after is not None:  # lines rise
        start = 1 + bisect_left(range(len(notes)), after, key=lambda n: int(notes[n]["line"]))
        if start > len(notes) or notes[start - 1]["line"] != after:
            raise InvalidRequest(
                f"Invalid 'after': the report has no example on line {after}.", param="after"
            )
    return Page(
        tuple(_example_note(note) for note in notes[start : start + limit]),
        has_more=start + limit < len(notes),
    )


def lines_in_both(one: Path, other: Path) -> Lines:
    """The lines of `one` whose example is in `other` as well, as the model sees them."""
    notes = read_notes(one)
    return _lines(notes["line"][np.isin(notes["digest"], read_notes(other)["digest"])])


def _mapped_notes(folder: Path) -> NDArray[np.void]:
    """Read where they are looked at."""
    path = folder / EXAMPLES_FILE
    return np.memmap(path, EXAMPLE, "r") if path.stat().st_size else np.empty(0, EXAMPLE)


def _example_note(record: np.void) -> ExampleNote:
    names = ("line", "num_tokens", "num_learned", "is_truncated", "is_used")
    return ExampleNote(**{name: record[name].item() for name in names})


def _chunks(check: FileCheck) -> Iterator[list[Example | Problem]]:
    chunk: list[Example | Problem] = []
    num_bytes = 0
    for item in check:
        chunk.append(item)
        if len(chunk) == CHUNK_EXAMPLES or check.num_bytes - num_bytes > CHUNK_BYTES:
            yield chunk
            chunk, num_bytes = [], check.num_bytes
    if chunk:
        yield chunk


@dataclass(frozen=True)
class _Rendered:
    """An example as it is written down."""

    bears_loss: bool
    is_used: bool
    rows: bytes
    note: bytes


def _rendered(renderer: Renderer, item: Example | Problem, max_tokens: int) -> _Rendered | Problem:
    if isinstance(item, Problem):
        return item
    try:
        rows = renderer.rows(item.content, max_tokens)
    except InvalidTrainingData as error:
        return Problem(
            f"Invalid file format. Example {item.line} can't be rendered by the base model's chat "
            f"template: {error.message}",
            f"{error.message} Change the example, or use another base model.",
            line=item.line,
        )
    used = [row for row in rows if any(row.loss_weights)]
    if isinstance(item.content, Preference) and len(used) < len(rows):
        used = []  # one answer alone has nothing to be compared with
    content = packed(used or rows)
    lengths = [len(row.token_ids) for row in used or rows]
    note = (
        item.line,
        sum(lengths) if isinstance(item.content, Preference) else max(lengths, default=0),
        sum(np.count_nonzero(row.loss_weights) for row in used),
        int.from_bytes(hashlib.blake2b(content, digest_size=8).digest(), "little"),
        any(row.is_truncated for row in rows),
        bool(used),
    )
    return _Rendered(item.bears_loss, bool(used), content, np.array(note, EXAMPLE).tobytes())


def _summary(
    check: FileCheck,
    problems: Problems,
    bears_loss: bool,
    max_tokens: int,
    notes: NDArray[np.void],
) -> Survey:
    lines, is_used = notes["line"], notes["is_used"]
    return Survey(
        format=check.format,
        num_lines=check.num_lines,
        problems=tuple(problems.kept),
        num_bad_lines=problems.count,
        is_something_else=check.is_something_else,
        bears_loss=bears_loss,
        max_tokens=max_tokens,
        lengths=_lengths(notes["num_tokens"][is_used]),
        truncated=_lines(lines[notes["is_truncated"]]),
        unusable=_lines(lines[~is_used]),
        duplicates=_lines(lines[_repeated(notes["digest"])]),
    )


def _repeated(digests: NDArray[np.uint64]) -> NDArray[np.int64]:
    """Places of values that an earlier place has too."""
    order = np.argsort(digests, kind="stable")
    is_repeated = digests[order[1:]] == digests[order[:-1]]
    return np.sort(order[1:][is_repeated])


def _lines(numbers: NDArray[np.int64]) -> Lines:
    return Lines(len(numbers), tuple(numbers[:LISTED_LINES].tolist()))


def _lengths(num_tokens: NDArray[np.int32]) -> Lengths | None:
    """None of no examples at all."""
    if not len(num_tokens):
        return None
    median, percentile_95 = np.percentile(num_tokens, [50, 95], method="inverted_cdf")
    return Lengths(
        count=len(num_tokens),
        total=int(num_tokens.sum(dtype=np.int64)),
        shortest=int(num_tokens.min()),
        mean=float(num_tokens.mean(dtype=np.float64)),
        median=int(median),
        percentile_95=int(percentile_95),
        longest=int(num_tokens.max()),
        histogram=tuple(_histogram(num_tokens)),
    )


def _histogram(num_tokens: NDArray[np.int32]) -> list[tuple[int, int]]:
    ends = [SHORTEST_BIN]
    while ends[-1] < num_tokens.max():
        ends.append(2 * ends[-1])
    counts = np.bincount(np.searchsorted(ends, num_tokens), minlength=len(ends))
    return list(zip(ends, counts.tolist(), strict=True))


def _save(survey: Survey, folder: Path) -> None:
    contents = {"survey": asdict(survey), "sizes": sizes_of(folder, without=SURVEY_FILE)}
    (folder / SURVEY_FILE).write_text(json.dumps(contents), encoding="utf-8")


def _from_json(value: dict[str, Any]) -> Survey:
    lines = {
        name: Lines(value[name]["count"], tuple(value[name]["first"]))
        for name in ("truncated", "unusable", "duplicates")
    }
    problems = tuple(
        Problem(**{**problem, "flaw": Flaw(problem["flaw"])}) for problem in value["problems"]
    )
    return Survey(
        **{
            **value,
            **lines,
            "format": value["format"] and Format(value["format"]),
            "problems": problems,
            "lengths": value["lengths"] and _lengths_from_json(value["lengths"]),
        }
    )


def _lengths_from_json(value: dict[str, Any]) -> Lengths:
    return Lengths(**{**value, "histogram": tuple(map(tuple, value["histogram"]))})
