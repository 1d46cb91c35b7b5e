"""A real store in a temporary folder, with a clock that stands still until it is told to move."""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.unit.store.builders import FixedClock
from tunesmith.domain.ids import Ids
from tunesmith.store.store import Store, open_store


@pytest.fixture
def clock() -> FixedClock:
    return FixedClock()


@pytest.fixture(scope="session")
def migrated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder with an empty, migrated database, to be copied: ten times faster than
    migrating anew for each test."""
    folder = tmp_path_factory.mktemp("migrated")
    open_store(folder, ids=Ids(), clock=FixedClock()).close()
    return folder


@pytest.fixture
def data_dir(tmp_path: Path, migrated: Path) -> Path:
    return Path(shutil.copytree(migrated, tmp_path / "data"))


@pytest.fixture
def open_again(data_dir: Path, clock: FixedClock) -> Iterator[Callable[[], Store]]:
    """Opens the same store again, as another process would."""
    opened: list[Store] = []

    def open_one() -> Store:
        opened.append(open_store(data_dir, ids=Ids(), clock=clock))
        return opened[-1]

    yield open_one
    for store in opened:
        store.close()


@pytest.fixture
def store(open_again: Callable[[], Store]) -> Store:
    return open_again()
