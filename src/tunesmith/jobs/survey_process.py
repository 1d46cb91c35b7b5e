"""`python -m tunesmith.jobs.survey_process`: surveys one file, in a process of its own.

Checking and rendering a large file takes a processor for a minute, most of it inside Python. In a
thread it would hold up whatever else its process does: the API's other requests, the trainer's
steps. It can also be ended, and what it does to memory is its own business.

`survey_apart` is the side that asks, `main` the side that works. The task is a line of JSON on
stdin. When stdin ends, whoever asked is gone, and so are we. A refusal that somebody should read
goes to stdout. No torch here: the process starts in a third of a second.
"""

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from tunesmith.datasets.survey import read_survey
from tunesmith.domain import errors
from tunesmith.domain.surveys import Survey
from tunesmith.jobs.surveys import SurveyTask
from tunesmith.store.blobs import Blobs
from tunesmith.store.room import full_disk_told

REFUSED = 3  # exit status
POLL_S = 0.1
NICENESS = 10  # requests and training come first


def survey_apart(task: SurveyTask, blobs: Blobs, folder: Path, watch: Callable[[], None]) -> Survey:
    """As `task.run`, in a process. What `watch` raises, which is called several times a second,
    ends it. Raises ChildProcessError if it dies."""
    command = [sys.executable, "-m", __name__]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin is not None, "it has a pipe"
        assert process.stdout is not None, "it has a pipe"
        try:
            with suppress(BrokenPipeError):  # it died; its status says how
                process.stdin.write(_encoded(task, blobs, folder))
                process.stdin.flush()  # and stays open: its end would be the process's
            while not _has_ended(process):
                watch()
        finally:
            process.kill()
        if process.returncode == REFUSED:
            raise _refusal(process.stdout.read())
    survey = read_survey(folder)
    if process.returncode != 0 or survey is None:
        raise ChildProcessError(f"the survey in {folder} ended with status {process.returncode}")
    return survey


def main() -> None:
    os.nice(NICENESS)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for whoever asked
    order = json.loads(sys.stdin.buffer.readline())
    threading.Thread(target=_end_with_stdin, daemon=True).start()
    try:
        task = SurveyTask.from_json(order["task"])
        with full_disk_told():
            task.run(Blobs(Path(order["blobs_root"])), Path(order["folder"]))
    except errors.TunesmithError as error:
        print(json.dumps({"kind": type(error).__name__, "message": error.message}))
        sys.exit(REFUSED)


def _has_ended(process: subprocess.Popen[bytes]) -> bool:
    try:
        process.wait(POLL_S)
    except subprocess.TimeoutExpired:
        return False
    return True


def _encoded(task: SurveyTask, blobs: Blobs, folder: Path) -> bytes:
    order = {"task": task.to_json(), "blobs_root": str(blobs.root), "folder": str(folder)}
    return json.dumps(order).encode() + b"\n"


def _refusal(output: bytes) -> errors.TunesmithError:
    """The error that a process told of before it ended with `REFUSED`."""
    told = json.loads(output)
    known = (errors.UnsupportedModel, errors.NotFound, errors.StorageFull)
    kinds = {kind.__name__: kind for kind in known}
    return kinds.get(told["kind"], errors.TunesmithError)(told["message"])


def _end_with_stdin() -> None:
    # Not by `sys.stdin`, whose lock a thread that waits would hold at this process's own end.
    while os.read(0, 1):
        pass
    os._exit(1)


if __name__ == "__main__":
    main()
