"""Rows on disk are the rows that were rendered."""

from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tunesmith.datasets.render import Row
from tunesmith.datasets.rows import RowFile, RowWriter, packed

TOKENS = st.integers(0, 2**31 - 1)
WEIGHTS = st.sampled_from([0.0, 1.0]) | st.floats(0, 1, width=32)
ROWS = st.lists(st.tuples(TOKENS, WEIGHTS), max_size=20).map(
    lambda pairs: Row([token for token, _ in pairs], [weight for _, weight in pairs])
)
EXAMPLES = st.lists(st.lists(ROWS, min_size=1, max_size=3), max_size=8)


def write(folder: Path, examples: Sequence[Sequence[Row]]) -> None:
    with RowWriter(folder) as writer:
        for rows in examples:
            writer.add(packed(rows))


@given(EXAMPLES)
def test_what_is_read_is_what_was_written(examples: list[list[Row]]) -> None:
    with TemporaryDirectory() as name:
        folder = Path(name)
        write(folder, examples)
        with closing(RowFile(folder)) as found:
            assert len(found) == len(examples)
            assert list(found) == examples
            assert [found[-n] for n in range(1, len(found) + 1)] == examples[::-1]
            assert found[1:3] == examples[1:3]


def test_an_index_beyond_the_end_is_an_error(tmp_path: Path) -> None:
    write(tmp_path, [[Row([1], [1.0])]])
    with closing(RowFile(tmp_path)) as found:
        for index in (1, -2):
            with pytest.raises(IndexError):
                found[index]
