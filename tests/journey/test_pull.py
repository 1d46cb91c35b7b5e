"""`tunesmith models pull` from a hub on this machine: what is fetched, what is refused."""

import json
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file, save_file

from tests.hub import TOKEN, Hub, running_hub
from tests.small_models import make_model

REPOSITORY = "acme/small-qwen"
MODEL_FILES = {
    "config.json",
    "generation_config.json",
    "model.safetensors",
    "tokenizer.json",
    "tokenizer_config.json",
}


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_model(tmp_path_factory.mktemp("original"), kind="qwen3")


@pytest.fixture
def repository(tmp_path: Path, original: Path) -> Path:
    return Path(shutil.copytree(original, tmp_path / "repository"))


@pytest.fixture
def hub(repository: Path) -> Iterator[Hub]:
    with running_hub({REPOSITORY: repository}) as hub:
        yield hub


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    folder = tmp_path / "data"
    folder.mkdir()
    name_model(folder)
    return folder


def name_model(data_dir: Path, source: str = f"hub:{REPOSITORY}", revision: str = "main") -> None:
    entry = f'[models."small"]\nsource = "{source}"\nrevision = "{revision}"\n'
    (data_dir / "models.toml").write_text(entry)


def start_pull(hub: Hub, data_dir: Path, **environment: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "tunesmith", "models", "pull", "small", "--data-dir", str(data_dir)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=hub.environment(data_dir, **environment),
    )


def pull(hub: Hub, data_dir: Path, **environment: str) -> tuple[int, str, str]:
    process = start_pull(hub, data_dir, **environment)
    stdout, stderr = process.communicate(timeout=120)
    return process.returncode, stdout, stderr


def refused(hub: Hub, data_dir: Path, **environment: str) -> str:
    """The error that a pull ends with. Nothing of the model may be left where it would be used."""
    code, stdout, stderr = pull(hub, data_dir, **environment)
    assert (code, stdout) == (1, ""), stderr
    assert not model_folder(data_dir).exists()
    return stderr.splitlines()[-1]


def model_folder(data_dir: Path, revision: str = "main") -> Path:
    return data_dir / "models" / f"acme--small-qwen--{revision}"


def change_config(repository: Path, **changes: Any) -> None:
    path = repository / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def split_weights(repository: Path) -> None:
    """The weights in two files and an index, as large models come."""
    tensors = load_file(repository / "model.safetensors")
    names = sorted(tensors)
    parts = {"one.safetensors": names[::2], "two.safetensors": names[1::2]}
    for part, held in parts.items():
        save_file({name: tensors[name] for name in held}, repository / part)
    index = {"weight_map": {name: part for part, held in parts.items() for name in held}}
    (repository / "model.safetensors.index.json").write_text(json.dumps(index))
    (repository / "model.safetensors").unlink()


def test_a_model_arrives_whole_and_is_asked_for_once(
    hub: Hub, repository: Path, data_dir: Path
) -> None:
    code, stdout, stderr = pull(hub, data_dir, HF_TOKEN=TOKEN)
    assert (code, stdout) == (0, f"{model_folder(data_dir)}\n"), stderr
    copied = {path.name: path.read_bytes() for path in model_folder(data_dir).iterdir()}
    origin = json.loads(copied.pop("origin.json"))
    assert copied == {name: (repository / name).read_bytes() for name in MODEL_FILES}
    assert origin["commit"] == hub.commit
    assert (origin["repository"], origin["revision"]) == (REPOSITORY, "main")
    assert not hub.tokens_abroad, "the token is for the hub alone, not for its storage"
    assert {path.split("/")[1] for _, path in hub.asked} == {"api", "acme", "elsewhere"}
    assert not [path for _, path in hub.asked if path.startswith("/api/") and "models" not in path]
    num_asked = len(hub.asked)
    assert pull(hub, data_dir)[0] == 0
    assert len(hub.asked) == num_asked


