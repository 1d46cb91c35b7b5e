"""A bench for jobs that are interrupted, one for all tests of a process."""

from collections.abc import Iterator
from contextlib import closing

import pytest

from tests.crash.parts import Launcher, launcher
from tests.crash.training import IDS, SETTINGS, Bench, Outcome, furnish, now
from tests.server import listening
from tunesmith.store.store import open_store


@pytest.fixture(scope="session")
def parts(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Launcher]:
    """Starts workers and APIs; say on which data folder. APIs share one address."""
    with (
        closing(listening()) as listener,
        launcher(tmp_path_factory.mktemp("parts"), listener, SETTINGS) as parts,
    ):
        yield parts


@pytest.fixture(autouse=True)
def log_of_parts(parts: Launcher) -> Iterator[None]:
    """Of the parts that this test started: printed when it fails."""
    before = parts.log.stat().st_size
    yield
    print(parts.log.read_text()[before:])


@pytest.fixture(scope="session")
def bench(parts: Launcher, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    data_dir = tmp_path_factory.mktemp("crash-data")
    furnish(data_dir)
    with closing(open_store(data_dir, ids=IDS, clock=now)) as store:
        caller = store.tenants.ensure_first("local", "sk-tunesmith-crash")
        yield Bench(parts.on(data_dir), store, caller.scope)


@pytest.fixture(scope="session")
def undisturbed(bench: Bench) -> tuple[Outcome, list[str]]:
    """What a job leaves that nobody disturbs, and the labels of its worker's durable writes."""
    job_id = bench.create_job()
    (worker,) = bench.run(job_id)
    outcome = bench.outcome(job_id)
    bench.check_steps(outcome)
    bench.check_nothing_is_left_over()
    return outcome, worker.labels()
