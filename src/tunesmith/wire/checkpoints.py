"""A job's checkpoints on the wire (behaviour reference, section 7.1)."""

from typing import Literal

from tunesmith.domain.jobs import Checkpoint
from tunesmith.domain.pages import Page
from tunesmith.wire.base import IdentifiedListReply, Reply, unix_seconds


class CheckpointReply(Reply):
    object: Literal["fine_tuning.job.checkpoint"] = "fine_tuning.job.checkpoint"
    id: str
    created_at: int
    fine_tuned_model_checkpoint: str
    fine_tuning_job_id: str
    step_number: int
    metrics: dict[str, float]  # what was not measured is left out


class CheckpointListReply(IdentifiedListReply[CheckpointReply]):
    pass


def checkpoint_reply(checkpoint: Checkpoint) -> CheckpointReply:
    return CheckpointReply(
        id=checkpoint.id,
        created_at=unix_seconds(checkpoint.created_at),
        fine_tuned_model_checkpoint=checkpoint.model_name,
        fine_tuning_job_id=checkpoint.job_id,
        step_number=checkpoint.step,
        metrics={"step": checkpoint.metrics.step, **checkpoint.metrics.measured()},
    )


def checkpoint_list_reply(page: Page[Checkpoint]) -> CheckpointListReply:
    items = [checkpoint_reply(checkpoint) for checkpoint in page.items]
    return CheckpointListReply.of(items, [item.id for item in items], page.has_more)
