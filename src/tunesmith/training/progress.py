"""What the training loop says to the outside world, and what it may be told.

`report(Progress)` and `should_stop()` are the loop's only contacts with whoever runs it; see
`loop.py`.
"""

from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from tunesmith.domain.jobs import StepMetrics

ADAPTER_FOLDER = "adapter"


@dataclass(frozen=True)
class StepDone:
    """One optimiser step is behind us, and so are the validations due at it."""

    metrics: StepMetrics
    num_tokens: int  # in the rows of this step, prompts included
    elapsed_tokens: int  # in those of all steps up to this one, repeats counted
    elapsed_examples: int  # likewise
    elapsed_s: float  # of the step itself, without validation and files


@dataclass(frozen=True)
class SaveDue:
    """The state after `step` is about to be put on disk. After a crash training goes on from it,
    and only `step` itself is reported once more: keep what was reported before, durably, now."""

    step: int


@dataclass(frozen=True)
class CheckpointWritten:
    """An epoch ended and its checkpoint is on disk, whole. The folder stays for as long as the
    newest `plan.kept_checkpoints` epochs include it: copy the adapter if you need it longer."""

    step: int
    epoch: int  # 1-based: this many epochs are done
    folder: Path
    metrics: StepMetrics

    @property
    def adapter_folder(self) -> Path:
        """The adapter in PEFT's format, within `folder`."""
        return self.folder / ADAPTER_FOLDER


Progress = StepDone | SaveDue | CheckpointWritten


class StopRequest(Enum):
    """How to leave before the last step."""

    KEEP = "keep"  # write a checkpoint first: the job goes on later, here or elsewhere
    DROP = "drop"  # leave at once: the job is cancelled or no longer ours
