"""Checkpoints: everything needed to go on, in one folder, written whole or not at all.

    run folder/
    ├── step-00000040/              40 optimiser steps are done
    │   ├── adapter/                PEFT's format; what gets published
    │   ├── optimizer.safetensors   running moments, by parameter
    │   └── state.json              LoopState, plan, and the size of each file
    └── .unfinished-x1y2z3/         a write that a crash cut off; swept away at the next start

There is one kind of folder. Those at an epoch's end stay as the job's checkpoints, the last few
of them; any other is a snapshot that only the newest of is kept. No random generator is stored:
nothing in the loop draws from one. The LoRA weights were drawn before the first step, and the
order of the examples is a function of seed and epoch, so `step` is the data position too.
"""

import json
import logging
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

from safetensors.torch import load_file, save_file
from torch import Tensor

from tunesmith.adapters.files import load_adapter, save_adapter
from tunesmith.disk import remove_whole, sizes_of, sweep_unfinished, sync, written_whole
from tunesmith.domain.plan import TrainingPlan
from tunesmith.modeling.decoder import Decoder
from tunesmith.modeling.lora import LoraAdapter
from tunesmith.training.optimizer import AdamW
from tunesmith.training.progress import ADAPTER_FOLDER

_STEP_PREFIX = "step-"
_OPTIMIZER_FILE = "optimizer.safetensors"
_STATE_FILE = "state.json"

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class LoopState:
    """Where the loop stands, and what its last step measured: after a resume that step is
    validated and reported once more, in case the crash came before the report."""

    step: int = 0  # optimiser steps done
    train_loss: float = 0.0  # of that step
    train_mean_token_accuracy: float = 0.0  # of that step
    train_sequence_accuracy: float = 0.0  # of that step
    num_tokens: int = 0  # of that step
    elapsed_s: float = 0.0  # of that step
    train_preference: Mapping[str, float] = field(default_factory=dict)  # of that step
    elapsed_tokens: int = 0  # of all steps up to that one


@dataclass(frozen=True)
class SavedRun:
    """What `read_newest` finds."""

    state: LoopState
    adapter: LoraAdapter
    moments: dict[str, Tensor]  # for `AdamW.load`


def write(
    run_folder: Path,
    state: LoopState,
    plan: TrainingPlan,
    adapter: LoraAdapter,
    optimizer: AdamW,
    base_model: str,
) -> Path:
    """Put a checkpoint on disk, prune older ones, and give its folder.

    It appears under its name by one rename, after its bytes have reached the disk. One of the
    same step that is there already stays as it is.
    """
    folder = run_folder / f"{_STEP_PREFIX}{state.step:08}"
    if not folder.exists():
        with written_whole(folder) as unfinished:
            save_adapter(unfinished / ADAPTER_FOLDER, adapter, base_model)
            save_file(optimizer.tensors(), unfinished / _OPTIMIZER_FILE)
            sizes = sizes_of(unfinished, without=_STATE_FILE)
            contents = {"state": asdict(state), "plan": plan.to_json(), "sizes": sizes}
            (unfinished / _STATE_FILE).write_text(json.dumps(contents, indent=1, allow_nan=False))
    _prune(run_folder, plan)
    return folder


def read_newest(run_folder: Path, plan: TrainingPlan, base: Decoder) -> SavedRun | None:
    """What is needed to go on from the newest checkpoint; None if there is none. After `prepare`:
    all checkpoints are taken to be whole."""
    folders = _folders(run_folder)
    if not folders:
        return None
    contents = json.loads((folders[-1] / _STATE_FILE).read_text())
    assert TrainingPlan.from_json(contents["plan"]) == plan, (
        f"{run_folder} holds a run with another plan; each job needs its own run folder"
    )
    return SavedRun(
        LoopState(**contents["state"]),
        load_adapter(folders[-1] / ADAPTER_FOLDER, base.shape, base.device),
        load_file(folders[-1] / _OPTIMIZER_FILE, device=str(base.device)),
    )


def prepare(run_folder: Path) -> None:
    """Make the folder, for good, and remove what a crash left in it half written or half removed,
    and what no longer is whole."""
    run_folder.mkdir(parents=True, exist_ok=True)
    for parent in run_folder.parents[:2]:
        sync(parent)
    sweep_unfinished(run_folder)
    for folder in _folders(run_folder):
        if not _is_whole(folder):
            _log.warning("removing the damaged checkpoint %s", folder)
            remove_whole(folder)


def _prune(run_folder: Path, plan: TrainingPlan) -> None:
    folders = _folders(run_folder)
    ends = [
        folder for folder in folders if _step(folder) and not _step(folder) % plan.steps_per_epoch
    ]
    kept = {folders[-1], *ends[-plan.kept_checkpoints :]}
    for folder in folders:
        if folder not in kept:
            remove_whole(folder)


def _folders(run_folder: Path) -> list[Path]:
    """All checkpoints, whole or not, oldest first."""
    return sorted(run_folder.glob(f"{_STEP_PREFIX}*"))


def _step(folder: Path) -> int:
    return int(folder.name.removeprefix(_STEP_PREFIX))


def _is_whole(folder: Path) -> bool:
    """Whether every file that was written is there, at its length. The rename makes sure of
    that; this is for disks that lose what they promised to keep."""
    try:
        sizes: object = json.loads((folder / _STATE_FILE).read_text())["sizes"]
    except (OSError, ValueError, KeyError):
        return False
    return sizes_of(folder, without=_STATE_FILE) == sizes
