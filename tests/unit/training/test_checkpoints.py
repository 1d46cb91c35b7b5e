"""What a run leaves on disk: whole, few, and enough to go on."""

import itertools
import json
import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.unit.training.runs import make_examples, make_plan, run, stop_after
from tunesmith.modeling.decoder import Decoder
from tunesmith.training.progress import StopRequest

EXAMPLES = make_examples(6)  # 3 steps an epoch
PLAN = make_plan(EXAMPLES, n_epochs=5)
SHORT_PLAN = make_plan(EXAMPLES, n_epochs=1, batch_size=3, kept_checkpoints=1)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_finished_run_keeps_the_checkpoints_of_its_last_epochs(
    base: Decoder, tmp_path: Path
) -> None:
    run(PLAN, EXAMPLES, base, tmp_path)
    assert names(tmp_path) == ["step-00000009", "step-00000012", "step-00000015"]


def test_a_stopped_run_keeps_its_newest_snapshot_too(base: Decoder, tmp_path: Path) -> None:
    stop = stop_after(14, StopRequest.KEEP)
    run(PLAN, EXAMPLES, base, tmp_path, stop=stop, snapshot_interval_s=0.0)
    kept = ["step-00000006", "step-00000009", "step-00000012", "step-00000014"]
    assert names(tmp_path) == kept


def test_a_checkpoint_holds_adapter_optimizer_and_state_without_pickle(
    base: Decoder, tmp_path: Path
) -> None:
    run(PLAN, EXAMPLES, base, tmp_path)
    folder = tmp_path / "step-00000015"
    files = sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())
    assert files == [
        "adapter/adapter_config.json",
        "adapter/adapter_model.safetensors",
        "optimizer.safetensors",
        "state.json",
    ]
    assert json.loads((folder / "state.json").read_text())["plan"] == json.loads(
        json.dumps(PLAN.to_json())
    )


def test_a_reported_checkpoint_is_there_with_its_adapter(base: Decoder, tmp_path: Path) -> None:
    run(PLAN, EXAMPLES, base, tmp_path / "whole")
    record = run(PLAN, EXAMPLES, base, tmp_path / "run")
    assert [(item.step, item.epoch) for item in record.checkpoints] == [
        *[(3, 1), (6, 2), (9, 3), (12, 4), (15, 5)]
    ]
    assert record.checkpoints[-1].adapter_folder.is_dir()


def cut_off_state(folder: Path) -> None:
    (folder / "state.json").write_text((folder / "state.json").read_text()[:100])


def cut_off_adapter(folder: Path) -> None:
    path = folder / "adapter" / "adapter_model.safetensors"
    path.write_bytes(path.read_bytes()[:-1])


def lose_optimizer(folder: Path) -> None:
    (folder / "optimizer.safetensors").unlink()


def lose_everything(folder: Path) -> None:
    shutil.rmtree(folder)
    folder.mkdir()


def leave_under_temporary_name(folder: Path) -> None:
    folder.rename(folder.with_name(".unfinished-abc123"))


@pytest.mark.parametrize(
    "damage",
    [cut_off_state, cut_off_adapter, lose_optimizer, lose_everything, leave_under_temporary_name],
)
def test_a_write_cut_off_anywhere_leaves_the_checkpoint_before_it_usable(
    base: Decoder, tmp_path: Path, damage: Callable[[Path], None]
) -> None:
    """Stopped at step 4 with the checkpoint of step 3 beside; the newer one is then damaged."""
    whole = run(PLAN, EXAMPLES, base, tmp_path / "whole")
    folder = tmp_path / "run"
    run(PLAN, EXAMPLES, base, folder, stop=stop_after(4, StopRequest.KEEP))
    assert names(folder) == ["step-00000003", "step-00000004"]
    damage(folder / "step-00000004")

    resumed = run(PLAN, EXAMPLES, base, folder)
    assert [done.metrics.step for done in resumed.steps] == list(range(3, 16))
    assert resumed.adapter_bytes == whole.adapter_bytes
    assert names(folder) == ["step-00000009", "step-00000012", "step-00000015"]


# What Python tells its audit hooks about changes on disk.
CHANGES = {"tempfile.mkdtemp", "shutil.rmtree", "os.mkdir", "os.rename", "os.remove", "os.rmdir"}


def is_change(event: str, arguments: tuple[object, ...]) -> bool:
    return event in CHANGES or (event == "open" and "w" in str(arguments[1]))


def dies_before_change(number: int, base: Decoder, folder: Path) -> bool:
    """Train in a child process that ends, as if killed, right before change `number` on disk;
    False if it came to the end of its training first."""
    child = os.fork()
    if child == 0:
        changes = itertools.count(1)

        def hook(event: str, arguments: tuple[object, ...]) -> None:
            if is_change(event, arguments) and next(changes) == number:
                os._exit(9)

        sys.addaudithook(hook)
        run(SHORT_PLAN, EXAMPLES, base, folder, snapshot_interval_s=0.0)
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 9


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_killed_before_any_change_on_disk_training_goes_on_to_the_same_bits(
    base: Decoder, tmp_path: Path
) -> None:
    """Two snapshots, a checkpoint and the pruning of all but the last, at every place."""
    whole = run(SHORT_PLAN, EXAMPLES, base, tmp_path / "whole")
    number = 1
    while dies_before_change(number, base, folder := tmp_path / str(number)):
        resumed = run(SHORT_PLAN, EXAMPLES, base, folder)
        assert resumed.adapter_bytes == whole.adapter_bytes
        assert resumed.steps[-1].metrics == whole.steps[-1].metrics
        assert names(folder) == ["step-00000002"]
        number += 1
    assert number > 30  # so many there are, at least: it did not pass by dying nowhere


def test_a_snapshot_from_before_there_were_elapsed_tokens_is_gone_on_from(
    base: Decoder, tmp_path: Path
) -> None:
    """The service was upgraded while the job was waiting."""
    whole = run(PLAN, EXAMPLES, base, tmp_path / "whole")
    folder = tmp_path / "run"
    run(PLAN, EXAMPLES, base, folder, stop=stop_after(4, StopRequest.KEEP))
    path = folder / "step-00000004" / "state.json"
    contents = json.loads(path.read_text())
    for name in ("elapsed_tokens", "train_sequence_accuracy"):
        del contents["state"][name]
    for name in ("prompt_loss_weight", "classes"):
        del contents["plan"][name]
    path.write_text(json.dumps(contents))

    resumed = run(PLAN, EXAMPLES, base, folder)
    assert resumed.steps[0].metrics.measured() == whole.steps[3].metrics.measured()
    assert resumed.adapter_bytes == whole.adapter_bytes


def test_another_plan_in_the_same_folder_is_our_own_mistake(base: Decoder, tmp_path: Path) -> None:
    run(PLAN, EXAMPLES, base, tmp_path)
    with pytest.raises(AssertionError, match="own run folder"):
        run(make_plan(EXAMPLES, n_epochs=5, seed=8), EXAMPLES, base, tmp_path)
