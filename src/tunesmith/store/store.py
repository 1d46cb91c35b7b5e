"""The store: everything that must survive, behind one object.

    .files .uploads .jobs .fine_tunes .events       named queries over the rows
    .checkpoints .tuned_models .permissions .tenants .stored_completions
    .blobs                                          bytes under keys of our own

All calls are plain and blocking; they may come from any thread and any number of processes at
once. Each is one short transaction. Begin with `jobs.py`, the rest follows from it.
"""

from pathlib import Path

from sqlalchemy import URL

from tunesmith.domain.ids import Ids
from tunesmith.store.answered import AnsweredRequests
from tunesmith.store.blobs import Blobs
from tunesmith.store.checkpoints import Checkpoints
from tunesmith.store.database import Clock, Database
from tunesmith.store.events import Events
from tunesmith.store.files import Files
from tunesmith.store.fine_tunes import FineTunes
from tunesmith.store.jobs import Jobs
from tunesmith.store.permissions import Permissions
from tunesmith.store.schema import migrate
from tunesmith.store.stored_completions import StoredCompletions
from tunesmith.store.tenants import Tenants
from tunesmith.store.tuned_models import TunedModels
from tunesmith.store.uploads import Uploads


class Store:
    def __init__(
        self,
        database: Database,
        blobs: Blobs,
        ids: Ids,
        clock: Clock,
        max_active_jobs: int | None = None,
    ) -> None:
        self._database = database
        self.blobs = blobs
        self.answered = AnsweredRequests(database, clock)
        self.files = Files(database, blobs, clock)
        self.uploads = Uploads(database, blobs, ids, clock)
        self.jobs = Jobs(database, blobs, ids, clock, max_active_jobs)
        self.fine_tunes = FineTunes(database, clock)
        self.events = Events(database)
        self.checkpoints = Checkpoints(database)
        self.tuned_models = TunedModels(database)
        self.permissions = Permissions(database, ids, clock)
        self.stored_completions = StoredCompletions(database, clock)
        self.tenants = Tenants(database, ids, clock)

    def close(self) -> None:
        """Closes the connections to the database."""
        self._database.close()


def open_store(
    data_dir: Path,
    database_url: str | None = None,
    *,
    ids: Ids,
    clock: Clock,
    max_active_jobs: int | None = None,
) -> Store:
    """The store of a data directory, which is made if it isn't there, brought up to date.

    Without a URL, rows are in `<data_dir>/tunesmith.db`. Blobs are in `<data_dir>/blobs`. An
    organisation has at most `max_active_jobs` on one base model that have not ended.
    """
    data_dir = data_dir.resolve()  # the process may change its folder later
    data_dir.mkdir(parents=True, exist_ok=True)
    in_data_dir = URL.create("sqlite", database=str(data_dir / "tunesmith.db"))
    database = Database(database_url or in_data_dir)
    migrate(database)
    return Store(database, Blobs(data_dir / "blobs"), ids, clock, max_active_jobs)