def test_nothing_that_could_be_code_is_fetched_or_run(
    hub: Hub, repository: Path, data_dir: Path
) -> None:
    trap = repository.parent / "sprung"
    (repository / "modeling_small.py").write_text(f"open({str(trap)!r}, 'w')")
    (repository / "pytorch_model.bin").write_bytes(b"cbuiltins\nexec\n.")
    (repository / "consolidated.safetensors").write_bytes(b"the same once more")
    assert pull(hub, data_dir)[0] == 0
    assert set(hub.fetched()) == MODEL_FILES
    assert {path.name for path in model_folder(data_dir).iterdir()} == MODEL_FILES | {"origin.json"}
    assert not trap.exists()


def test_a_model_that_needs_its_own_code_is_refused_before_its_weights_are_fetched(
    hub: Hub, repository: Path, data_dir: Path
) -> None:
    (repository / "modeling_small.py").write_text("raise SystemExit")
    change_config(repository, auto_map={"AutoModelForCausalLM": "modeling_small.Small"})
    assert "auto_map" in refused(hub, data_dir)
    assert not {"model.safetensors", "modeling_small.py"} & set(hub.fetched())


def test_an_architecture_that_we_do_not_run_is_refused_before_its_weights_are_fetched(
    hub: Hub, repository: Path, data_dir: Path
) -> None:
    change_config(repository, architectures=["FalconForCausalLM"])
    assert "FalconForCausalLM" in refused(hub, data_dir)
    assert "model.safetensors" not in hub.fetched()


def test_a_repository_without_safetensors_is_refused_before_anything_is_fetched(
    hub: Hub, repository: Path, data_dir: Path
) -> None:
    (repository / "model.safetensors").rename(repository / "pytorch_model.bin")
    assert "no model.safetensors (weights of other kinds are never read)" in refused(hub, data_dir)
    assert hub.fetched() == []


def test_weights_in_several_files_arrive_all(hub: Hub, repository: Path, data_dir: Path) -> None:
    split_weights(repository)
    assert pull(hub, data_dir)[0] == 0
    names = {path.name for path in model_folder(data_dir).iterdir()}
    assert {"one.safetensors", "two.safetensors", "model.safetensors.index.json"} <= names


@pytest.mark.parametrize("name", ["../config.json", "evil.py"])
def test_an_index_can_not_name_what_is_not_a_weight_file(
    hub: Hub, repository: Path, data_dir: Path, name: str
) -> None:
    split_weights(repository)
    (repository / "evil.py").write_text("")
    index = {"weight_map": {"model.norm.weight": name}}
    (repository / "model.safetensors.index.json").write_text(json.dumps(index))
    assert repr(name) in refused(hub, data_dir)


def test_a_gated_model_is_refused_with_what_to_do(hub: Hub, data_dir: Path) -> None:
    hub.is_gated = True
    for wrong in ({}, {"HF_TOKEN": "hf_another"}):
        text = refused(hub, data_dir, **wrong)
        assert "accepted the licence" in text
        assert "HF_TOKEN" in text
    assert pull(hub, data_dir, HF_TOKEN=TOKEN)[0] == 0


def test_an_unknown_repository_or_revision_is_named(hub: Hub, data_dir: Path) -> None:
    name_model(data_dir, "hub:acme/another")
    assert "acme/another can't be downloaded: the hub has no such" in refused(hub, data_dir)
    name_model(data_dir, revision="v9")
    assert "no revision 'v9'" in refused(hub, data_dir)


def test_without_a_network_the_error_says_so(hub: Hub, data_dir: Path) -> None:
    hub.url = "http://127.0.0.1:9"  # the port of "discard": nothing listens there
    assert "the hub can't be reached" in refused(hub, data_dir)
    assert "HF_HUB_OFFLINE is set" in refused(hub, data_dir, HF_HUB_OFFLINE="1")


