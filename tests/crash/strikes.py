"""Death at a chosen instant: numbers every durable write of this process, and may strike at one.

`watch` puts itself around what makes bytes last (renames, removals, syncs, saves, blobs,
commits), gives each a readable label, and notes it in a trace. A process told a `Point` kills
itself (SIGKILL: nothing is closed, flushed or caught) just before or just after the write of that
label. Labels come from places and tables, not from lines of code, so they survive most changes of
what they watch:

    rename runs/JOB/UNFINISHED -> runs/JOB/STEP
    commit update jobs(fence,lease_expires_at)

Instead of striking, a point may `fill` the disk: with ballast if the data folder is a file system
of its own, else by refusing whatever needs room for as long as the ballast is there.

With `cut`, the death is a power failure, as bad as one may be: what was never forced to the disk
is lost, contents and names alike (the database sees to itself).
"""

import errno
import os
import re
import shutil
import signal
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import obstore
import safetensors.torch
from sqlalchemy import Engine, event
from sqlalchemy.engine.default import DefaultDialect

DATABASE = "tunesmith.db"
BALLAST = "ballast"
NEEDS_ROOM = ("copy ", "save ", "write ", "put ", "commit ")

# What differs from run to run, and what stands for it in a label.
NAMES = (
    (re.compile(r"\.unfinished-[^/]+"), "UNFINISHED"),
    (re.compile(r"ftjob-\w+"), "JOB"),
    (re.compile(r"(file|upload|part)[-_]\w{8,}"), "BLOB"),
    (re.compile(r"step-\d+"), "STEP"),
    (re.compile(r"(?<=^adapters/)[0-9A-Za-z]{8}(?=/|$)"), "ADAPTER"),
    (re.compile(r"(UNFINISHED|STEP|ADAPTER)/.+"), r"\1/…"),
)
WRITE = re.compile(r"(insert into|update|delete from) (\w+)(?: set (.+?) where)?", re.I | re.S)


@dataclass(frozen=True)
class Point:
    """The `nth` write of this label in a process's life."""

    label: str
    nth: int = 1
    when: str = "before"  # or "after"; or "fill"


