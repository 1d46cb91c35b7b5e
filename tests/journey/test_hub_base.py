"""A base model of a hub behind a name of ours, from the first question on."""

import json
from collections.abc import Iterator
from pathlib import Path

import openai
import pytest
from openai import OpenAI

from tests.hub import Hub, running_hub
from tests.journey.test_tune_and_chat import wait_for
from tests.small_models import make_model
from tunesmith.cli.service import Service, running_service

# Each a repository of its own, so that one test's download is not another's.
MODELS = ("for-chat", "for-job", "gated", "lost")
TRAINING_CONTEXT = 6  # tokens; the examples have 8


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("hub-base")
    entries = [
        f'[models."{name}"]\nsource = "hub:acme/{name}"\ntraining_context = {TRAINING_CONTEXT}\n'
        for name in MODELS
    ]
    (folder / "models.toml").write_text("\n".join(entries))
    return folder


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hub]:
    llama = make_model(tmp_path_factory.mktemp("llama"), kind="llama")
    qwen = make_model(tmp_path_factory.mktemp("qwen"), kind="qwen3")
    with running_hub({"acme/for-chat": llama, "acme/for-job": qwen, "acme/gated": qwen}) as hub:
        yield hub


@pytest.fixture(scope="module")
def service(hub: Hub, data_dir: Path) -> Iterator[Service]:
    log_path = data_dir / "service.log"
    try:
        with running_service(data_dir, log_path, environment=hub.environment(data_dir)) as running:
            yield running
    finally:
        print(log_path.read_text())


@pytest.fixture
def sdk(service: Service) -> Iterator[OpenAI]:
    with sdk_of(service) as client:
        yield client


def sdk_of(service: Service) -> OpenAI:
    return OpenAI(base_url=f"{service.url}/v1", api_key=service.key, max_retries=0)


def say(sdk: OpenAI, model: str) -> str:
    reply = sdk.chat.completions.create(
        model=model, messages=[{"role": "user", "content": "3?"}], max_tokens=5, temperature=0
    )
    return reply.choices[0].message.content or ""


def start_job(sdk: OpenAI, model: str) -> str:
    lines = [
        {"messages": [{"role": "user", "content": f"{n}?"}, {"role": "assistant", "content": "no"}]}
        for n in range(10)
    ]
    content = "\n".join(json.dumps(line) for line in lines).encode()
    file_id = sdk.files.create(file=("data.jsonl", content), purpose="fine-tune").id
    return sdk.fine_tuning.jobs.create(
        model=model, training_file=file_id, hyperparameters={"n_epochs": 1}
    ).id


def messages(sdk: OpenAI, job_id: str) -> list[str]:
    return [event.message for event in sdk.fine_tuning.jobs.list_events(job_id)]


def test_first_chat_brings_the_model_here(hub: Hub, sdk: OpenAI) -> None:
    assert set(MODELS) <= {model.id for model in sdk.models.list()}
    assert hub.asked == [], "nothing is downloaded before it is asked for"
    assert say(sdk, "for-chat") == say(sdk, "for-chat")
    assert hub.fetched().count("model.safetensors") == 1


def test_job_brings_the_model_here_and_its_tuned_model_answers(hub: Hub, sdk: OpenAI) -> None:
    job = wait_for(sdk, start_job(sdk, "for-job"), "succeeded")
    told = messages(sdk, job.id)
    assert "Downloading base model acme/for-job" in told
    assert any("more than 6 tokens and were truncated" in message for message in told)
    assert job.trained_tokens == 10 * TRAINING_CONTEXT
    assert job.fine_tuned_model
    num_asked = len(hub.asked)
    say(sdk, job.fine_tuned_model)
    assert len(hub.asked) == num_asked, "the engine finds what the trainer has downloaded"


def test_a_model_that_can_not_be_had_is_a_503_and_a_failed_job_that_say_why(
    hub: Hub, sdk: OpenAI
) -> None:
    hub.is_gated = True
    for model, reason in (("gated", "accepted the licence"), ("lost", "no such repository")):
        with pytest.raises(openai.InternalServerError, match=reason) as caught:
            say(sdk, model)
        assert (caught.value.status_code, caught.value.code) == (503, "base_model_unavailable")
        error = wait_for(sdk, start_job(sdk, model), "failed").error
        assert error
        assert (error.code, error.param) == ("base_model_unavailable", "model")
        assert reason in error.message


def test_a_later_start_needs_no_hub(hub: Hub, data_dir: Path, service: Service) -> None:
    """`service` stops first: two can't have one data folder."""
    assert service.process
    service.process.terminate()
    service.process.wait()
    environment = hub.environment(data_dir, HF_HUB_OFFLINE="1", TUNESMITH_DEFAULT_MODEL="for-chat")
    with (
        running_service(data_dir, data_dir / "later.log", environment=environment) as later,
        sdk_of(later) as sdk,
    ):
        say(sdk, "for-chat")