def test_a_transfer_that_breaks_off_is_taken_up_again(hub: Hub, data_dir: Path) -> None:
    hub.breaks_off = 1
    code, _, stderr = pull(hub, data_dir)
    assert code == 0, stderr
    assert hub.fetched().count("model.safetensors") == 2


def test_weights_that_are_not_what_the_hub_lists_are_refused(hub: Hub, data_dir: Path) -> None:
    hub.is_damaged = True
    assert "model.safetensors arrived damaged" in refused(hub, data_dir)
    hub.is_damaged = False
    assert pull(hub, data_dir)[0] == 0
    assert hub.fetched().count("tokenizer.json") == 1, "what was right is kept"


def test_a_model_that_does_not_fit_on_the_disk_is_refused_before_its_weights_are_fetched(
    hub: Hub, data_dir: Path
) -> None:
    hub.claimed_bytes = 10**18
    assert "it takes 1,000,000,000,000 MB on the disk" in refused(hub, data_dir)
    assert "model.safetensors" not in hub.fetched()
    hub.claimed_bytes = 10
    assert "model.safetensors" in refused(hub, data_dir), "fewer bytes than arrive"


def test_two_processes_that_want_a_model_at_once_fetch_it_once(hub: Hub, data_dir: Path) -> None:
    hub.chunk_pause_s = 0.02
    processes = [start_pull(hub, data_dir) for _ in range(2)]
    outputs = [process.communicate(timeout=120) for process in processes]
    assert [process.returncode for process in processes] == [0, 0], outputs
    assert sorted(hub.fetched()) == sorted(MODEL_FILES)


def test_a_download_that_is_killed_leaves_nothing_in_the_way(hub: Hub, data_dir: Path) -> None:
    hub.chunk_pause_s = 1.0
    process = start_pull(hub, data_dir)
    assert process.stderr
    said = r"acme/small-qwen: model\.safetensors, [\d.]+ of [\d.]+ MB, [\d.]+ MB/s"
    assert any(re.search(said, line) for line in process.stderr), "the log says how it goes"
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert not model_folder(data_dir).exists()
    hub.chunk_pause_s = 0.0
    assert pull(hub, data_dir)[0] == 0
    assert hub.fetched().count("tokenizer.json") == 1, "what was whole is kept"
    files = {path.name for path in model_folder(data_dir).rglob("*")}
    assert files == MODEL_FILES | {"origin.json"}


def test_another_revision_is_another_model(hub: Hub, data_dir: Path) -> None:
    """So what was trained on one never meets the weights of another unawares."""
    assert pull(hub, data_dir)[0] == 0
    name_model(data_dir, revision=hub.commit)
    code, stdout, stderr = pull(hub, data_dir)
    assert code == 0, stderr
    assert stdout.strip() == str(model_folder(data_dir, hub.commit))
    assert model_folder(data_dir).exists()


def test_the_list_says_what_is_here_and_what_it_costs(hub: Hub, data_dir: Path) -> None:
    def listed() -> dict[str, dict[str, Any]]:
        words = ["models", "list", "--json", "--data-dir", str(data_dir)]
        command = [sys.executable, "-m", "tunesmith", *words]
        output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        return {row["name"]: row for row in json.loads(output)}

    before = listed()
    assert before["small"]["source"] == f"hub:{REPOSITORY}"
    assert [row["name"] for row in before.values() if not row["is_downloaded"]] == ["small"]
    assert before["gpt-4o-mini-2024-07-18"]["prices"] == {
        "training": 3.0,
        "input": 0.3,
        "cached_input": 0.15,
        "output": 1.2,
    }
    assert before["small"]["inference_context"] is None
    assert before["tunesmith-tiny"]["inference_context"] == 2048
    assert pull(hub, data_dir)[0] == 0
    assert listed()["small"]["is_downloaded"]
    assert listed()["small"]["inference_context"] is not None