class Strikes:
    def __init__(self, data_dir: Path, trace: Path, point: Point | None, cut: bool) -> None:
        self._data_dir = data_dir.resolve()
        self._trace = os.open(trace, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        self._point = point
        self._cut = cut
        self._lock = threading.RLock()
        self._counts: Counter[str] = Counter()
        self._inside = threading.local()
        self._synced_files: dict[int, tuple[int, int]] = {}  # inode → size, time of change
        self._synced_names: dict[int, set[str]] = {}  # folder's inode → names that would survive
        self._is_dying = False
        self._note_all_synced()

    def place(self, path: Any, dir_fd: int | None = None) -> str | None:
        """A path within the data folder as labels have it; None if it is elsewhere."""
        if isinstance(path, int):
            path = os.readlink(f"/proc/self/fd/{path}")
        if dir_fd is not None:
            path = os.path.join(os.readlink(f"/proc/self/fd/{dir_fd}"), os.fspath(path))
        path = os.path.abspath(os.fspath(path))
        if not f"{path}/".startswith(f"{self._data_dir}/"):
            return None
        place = os.path.relpath(path, self._data_dir)
        if place.startswith(DATABASE):
            return None
        for pattern, name in NAMES:
            place = pattern.sub(name, place)
        return place

    @contextmanager
    def around(self, label: str | None) -> Iterator[None]:
        """One durable write. Those that it is made of (a tree's removal has many) count as well."""
        if label is None or self._is_dying:
            yield
            return
        with self._lock:
            os.write(self._trace, f"{label}\n".encode())
            self._counts[label] += 1
            is_ours = self._point is not None and (self._point.label, self._point.nth) == (
                label,
                self._counts[label],
            )
        if is_ours and self._point.when == "before":
            self.die()
        if is_ours and self._point.when == "fill":
            fill(self._data_dir)
            is_ours = False
        if label.startswith(NEEDS_ROOM) and self._is_full_by_word():
            raise OSError(errno.ENOSPC, "No space left on device")
        yield
        if is_ours:
            self.die()

    def _is_full_by_word(self) -> bool:
        return (self._data_dir / BALLAST).exists() and not os.path.ismount(self._data_dir)

    def die(self) -> None:
        """The end, here and now."""
        with self._lock:  # no other thread gets any further
            self._is_dying = True
            os.write(self._trace, b"STRUCK\n")
            if self._cut:
                self._lose_unsynced()
            os.kill(os.getpid(), signal.SIGKILL)
            signal.pause()

    def note_synced(self, fd: int) -> None:
        path = Path(os.readlink(f"/proc/self/fd/{fd}"))
        if path.is_dir():
            self._synced_names[path.stat().st_ino] = set(os.listdir(path))
        elif path.is_file():
            found = path.stat()
            self._synced_files[found.st_ino] = (found.st_size, found.st_mtime_ns)

    def _note_all_synced(self) -> None:
        """What an earlier process left is taken to have reached the disk by now."""
        for folder, _, names in os.walk(self._data_dir):
            self._synced_names[os.stat(folder).st_ino] = set(os.listdir(folder))
            for name in names:
                found = os.stat(os.path.join(folder, name))
                self._synced_files[found.st_ino] = (found.st_size, found.st_mtime_ns)

    def _lose_unsynced(self) -> None:
        for folder, folders, names in os.walk(self._data_dir):
            survivors = self._synced_names.get(os.stat(folder).st_ino, set())
            for name in [*folders, *names]:
                path = Path(folder, name)
                if name.startswith(DATABASE):
                    continue
                if name not in survivors:
                    shutil.rmtree(path) if path.is_dir() else path.unlink()
                elif path.is_file():
                    found = path.stat()
                    now = (found.st_size, found.st_mtime_ns)
                    if self._synced_files.get(found.st_ino) != now:
                        os.truncate(path, found.st_size // 2)
            folders[:] = [name for name in folders if name in survivors]


def fill(data_dir: Path) -> None:
    """Leaves no room on the disk."""
    with (data_dir / BALLAST).open("wb", buffering=0) as ballast, suppress(OSError):
        while os.path.ismount(data_dir):
            ballast.write(bytes(4096))


def make_room(data_dir: Path) -> None:
    (data_dir / BALLAST).unlink()


def watch(strikes: Strikes) -> None:
    """From now on every durable write of this process passes through `strikes`."""
    _wrap(os, "rename", lambda a, b, **_: _two(strikes, "rename", a, b), strikes)
    _wrap(os, "replace", lambda a, b, **_: _two(strikes, "rename", a, b), strikes)
    _wrap(os, "link", lambda a, b, **_: _two(strikes, "link", a, b), strikes)
    _wrap(os, "unlink", lambda a, **k: _one(strikes, "remove", a, k.get("dir_fd")), strikes)
    _wrap(os, "rmdir", lambda a, **k: _one(strikes, "remove", a, k.get("dir_fd")), strikes)
    _wrap(os, "fsync", lambda fd: _one(strikes, "sync", fd), strikes, strikes.note_synced)
    _wrap(shutil, "copyfile", lambda _, b, **__: _one(strikes, "copy", b), strikes)
    _wrap(Path, "write_text", lambda path, *_, **__: _one(strikes, "write", path), strikes)
    _wrap(Path, "write_bytes", lambda path, *_, **__: _one(strikes, "write", path), strikes)
    _wrap(
        safetensors.torch,
        "serialize_file",
        lambda _, path, **__: _one(strikes, "save", path),
        strikes,
    )
    blobs = strikes._data_dir / "blobs"
    _wrap(obstore, "put", lambda _, key, *__, **___: _one(strikes, "put", blobs / key), strikes)
    _wrap(obstore, "delete", lambda _, key: _one(strikes, "delete", blobs / key), strikes)
    _watch_commits(strikes)


def _one(strikes: Strikes, verb: str, path: Any, dir_fd: int | None = None) -> str | None:
    place = strikes.place(path, dir_fd)
    return place and f"{verb} {place}"


def _two(strikes: Strikes, verb: str, source: Any, target: Any) -> str | None:
    target_place = strikes.place(target)
    return target_place and f"{verb} {strikes.place(source)} -> {target_place}"


def _wrap(
    owner: Any,
    name: str,
    label: Callable[..., str | None],
    strikes: Strikes,
    afterwards: Callable[..., None] = lambda *_: None,
) -> None:
    original = getattr(owner, name)

    def wrapped(*args: Any, **kwargs: Any) -> Any:
        with strikes.around(label(*args, **kwargs)):
            result = original(*args, **kwargs)
            afterwards(*args)
            return result

    setattr(owner, name, wrapped)


def _watch_commits(strikes: Strikes) -> None:
    written: dict[int, list[str]] = {}  # connection → what its transaction wrote

    def note(_connection: Any, cursor: Any, statement: str, *_: Any) -> None:
        found = WRITE.match(statement)
        if found is None:
            return
        verb, table, changes = found.groups()
        columns = sorted(set(re.findall(r"(\w+)\s*=", changes or "")))
        what = f"{verb.split()[0].lower()} {table}" + (f"({','.join(columns)})" if columns else "")
        told = written.setdefault(id(cursor.connection), [])
        if what not in told:
            told.append(what)

    event.listen(Engine, "before_cursor_execute", note)
    commit, rollback = DefaultDialect.do_commit, DefaultDialect.do_rollback

    def do_commit(self: Any, connection: Any) -> None:
        told = written.pop(id(connection.driver_connection), None)
        with strikes.around("commit " + ", ".join(told) if told else None):
            commit(self, connection)

    def do_rollback(self: Any, connection: Any) -> None:
        written.pop(id(connection.driver_connection), None)
        rollback(self, connection)

    DefaultDialect.do_commit, DefaultDialect.do_rollback = do_commit, do_rollback  # type: ignore[method-assign]
