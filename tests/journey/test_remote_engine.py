"""An engine that somebody else starts, named in `models.toml`: here `tunesmith engine`, alone on a
port, spoken to as vLLM would be."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2
import openai
import pytest
from openai import OpenAI

from tests import processes
from tests.conftest import checked_client
from tests.journey.test_commands import tunesmith
from tests.journey.test_tune_and_chat import upload, wait_for
from tests.server import listening, url_of
from tests.small_models import make_model
from tunesmith.cli.service import Service, running_service

BASE = "gpt-4.1-2025-04-14"
KEY = "a key between two machines"
START_TIMEOUT_S = 60.0
ASKED: dict[str, Any] = {
    "messages": [{"role": "user", "content": "3?"}],
    "temperature": 0,
    "max_tokens": 12,
}


@dataclass
class Engine:
    """The process, which can be ended and started again."""

    data_dir: Path
    url: str
    running: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def start(self, key: str = KEY) -> None:
        port = self.url.rpartition(":")[2]
        words = ["engine", "--model", "gpt-4.1", "--port", port, "--data-dir", str(self.data_dir)]
        environment = {**os.environ, "TUNESMITH_ENGINE_TOKEN": key}
        command = [sys.executable, "-m", "tunesmith", *words]
        self.running.append(subprocess.Popen(command, env=environment))
        deadline = time.monotonic() + START_TIMEOUT_S
        while not self._is_up():
            assert self.running[-1].poll() is None, "the engine ended"
            assert time.monotonic() < deadline, "the engine doesn't answer"
            time.sleep(0.05)

    def kill(self) -> None:
        for process in self.running:
            process.kill()
            process.wait()
        self.running.clear()

    def adapters(self) -> list[str]:
        headers = {"authorization": f"Bearer {KEY}"}
        listed = httpx2.get(f"{self.url}/v1/models", headers=headers).json()["data"]
        return [entry["id"] for entry in listed if entry["parent"] is not None]

    def _is_up(self) -> bool:
        try:
            return httpx2.get(f"{self.url}/health").is_success
        except httpx2.TransportError:
            return False


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    data_dir = tmp_path_factory.mktemp("remote-engine")
    with listening() as listener:
        url = url_of(listener)
    make_model(data_dir / "weights" / "qwen", kind="qwen3")
    table = f'{{ url = "{url}", adapters = "vllm", api_key_env = "GPU_KEY" }}'
    (data_dir / "models.toml").write_text(
        f'[models."{BASE}"]\nsource = "weights/qwen"\nengine = {table}\n'
    )
    engine = Engine(data_dir, url)
    engine.start()
    try:
        yield engine
    finally:
        engine.kill()


@contextmanager
def a_service(engine: Engine, **environment: str) -> Iterator[Service]:
    """All base models but one have no engine that runs: nobody asks for them."""
    log_path = engine.data_dir / "service.log"
    environment = {**os.environ, "TUNESMITH_DEFAULT_MODEL": BASE, **environment}
    try:
        with running_service(engine.data_dir, log_path, environment=environment) as service:
            yield service
    finally:
        print(log_path.read_text())


@pytest.fixture(scope="module")
def service(engine: Engine) -> Iterator[Service]:
    with a_service(engine, GPU_KEY=KEY, TUNESMITH_ENGINE_WAIT_S="1") as service:
        yield service


@pytest.fixture(scope="module")
def sdk(service: Service) -> Iterator[OpenAI]:
    with checked_client(service) as client:
        yield client


@pytest.fixture(scope="module")
def tuned(sdk: OpenAI) -> str:
    return tune(sdk)


def tune(sdk: OpenAI) -> str:
    lines = [
        {"messages": [{"role": "user", "content": f"{n}?"}, {"role": "assistant", "content": "no"}]}
        for n in range(10)
    ]
    job = sdk.fine_tuning.jobs.create(
        model="gpt-4.1",
        training_file=upload(sdk, lines),
        hyperparameters={"n_epochs": 4, "learning_rate_multiplier": 10},
    )
    model = wait_for(sdk, job.id, "succeeded").fine_tuned_model
    assert model
    return model


def say(sdk: OpenAI, model: str) -> str:
    return sdk.chat.completions.create(model=model, **ASKED).choices[0].message.content or ""


def test_service_starts_no_engine_for_a_base_that_has_a_remote_one(
    service: Service, sdk: OpenAI
) -> None:
    assert service.process
    processes.wait_for_children(service.process.pid, "api", "worker")
    say(sdk, "gpt-4.1")
    assert processes.count(service.process.pid, "engine") == 0
    assert httpx2.get(f"{service.url}/readyz").status_code == 200


def test_model_is_tuned_here_and_answers_there(engine: Engine, sdk: OpenAI, tuned: str) -> None:
    assert say(sdk, tuned) == "no" != say(sdk, BASE)
    assert tuned.rpartition(":")[2] in engine.adapters()
    stream = sdk.chat.completions.create(
        model=tuned, stream=True, stream_options={"include_usage": True}, **ASKED
    )
    chunks = list(stream)
    assert "".join(c.choices[0].delta.content or "" for c in chunks if c.choices) == "no"
    whole = sdk.chat.completions.create(model=tuned, logprobs=True, top_logprobs=2, n=2, **ASKED)
    assert whole.usage
    assert chunks[-1].usage
    assert chunks[-1].usage.prompt_tokens == whole.usage.prompt_tokens
    assert 2 * chunks[-1].usage.completion_tokens == whole.usage.completion_tokens
    for choice in whole.choices:
        assert choice.logprobs
        assert choice.logprobs.content
        assert [token.token for token in choice.logprobs.content] == ["n", "o"]
    schema = {"type": "object", "properties": {}, "additionalProperties": False}
    wanted: Any = {"type": "json_schema", "json_schema": {"name": "empty", "schema": schema}}
    answer = sdk.chat.completions.create(model=tuned, response_format=wanted, **ASKED)
    assert json.loads(answer.choices[0].message.content or "") == {}
    text = sdk.completions.create(model=tuned, prompt="3?", max_tokens=4, logprobs=1, echo=True)
    assert text.choices[0].text.startswith("3?")
    assert text.choices[0].logprobs
    assert len(text.choices[0].logprobs.tokens or []) >= 3


def test_engine_that_was_killed_forgets_the_model_and_it_answers_as_before(
    engine: Engine, sdk: OpenAI, tuned: str
) -> None:
    before = say(sdk, tuned)
    engine.kill()
    with pytest.raises(openai.InternalServerError) as caught:
        say(sdk, tuned)
    assert caught.value.status_code == 503
    engine.start()
    assert engine.adapters() == []
    assert say(sdk, tuned) == before == "no"


def test_engine_with_another_key_is_a_503_until_it_has_the_right_one(
    engine: Engine, service: Service, sdk: OpenAI, tuned: str
) -> None:
    engine.kill()
    engine.start(key="another")
    with pytest.raises(openai.InternalServerError, match="not set up right"):
        say(sdk, tuned)
    checked = check(service.data_dir, GPU_KEY=KEY)
    assert (checked.returncode, "refuses the key that GPU_KEY holds" in checked.stdout) == (1, True)
    engine.kill()
    engine.start()
    assert say(sdk, tuned) == "no"
    checked = check(service.data_dir, GPU_KEY=KEY)
    assert (checked.returncode, checked.stdout) == (0, f"{engine.url}: ready ({BASE})\n")


def test_deleted_model_is_unloaded_there(engine: Engine, sdk: OpenAI) -> None:
    model = tune(sdk)
    say(sdk, model)
    adapter_id = model.rpartition(":")[2]
    assert adapter_id in engine.adapters()
    sdk.models.delete(model)
    assert adapter_id not in engine.adapters()


def test_service_without_the_engines_key_does_not_start(engine: Engine, tmp_path: Path) -> None:
    table = f'{{ url = "{engine.url}", adapters = "vllm", api_key_env = "GPU_KEY" }}'
    (tmp_path / "models.toml").write_text(f'[models."{BASE}"]\nengine = {table}\n')
    refused = tunesmith("serve", "--data-dir", str(tmp_path), "--port", "0", PATH="/bin")
    assert refused.returncode == 1
    assert refused.stderr.endswith("the environment variable GPU_KEY, which isn't set.\n")


def test_engine_that_others_can_reach_asks_for_a_token(tmp_path: Path) -> None:
    refused = tunesmith("engine", "--host", "0.0.0.0", "--port", "0", "--data-dir", str(tmp_path))
    assert refused.returncode == 1
    assert refused.stderr.startswith("Error: An engine that listens on 0.0.0.0 can be reached")


def check(data_dir: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    return tunesmith("models", "check", "--data-dir", str(data_dir), **environment)
