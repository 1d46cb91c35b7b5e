"""Checkpoints of jobs. They are written by `jobs.add_checkpoint`, under the job's lease."""

from sqlalchemy import Connection, delete, insert, select

from tunesmith.domain.jobs import Checkpoint
from tunesmith.domain.models import TunedModel
from tunesmith.domain.pages import Page
from tunesmith.store import tables
from tunesmith.store.database import Database
from tunesmith.store.rows import fetch_page, from_row, to_row


class Checkpoints:
    """The job's id is the key to its checkpoints: find the job in the caller's scope first."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def page(self, job_id: str, *, limit: int, after: str | None = None) -> Page[Checkpoint]:
        """Highest step first. InvalidRequest if `after` is no checkpoint of this job."""
        with self._database.read() as connection:
            return fetch_page(
                connection,
                Checkpoint,
                tables.checkpoints,
                tables.checkpoints.c.job_id == job_id,
                order=(tables.checkpoints.c.step,),
                limit=limit,
                after=after,
            )


def write_checkpoint(connection: Connection, checkpoint: Checkpoint, tuned: TunedModel) -> None:
    """The checkpoint and the model that it can be called by, unless the step has one already."""
    ours = tables.checkpoints.c
    of_step = select(ours.id).where(ours.job_id == checkpoint.job_id, ours.step == checkpoint.step)
    if connection.execute(of_step).first() is None:
        connection.execute(insert(tables.checkpoints).values(to_row(checkpoint)))
        connection.execute(insert(tables.tuned_models).values(to_row(tuned)))


def prune_checkpoints(connection: Connection, job_id: str, keep: int) -> list[Checkpoint]:
    """Removes all but the `keep` highest steps, rows and names; gives back what went."""
    ours = tables.checkpoints.c
    query = select(tables.checkpoints).where(ours.job_id == job_id).order_by(ours.step.desc())
    rows = connection.execute(query).mappings().all()[keep:]
    removed = [from_row(Checkpoint, row) for row in rows]
    names = [checkpoint.model_name for checkpoint in removed]
    if removed:
        connection.execute(
            delete(tables.checkpoints).where(ours.id.in_([one.id for one in removed]))
        )
        connection.execute(delete(tables.tuned_models).where(tables.tuned_models.c.name.in_(names)))
    return removed
