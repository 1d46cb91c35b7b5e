import hashlib
import io
import os
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tunesmith.domain import errors
from tunesmith.store.blobs import Blobs, file_blob_key

MEBIBYTE = 2**20

PUT_ZEROS = """
import io, resource, sys
from pathlib import Path
from tunesmith.store.blobs import Blobs

class Zeros(io.RawIOBase):
    left = int(sys.argv[2])
    def readable(self):
        return True
    def readinto(self, buffer):
        length = min(len(buffer), self.left)
        buffer[:length] = bytes(length)
        self.left -= length
        return length

blobs = Blobs(Path(sys.argv[1]))
blobs.put_bytes("files/small", b"x")
def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
before = peak()
assert blobs.put_file("files/big", Zeros()) == int(sys.argv[2])
assert sum(map(len, blobs.stream("files/big"))) == int(sys.argv[2])
with blobs.open("files/big") as file:
    while file.read(2**16):
        pass
blobs.join("files/twice", ["files/big", "files/big"])
print(peak() - before)
"""


@pytest.fixture(scope="module")
def blobs(tmp_path_factory: pytest.TempPathFactory) -> Blobs:
    return Blobs(tmp_path_factory.mktemp("data") / "blobs")


class Failing(io.BytesIO):
    """A client whose connection breaks after 9 MiB."""

    def read(self, size: int | None = -1) -> bytes:
        if self.tell() >= 9 * MEBIBYTE:
            raise OSError("connection lost")
        return super().read(size)


@settings(max_examples=30, deadline=None)
@given(content=st.binary(max_size=3000), chunk_bytes=st.integers(1, 1000))
def test_what_goes_in_comes_out(blobs: Blobs, content: bytes, chunk_bytes: int) -> None:
    assert blobs.put_bytes("files/a", content) == len(content)
    assert blobs.size("files/a") == len(content)
    assert b"".join(blobs.stream("files/a", chunk_bytes)) == content
    with blobs.open("files/a") as file:
        assert file.read() == content


def test_blob_of_several_parts_comes_out_whole(blobs: Blobs) -> None:
    content = os.urandom(10 * MEBIBYTE + 17)
    assert blobs.put_file("files/parts", io.BytesIO(content)) == len(content)
    assert b"".join(blobs.stream("files/parts")) == content
    with blobs.open("files/parts") as file:
        assert file.read() == content


def test_joined_blobs_are_one_after_the_other_with_their_md5(blobs: Blobs) -> None:
    parts = [os.urandom(size) for size in (5 * MEBIBYTE + 3, 0, 1, 4 * MEBIBYTE)]
    for number, part in enumerate(parts):
        blobs.put_bytes(f"parts/{number}", part)
    content = b"".join(parts)
    digest = blobs.join("files/joined", (f"parts/{number}" for number in range(4)))
    assert digest == hashlib.md5(content, usedforsecurity=False).hexdigest()
    assert b"".join(blobs.stream("files/joined")) == content
    assert blobs.join("files/nothing", []) == "d41d8cd98f00b204e9800998ecf8427e"
    assert blobs.size("files/nothing") == 0


def test_join_without_one_of_its_parts_leaves_nothing(tmp_path: Path) -> None:
    blobs = Blobs(tmp_path)
    blobs.put_bytes("parts/big", bytes(9 * MEBIBYTE))
    with pytest.raises(errors.NotFound):
        blobs.join("files/joined", ["parts/big", "parts/none"])
    assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == ["big"]


def test_put_begins_where_the_source_stands(blobs: Blobs) -> None:
    source = io.BytesIO(b"already read, the rest")
    source.seek(13)
    blobs.put_file("files/rest", source)
    assert b"".join(blobs.stream("files/rest")) == b" the rest"


