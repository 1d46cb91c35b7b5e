"""`python -m tests.crash.launcher`: starts the real worker or API again and again, to be killed.

Importing torch takes longer than training the models of these tests. So one process imports
everything, and forks: each part is a process of its own, runs what `tunesmith worker` and
`tunesmith api` run, and dies alone. Orders come in on stdin, one JSON object a line; out goes the
process id of what was started. It ends, and its children with it, when stdin is closed.
"""

import json
import logging
import os
import socket
import sys
import threading
import time
from pathlib import Path
from typing import Any

import alembic  # noqa: F401  # imported here, once, for all children
import uvicorn  # noqa: F401

import tunesmith.api.app
import tunesmith.jobs.worker
from tests.crash.strikes import Point, Strikes, watch
from tunesmith import app
from tunesmith.cli import lifeline
from tunesmith.settings import Settings

tunesmith.jobs.worker.ROOM_PAUSE_S = 0.3  # a test can't wait for as long as an operator


def main() -> None:
    # The dead are never reaped, so that their process ids are given to nobody else.
    reading, writing = os.pipe()
    for line in sys.stdin:
        order = json.loads(line)
        process_id = os.fork()
        if process_id == 0:
            os.close(writing)
            _become(order, reading)
        print(process_id, flush=True)


def _become(order: dict[str, Any], lifeline_end: int) -> None:
    """Never returns."""
    try:
        os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # stdout is for process ids
        logging.basicConfig(
            stream=sys.stderr,
            level=logging.INFO,
            format=f"%(asctime)s {order['part']} {os.getpid()} %(levelname)s %(message)s",
        )
        logging.getLogger("alembic").setLevel(logging.WARNING)
        lifeline.watch(lifeline_end)
        _run(order)
    except SystemExit:
        os._exit(0)
    except BaseException:
        logging.exception("ended")
        os._exit(1)
    os._exit(0)


def _run(order: dict[str, Any]) -> None:
    data_dir = Path(order["data_dir"])
    point = Point(**order["point"]) if order["point"] else None
    strikes = Strikes(data_dir, Path(order["trace"]), point, order["cut"])
    watch(strikes)
    if order["after_s"] is not None:
        threading.Thread(target=_die_after, args=(order["after_s"], strikes), daemon=True).start()
    settings = Settings(data_dir=data_dir, device="cpu", num_threads=1, **order["settings"])
    if order["part"] == "worker":
        app.run_worker(settings)
    else:
        app.serve_api(settings, socket.socket(fileno=os.dup(order["listener"])), {})


def _die_after(seconds: float, strikes: Strikes) -> None:
    time.sleep(seconds)
    strikes.die()


if __name__ == "__main__":
    main()
