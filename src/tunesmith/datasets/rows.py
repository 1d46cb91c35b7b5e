"""Rendered rows on disk: as many as there are, in little memory.

    rows.bin    per example: number of rows, their lengths, all token ids, all loss weights
    ends.bin    where each example ends in rows.bin

`RowFile` is a sequence for the training loop that reads an example when it is asked for. It reads
instead of mapping the files: what is mapped counts as the process's memory once it was touched,
and a file that loses its end would kill the trainer instead of raising an error.
"""

import os
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Self, overload

import numpy as np

from tunesmith.datasets.render import Row

ROWS_FILE, ENDS_FILE = "rows.bin", "ends.bin"
TOKEN, WEIGHT, LENGTH, PLACE = (np.dtype(name) for name in ("<i4", "<f4", "<i4", "<i8"))
BUFFER_BYTES = 2**20


class RowWriter:
    """Writes the two files in `folder`; whole when closed, and the folder is the caller's."""

    def __init__(self, folder: Path) -> None:
        self._rows = (folder / ROWS_FILE).open("wb", buffering=BUFFER_BYTES)
        self._ends = (folder / ENDS_FILE).open("wb", buffering=BUFFER_BYTES)
        self._end = 0

    def add(self, content: bytes) -> None:
        """The rows of one example, packed."""
        self._rows.write(content)
        self._end += len(content)
        self._ends.write(np.array(self._end, PLACE).tobytes())

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._rows.close()
        self._ends.close()


class RowFile(Sequence[list[Row]]):
    """The examples of a folder that a RowWriter filled; to be closed."""

    def __init__(self, folder: Path) -> None:
        self._rows = os.open(folder / ROWS_FILE, os.O_RDONLY)
        self._ends = os.open(folder / ENDS_FILE, os.O_RDONLY)
        self._length = os.fstat(self._ends).st_size // PLACE.itemsize

    def close(self) -> None:
        os.close(self._rows)
        os.close(self._ends)

    def __len__(self) -> int:
        return self._length

    @overload
    def __getitem__(self, index: int) -> list[Row]: ...
    @overload
    def __getitem__(self, index: slice) -> list[list[Row]]: ...
    def __getitem__(self, index: int | slice) -> list[Row] | list[list[Row]]:
        if isinstance(index, slice):
            return [self[one] for one in range(*index.indices(self._length))]
        place = range(self._length)[index]  # IndexError, and indices from the end
        start, end = self._span(place)
        return unpacked(os.pread(self._rows, end - start, start))

    def _span(self, place: int) -> tuple[int, int]:
        """Where an example begins and ends; it begins where the one before it ends."""
        if place == 0:
            return 0, int(np.frombuffer(os.pread(self._ends, PLACE.itemsize, 0), PLACE)[0])
        found = os.pread(self._ends, 2 * PLACE.itemsize, (place - 1) * PLACE.itemsize)
        start, end = np.frombuffer(found, PLACE).tolist()
        return start, end


def packed(rows: Sequence[Row]) -> bytes:
    """An example's rows as rows.bin has them."""
    lengths = [len(row.token_ids) for row in rows]
    return b"".join(
        [
            np.array([len(rows), *lengths], LENGTH).tobytes(),
            *(np.asarray(row.token_ids, TOKEN).tobytes() for row in rows),
            *(np.asarray(row.loss_weights, WEIGHT).tobytes() for row in rows),
        ]
    )


def unpacked(content: bytes) -> list[Row]:
    num_rows = int(np.frombuffer(content, LENGTH, count=1)[0])
    lengths = np.frombuffer(content, LENGTH, count=num_rows, offset=LENGTH.itemsize)
    ends: list[int] = np.cumsum(lengths).tolist()
    start = LENGTH.itemsize * (1 + num_rows)
    token_ids = np.frombuffer(content, TOKEN, count=ends[-1], offset=start)
    weights = np.frombuffer(content, WEIGHT, offset=start + token_ids.nbytes)
    return [
        Row(token_ids[end - length : end].tolist(), weights[end - length : end].tolist())
        for length, end in zip(lengths.tolist(), ends, strict=True)
    ]