@given(data=st.data())
@settings(max_examples=50, deadline=None)
def test_reader_is_like_a_file(blobs: Blobs, data: st.DataObject) -> None:
    content = b"".join(b"line %d\n" % number for number in range(200))
    blobs.put_bytes("files/lines", content)
    expected = io.BytesIO(content)
    with blobs.open("files/lines") as file:
        for _ in range(10):
            offset, whence = data.draw(
                st.sampled_from([(0, 0), (700, 0), (3, 1), (-9, 2), (50, 2), (0, 1)])
            )
            assert file.seek(offset, whence) == expected.seek(offset, whence)
            size = data.draw(st.integers(-1, 2000))
            assert file.read(size) == expected.read(size)
        assert file.seek(0) == 0
        assert list(file) == content.splitlines(keepends=True)


def test_seek_before_the_start_is_refused(blobs: Blobs) -> None:
    blobs.put_bytes("files/a", b"abc")
    with blobs.open("files/a") as file, pytest.raises(ValueError, match="before the start"):
        file.seek(-4, io.SEEK_END)


def test_broken_upload_leaves_no_blob(blobs: Blobs) -> None:
    with pytest.raises(OSError, match=r"whole buffer|connection lost"):
        blobs.put_file("files/broken", Failing(bytes(20 * MEBIBYTE)))
    assert not blobs.exists("files/broken")


def test_missing_blob_is_not_found(blobs: Blobs) -> None:
    with pytest.raises(errors.NotFound):
        blobs.open("files/none")
    with pytest.raises(errors.NotFound):
        blobs.stream("files/none")
    with pytest.raises(errors.NotFound):
        blobs.size("files/none")
    assert not blobs.exists("files/none")


def test_blob_deleted_under_its_reader_is_not_found(blobs: Blobs) -> None:
    blobs.put_bytes("files/going", bytes(3 * MEBIBYTE))
    with blobs.open("files/going") as file:
        file.read(10)
        blobs.delete("files/going")
        with pytest.raises(errors.NotFound):
            file.read()


def test_delete_can_be_repeated(blobs: Blobs) -> None:
    blobs.put_bytes("files/twice", b"x")
    blobs.delete("files/twice")
    blobs.delete("files/twice")
    assert not blobs.exists("files/twice")


@pytest.mark.parametrize(
    "key", ["../x", "files/../../x", "/etc/passwd", "files/a b", "a", "", "files/é"]
)
def test_key_that_is_not_ours_is_refused(blobs: Blobs, key: str) -> None:
    with pytest.raises(AssertionError, match="not a blob key"):
        blobs.put_bytes(key, b"x")
    with pytest.raises(AssertionError, match="not a blob key"):
        blobs.open(key)


def test_key_of_a_file_is_its_id() -> None:
    assert file_blob_key("file-Ab1") == "files/file-Ab1"


def test_big_blob_passes_through_little_memory(tmp_path: Path) -> None:
    """128 MiB in and out within 48 MiB more than at rest. A false pass would need a machine
    that reports no peak memory."""
    run = subprocess.run(
        [sys.executable, "-c", PUT_ZEROS, str(tmp_path), str(128 * MEBIBYTE)],
        capture_output=True,
        text=True,
        check=True,
    )
    assert int(run.stdout) < 48 * MEBIBYTE


def test_staged_rest_of_a_dead_writer_is_removed_when_old(tmp_path: Path) -> None:
    blobs = Blobs(tmp_path)
    blobs.put_bytes("files/whole", b"x")
    for name, age_s in [("dead#1", 7200), ("alive#1", 5)]:
        path = tmp_path / "files" / name
        path.write_bytes(b"half")
        os.utime(path, (time.time() - age_s,) * 2)
    blobs.delete_staged(min_age_s=3600)
    assert sorted(path.name for path in (tmp_path / "files").iterdir()) == ["alive#1", "whole"]


def test_only_whole_blobs_are_listed(tmp_path: Path) -> None:
    blobs = Blobs(tmp_path)
    blobs.put_bytes("files/whole", b"x")
    (tmp_path / "files" / "half#1").write_bytes(b"x")
    later = datetime.now(UTC) + timedelta(hours=1)
    assert list(blobs.written_before(later)) == ["files/whole"]
    assert list(blobs.written_before(later - timedelta(hours=2))) == []
