"""Weights of the operator's own behind OpenAI's name, as `models.toml` says it."""

import json
from collections.abc import Iterator

import pytest
from openai import OpenAI

from tests import processes
from tests.journey.test_tune_and_chat import wait_for
from tests.small_models import make_model
from tunesmith.cli.service import Service, running_service


@pytest.fixture(scope="module")
def two_bases(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    data_dir = tmp_path_factory.mktemp("two-bases")
    make_model(data_dir / "weights" / "qwen", kind="qwen3")
    entry = '[models."gpt-4.1-2025-04-14"]\nsource = "weights/qwen"\n'
    (data_dir / "models.toml").write_text(entry)
    log_path = data_dir / "service.log"
    try:
        with running_service(data_dir, log_path) as service:
            yield service
    finally:
        print(log_path.read_text())


@pytest.fixture
def sdk(two_bases: Service) -> Iterator[OpenAI]:
    with OpenAI(base_url=f"{two_bases.url}/v1", api_key=two_bases.key) as client:
        yield client


def engines(service: Service) -> int:
    assert service.process
    return processes.count(service.process.pid, "engine")


def test_engine_of_another_base_starts_when_it_is_asked(two_bases: Service, sdk: OpenAI) -> None:
    assert two_bases.process
    processes.wait_for_children(two_bases.process.pid, "api", "engine", "worker")
    assert engines(two_bases) == 1, "only the default model's engine runs from the start"
    answer = sdk.chat.completions.create(
        model="gpt-4.1", messages=[{"role": "user", "content": "Hello"}], max_tokens=5
    )
    assert answer.model == "gpt-4.1-2025-04-14"
    assert answer.usage
    assert answer.usage.completion_tokens >= 1
    assert engines(two_bases) == 2


def test_job_trains_the_weights_that_its_model_names(two_bases: Service, sdk: OpenAI) -> None:
    lines = [
        {"messages": [{"role": "user", "content": f"{n}?"}, {"role": "assistant", "content": "no"}]}
        for n in range(10)
    ]
    content = "\n".join(json.dumps(line) for line in lines).encode()
    file_id = sdk.files.create(file=("data.jsonl", content), purpose="fine-tune").id
    job = sdk.fine_tuning.jobs.create(
        model="gpt-4.1", training_file=file_id, hyperparameters={"n_epochs": 1}
    )
    tuned = wait_for(sdk, job.id, "succeeded").fine_tuned_model
    assert tuned
    assert tuned.startswith("ft:gpt-4.1-2025-04-14:local::")
    adapter = two_bases.data_dir / "adapters" / tuned.rpartition(":")[2] / "adapter_config.json"
    assert json.loads(adapter.read_text())["base_model_name_or_path"] == "gpt-4.1-2025-04-14"
    answer = sdk.chat.completions.create(
        model=tuned, messages=[{"role": "user", "content": "3?"}], max_tokens=5
    )
    assert answer.choices[0].finish_reason in ("stop", "length")
