"""A bench for jobs that are interrupted, one for all tests of a process."""

from collections.abc import Iterator
from contextlib import closing

import pytest

from tests.crash.parts import launcher
from tests.crash.training import IDS, SETTINGS, Bench, Outcome, furnish, now
from tunesmith.store.store import open_store


@pytest.fixture(scope="session")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    data_dir = tmp_path_factory.mktemp("crash-data")
    furnish(data_dir)
    with (
        closing(open_store(data_dir, ids=IDS, clock=now)) as store,
        launcher(data_dir, tmp_path_factory.mktemp("crash"), SETTINGS) as parts,
    ):
        caller = store.tenants.ensure_first("local", "sk-tunesmith-crash")
        try:
            yield Bench(parts, store, caller.scope)
        finally:
            print(parts.log.read_text()[-20_000:])
