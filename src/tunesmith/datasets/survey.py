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
from collections.abc import Callable, Collection, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, BinaryIO, Self

import numpy as np
from numpy.typing import NDArray

from tunesmith.datasets.check import FileCheck, as_a_whole
from tunesmith.datasets.folders import sizes_of, written_whole
from tunesmith.datasets.lengths import Lengths
from tunesmith.datasets.problems import Flaw, Problem, Problems, refusal
from tunesmith.datasets.render import Renderer
from tunesmith.datasets.rows import RowWriter, packed
from tunesmith.domain.errors import InvalidTrainingData
from tunesmith.domain.examples import Example
from tunesmith.domain.models import Mode

SURVEY_FILE, EXAMPLES_FILE = "survey.json", "examples.bin"
EXAMPLE = np.dtype(
    [
        ("line", "<i8"),
        ("num_tokens", "<i4"),  # after truncation
        ("num_learned", "<i4"),  # of these, the ones that bear loss
        ("digest", "<u8"),  # the same for examples that are the same to the model
        ("is_truncated", "?"),
        ("is_used", "?"),  # not if nothing in it is to be learned
    ]
)
# Rendered together, by a few threads: the tokenizer lets go of Python's lock. Two threads were
# 1.6 times as fast as one on two cores.
CHUNK_EXAMPLES = 64
CHUNK_BYTES = 2**20
THREADS = min(4, os.cpu_count() or 1)
LISTED_LINES = 100


@dataclass(frozen=True)
class Lines:
    """Some lines of a file: how many, and the numbers of the first few."""

    count: int = 0
    first: tuple[int, ...] = ()

    @classmethod
    def of(cls, numbers: NDArray[np.int64]) -> Self:
        return cls(len(numbers), tuple(numbers[:LISTED_LINES].tolist()))


@dataclass(frozen=True)
class Survey:
    format: Mode | None  # None if no line shows one
    num_lines: int  # without blank ones
    problems: tuple[Problem, ...]  # of the first bad lines, or the one of the whole file
    num_bad_lines: int
    is_something_else: bool  # not a training file at all, or not one for this model
    bears_loss: bool
    max_tokens: int  # per example
    lengths: Lengths | None  # of the examples that can be trained on; None: there is none
    truncated: Lines
    unusable: Lines
    duplicates: Lines  # without the first of each kind

    @property
    def num_examples(self) -> int:
        """Those that can be trained on."""
        return self.lengths.count if self.lengths else 0

    def all_problems(self, file_id: str, min_examples: int) -> list[Problem]:
        """What keeps the file from being used: empty if it can be."""
        if self.is_something_else:
            return list(self.problems)
        numbers = (self.num_lines, self.num_bad_lines, self.bears_loss, min_examples)
        found = [*self.problems, *as_a_whole(file_id, *numbers)]
        if not found and not self.num_examples:
            found.append(_nothing_within(self.max_tokens))
        return found

    def refusal(self, file_id: str, param: str, min_examples: int) -> InvalidTrainingData | None:
        """The error that says why the file can't be used; None if it can be."""
        found = self.all_problems(file_id, min_examples)
        return refusal(found, self.num_bad_lines - len(self.problems), param) if found else None


def survey_file(
    source: BinaryIO,
    renderer: Renderer,
    folder: Path,
    *,
    formats: Collection[Mode],
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
        sizes = {name: n for name, n in sizes_of(folder).items() if name != SURVEY_FILE}
        return _from_json(contents["survey"]) if sizes == contents["sizes"] else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def read_notes(folder: Path) -> NDArray[np.void]:
    """A record of `EXAMPLE` for each good example, in the file's order."""
    return np.fromfile(folder / EXAMPLES_FILE, EXAMPLE)


def lines_in_both(one: Path, other: Path) -> Lines:
    """The lines of `one` whose example is in `other` as well, as the model sees them."""
    notes = read_notes(one)
    return Lines.of(notes["line"][np.isin(notes["digest"], read_notes(other)["digest"])])


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
    content = packed(used or rows)
    note = (
        item.line,
        max((len(row.token_ids) for row in used or rows), default=0),
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
        lengths=Lengths.of(notes["num_tokens"][is_used]),
        truncated=Lines.of(lines[notes["is_truncated"]]),
        unusable=Lines.of(lines[~is_used]),
        duplicates=Lines.of(lines[_repeated(notes["digest"])]),
    )


def _repeated(digests: NDArray[np.uint64]) -> NDArray[np.int64]:
    """Places of values that an earlier place has too."""
    order = np.argsort(digests, kind="stable")
    is_repeated = digests[order[1:]] == digests[order[:-1]]
    return np.sort(order[1:][is_repeated])


def _nothing_within(max_tokens: int) -> Problem:
    return Problem(
        f"No example has text to learn from within the first {max_tokens} tokens.",
        "Give at least one assistant message of each example a weight of 1 and keep examples "
        "within that length.",
    )


def _save(survey: Survey, folder: Path) -> None:
    contents = {"survey": asdict(survey), "sizes": sizes_of(folder)}
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
            "format": value["format"] and Mode(value["format"]),
            "problems": problems,
            "lengths": value["lengths"] and Lengths.from_json(value["lengths"]),
        }
    )
