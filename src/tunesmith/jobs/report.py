"""`python -m tunesmith.jobs.report`: surveys one file, in a process of its own.

The API asks for it (`api/report_desk.py`): checking and rendering a large file takes a processor
for a minute, and the API's own must stay free. The task is a line of JSON on stdin. When stdin
ends, whoever asked is gone, and so are we. A refusal that the caller should read goes to stdout.
No torch here: the process starts in a third of a second.
"""

import json
import os
import sys
import threading
from bisect import bisect_left
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from tunesmith.datasets.survey import example_note, map_notes
from tunesmith.domain import errors
from tunesmith.domain.models import BaseModel, Mode
from tunesmith.domain.pages import Page
from tunesmith.domain.surveys import ExampleNote
from tunesmith.jobs.data import SurveyTask
from tunesmith.store.blobs import Blobs

REFUSED = 3  # exit status
NICENESS = 10  # requests and training come first


def encoded(task: SurveyTask, blobs_root: Path, folder: Path) -> bytes:
    value = {"task": asdict(task), "blobs_root": str(blobs_root), "folder": str(folder)}
    return json.dumps(value).encode() + b"\n"


def main() -> None:
    os.nice(NICENESS)
    order = json.loads(sys.stdin.buffer.readline())
    threading.Thread(target=_end_with_stdin, daemon=True).start()
    try:
        _task(order["task"]).run(Blobs(Path(order["blobs_root"])), Path(order["folder"]))
    except errors.TunesmithError as error:
        print(json.dumps({"kind": type(error).__name__, "message": error.message}))
        sys.exit(REFUSED)


def refusal(output: bytes) -> errors.TunesmithError:
    """The error that a process told of before it ended with `REFUSED`."""
    told = json.loads(output)
    kinds = {kind.__name__: kind for kind in (errors.UnsupportedModel, errors.NotFound)}
    return kinds.get(told["kind"], errors.TunesmithError)(told["message"])


def page(folder: Path, limit: int, after: int | None) -> Page[ExampleNote]:
    """Some of the good examples of a survey, those that follow line `after`, or the first ones.

    Raises InvalidRequest if no good example is on that line.
    """
    notes = map_notes(folder)
    start = 0
    if after is not None:  # lines rise
        start = 1 + bisect_left(range(len(notes)), after, key=lambda n: int(notes[n]["line"]))
        if start > len(notes) or notes[start - 1]["line"] != after:
            raise errors.InvalidRequest(
                f"Invalid 'after': the report has no example on line {after}.", param="after"
            )
    return Page(
        tuple(example_note(note) for note in notes[start : start + limit]),
        has_more=start + limit < len(notes),
    )


def _task(value: dict[str, Any]) -> SurveyTask:
    base = {**value["base"], "aliases": tuple(value["base"]["aliases"])}
    for modes in ("routes", "formats"):
        base[modes] = tuple(Mode(mode) for mode in base[modes])
    return replace(SurveyTask(**value), base=BaseModel(**base))


def _end_with_stdin() -> None:
    # Not by `sys.stdin`, whose lock a thread that waits would hold at this process's own end.
    while os.read(0, 1):
        pass
    os._exit(1)


if __name__ == "__main__":
    main()
