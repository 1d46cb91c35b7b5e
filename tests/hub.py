"""A model hub on this machine: the part of the protocol that a download needs.

    GET  /api/models/{repository}/revision/{revision}      commit, files, sizes, hashes
    HEAD /{repository}/resolve/{revision}/{file}           commit and hash of a file
    GET  the same                                          its bytes, from where a Range says

Files of weights lie elsewhere: the hub redirects to another host (`localhost` instead of
`127.0.0.1`), and whoever follows must leave the token behind. The service under test runs in
another process and finds this hub by HF_ENDPOINT.
"""

import hashlib
import json
import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

TOKEN = "hf_the-right-one"
CHUNK_BYTES = 4096


@dataclass
class Hub:
    """What the hub holds, and how it misbehaves."""

    repositories: dict[str, Path]
    url: str = ""
    commit: str = "0" * 39 + "1"
    is_gated: bool = False  # files only for those who bring TOKEN
    breaks_off: int = 0  # so many answers with weights end in the middle
    is_damaged: bool = False  # weights arrive with another content
    claimed_bytes: int | None = None  # what it says the weights' size is
    chunk_pause_s: float = 0.0
    asked: list[tuple[str, str]] = field(default_factory=list)  # method and path, in order
    tokens_abroad: list[str] = field(default_factory=list)  # that reached the other host

    def environment(self, home: Path, **more: str) -> dict[str, str]:
        """For a process that is to use this hub."""
        kept = {name: os.environ[name] for name in ("PATH", "LANG") if name in os.environ}
        return {**kept, "HOME": str(home), "HF_ENDPOINT": self.url, **more}

    def fetched(self) -> list[str]:
        """The names of the files that somebody got bytes of."""
        return [path.rpartition("/")[2] for method, path in self.asked if is_of_bytes(method, path)]


def is_of_bytes(method: str, path: str) -> bool:
    return method == "GET" and ("/resolve/" in path or path.startswith("/elsewhere/"))


@contextmanager
def running_hub(repositories: dict[str, Path]) -> Iterator[Hub]:
    hub = Hub(repositories)

    class Handler(_Handler):
        state = hub

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    hub.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, args=[0.02])
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


class _Handler(BaseHTTPRequestHandler):
    state: Hub
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None:
        pass

    def do_HEAD(self) -> None:
        self._answer()

    def do_GET(self) -> None:
        self._answer()

    def _answer(self) -> None:
        path = self.path.partition("?")[0]
        self.state.asked.append((self.command, path))
        words = path.strip("/").split("/")
        if words[:2] == ["api", "models"] and words[4:5] == ["revision"]:
            self._listing("/".join(words[2:4]), words[5])
        elif words[0] == "elsewhere":
            if "authorization" in self.headers:
                self.state.tokens_abroad.append(self.headers["authorization"])
            self._bytes(self.state.repositories["/".join(words[1:3])] / words[3])
        elif words[2:3] == ["resolve"]:
            self._resolve("/".join(words[:2]), words[4])
        else:
            self._refuse(404, "unknown")

    def _listing(self, repository: str, revision: str) -> None:
        folder = self.state.repositories.get(repository)
        if folder is None:
            return self._refuse(401, "RepoNotFound")
        if revision not in ("main", self.state.commit):
            return self._refuse(404, "RevisionNotFound")
        files = [_sibling(path, self.state.claimed_bytes) for path in sorted(folder.iterdir())]
        listing = {"id": repository, "sha": self.state.commit, "siblings": files, "tags": []}
        return self._whole(200, json.dumps(listing).encode(), {"content-type": "application/json"})

    def _resolve(self, repository: str, name: str) -> None:
        if self.state.is_gated and self.headers.get("authorization") != f"Bearer {TOKEN}":
            return self._refuse(403, "GatedRepo")
        path = self.state.repositories[repository] / name
        if not path.is_file():
            return self._refuse(404, "EntryNotFound")
        about = {"X-Repo-Commit": self.state.commit, "ETag": f'"{_hash(path)}"'}
        if not _is_large(path):
            return self._bytes(path, about)
        port = self.server.server_address[1]
        about |= {
            "X-Linked-Etag": f'"{_hash(path)}"',
            "X-Linked-Size": str(path.stat().st_size),
            "Location": f"http://localhost:{port}/elsewhere/{repository}/{name}",
        }
        return self._whole(302, b"", about)

    def _bytes(self, path: Path, headers: dict[str, str] | None = None) -> None:
        content = path.read_bytes()
        if self.state.is_damaged and _is_large(path):
            content = content[:-1] + bytes([content[-1] ^ 1])
        begin = int(self.headers.get("range", "bytes=0-").removeprefix("bytes=").rstrip("-"))
        if begin:
            spans = {"content-range": f"bytes {begin}-{len(content) - 1}/{len(content)}"}
            return self._whole(206, content[begin:], spans)
        return self._whole(200, content, headers or {}, breaks_off=_is_large(path))

    def _whole(
        self, status: int, body: bytes, headers: dict[str, str], breaks_off: bool = False
    ) -> None:
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command == "HEAD":
            return
        if breaks_off and self.state.breaks_off:
            self.state.breaks_off -= 1
            body = body[: len(body) // 2]
            self.close_connection = True
        for begin in range(0, len(body), CHUNK_BYTES):
            self.wfile.write(body[begin : begin + CHUNK_BYTES])
            time.sleep(self.state.chunk_pause_s if breaks_off else 0)

    def _refuse(self, status: int, code: str) -> None:
        self._whole(status, b"{}", {"X-Error-Code": code})


def _sibling(path: Path, claimed_bytes: int | None) -> dict[str, Any]:
    size = path.stat().st_size
    if _is_large(path):
        size = claimed_bytes or size
        return {
            "rfilename": path.name,
            "size": size,
            "lfs": {"size": size, "sha256": _hash(path), "pointerSize": 130},
        }
    return {"rfilename": path.name, "size": size, "blobId": _hash(path)}


def _is_large(path: Path) -> bool:
    return path.suffix in (".safetensors", ".bin")


def _hash(path: Path) -> str:
    """As git and its storage for large files name contents."""
    content = path.read_bytes()
    if _is_large(path):
        return hashlib.sha256(content).hexdigest()
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()
