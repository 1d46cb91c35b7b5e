"""Looking at a service's processes, and ending them rudely (Linux's /proc)."""

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path


def children(parent: int) -> dict[str, int]:
    """The running children of `parent`: part (`api`, `engine`, `worker`) → process id."""
    return dict(_children(parent))


def wait_for_children(parent: int, *parts: str, timeout_s: float = 30.0) -> dict[str, int]:
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        found = children(parent)
        if found.keys() >= set(parts):
            return found
        time.sleep(0.05)
    raise AssertionError(f"{parts} expected, {children(parent)} found")


def is_alive(process_id: int) -> bool:
    """Whether the process runs; one that has ended and waits to be reaped doesn't."""
    try:
        status = Path(f"/proc/{process_id}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return status != "Z"


def wait_until_gone(process_ids: list[int], timeout_s: float = 30.0) -> None:
    deadline = time.monotonic() + timeout_s
    while any(is_alive(process_id) for process_id in process_ids):
        assert time.monotonic() < deadline, f"still there: {process_ids}"
        time.sleep(0.05)


def kill(process_id: int) -> None:
    os.kill(process_id, signal.SIGKILL)


def count(parent: int, part: str) -> int:
    """How many children of `parent` are of this part."""
    return sum(name == part for name, _ in _children(parent))


def _children(parent: int) -> Iterator[tuple[str, int]]:
    for folder in Path("/proc").iterdir():
        if not folder.name.isdigit():
            continue
        try:
            status = (folder / "stat").read_text().rpartition(")")[2].split()
            words = (folder / "cmdline").read_bytes().decode().split("\0")
        except (FileNotFoundError, ProcessLookupError):
            continue
        if int(status[1]) == parent and status[0] != "Z" and "tunesmith" in words:
            yield words[words.index("tunesmith") + 1], int(folder.name)
