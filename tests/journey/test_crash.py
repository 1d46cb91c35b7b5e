"""What a user sees of a crash: nothing.

Each test has a service of its own, since it takes it apart.
"""

import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from openai import OpenAI
from openai.types.fine_tuning import FineTuningJob

from tests import processes
from tunesmith.cli.service import Service, running_service

WAIT_S = 240.0


@pytest.fixture
def own_service(tmp_path: Path) -> Iterator[Service]:
    # Many small snapshots and short leases, so that a crash is soon noticed and costs a lot.
    environment = {
        **os.environ,
        "TUNESMITH_LEASE_S": "2",
        "TUNESMITH_SNAPSHOT_INTERVAL_S": "0.5",
    }
    log_path = tmp_path / "service.log"
    try:
        with running_service(tmp_path / "data", log_path, environment=environment) as service:
            yield service
    finally:
        print(log_path.read_text())


@pytest.fixture
def sdk(own_service: Service) -> Iterator[OpenAI]:
    with sdk_for(own_service) as client:
        yield client


def sdk_for(service: Service) -> OpenAI:
    return OpenAI(base_url=f"{service.url}/v1", api_key=service.key)


def start_job(client: OpenAI, marv: Path, n_epochs: int) -> FineTuningJob:
    with marv.open("rb") as content:
        file_id = client.files.create(file=content, purpose="fine-tune").id
    return client.fine_tuning.jobs.create(
        model="tunesmith-tiny",
        training_file=file_id,
        hyperparameters={"n_epochs": n_epochs},
        seed=5,
    )


def metrics(client: OpenAI, job_id: str) -> list[Any]:
    """The job's metrics so far, oldest first, without what depends on the clock."""
    events = list(client.fine_tuning.jobs.list_events(job_id, limit=100))
    steps: list[Any] = [event.data for event in reversed(events) if event.type == "metrics"]
    return [{k: v for k, v in step.items() if k != "tokens_per_second"} for step in steps]


def wait_for_step(client: OpenAI, job_id: str, step: int) -> None:
    deadline = time.monotonic() + WAIT_S
    while time.monotonic() < deadline:
        data: Any = client.fine_tuning.jobs.list_events(job_id, limit=1).data[0].data
        if data and data.get("step", 0) >= step:
            return
        time.sleep(0.02)
    raise AssertionError(f"{job_id} did not come to step {step}")


def wait_for_success(client: OpenAI, job_id: str) -> FineTuningJob:
    deadline = time.monotonic() + WAIT_S
    while time.monotonic() < deadline:
        job = client.fine_tuning.jobs.retrieve(job_id)
        if job.status == "succeeded":
            return job
        assert job.status not in ("failed", "cancelled"), job.error
        time.sleep(0.1)
    raise AssertionError(f"{job_id} did not succeed in {WAIT_S} s")


def adapter_bytes(service: Service, job: FineTuningJob) -> bytes:
    assert job.fine_tuned_model
    adapter_id = job.fine_tuned_model.rpartition(":")[2]
    folder = service.data_dir / "adapters" / adapter_id
    return (folder / "adapter_model.safetensors").read_bytes()


def test_job_of_a_killed_trainer_ends_as_if_nothing_had_happened(
    own_service: Service, sdk: OpenAI, marv: Path
) -> None:
    """The trainer is killed twice while it trains. No step is missing or told twice, and the
    weights have the same bits as those of a run that was left in peace."""
    assert own_service.process
    interrupted = start_job(sdk, marv, n_epochs=2)
    for step in (20, 70):
        wait_for_step(sdk, interrupted.id, step)
        processes.kill(processes.wait_for_children(own_service.process.pid, "worker")["worker"])
    interrupted = wait_for_success(sdk, interrupted.id)
    peaceful = wait_for_success(sdk, start_job(sdk, marv, n_epochs=2).id)
    assert metrics(sdk, interrupted.id) == metrics(sdk, peaceful.id)
    assert adapter_bytes(own_service, interrupted) == adapter_bytes(own_service, peaceful)
    told = [event.message for event in sdk.fine_tuning.jobs.list_events(interrupted.id, limit=100)]
    assert told.count("Fine-tuning job started") == 1


def test_paused_job_goes_on_as_if_nothing_had_happened(
    own_service: Service, sdk: OpenAI, marv: Path
) -> None:
    """Paused in the middle of an epoch, resumed after another job had its turn; then paused and
    resumed in one breath, before the trainer can have noticed. The same bits again."""
    paused = start_job(sdk, marv, n_epochs=2)
    wait_for_step(sdk, paused.id, 5)
    assert sdk.fine_tuning.jobs.pause(paused.id).status == "paused"
    peaceful = wait_for_success(sdk, start_job(sdk, marv, n_epochs=2).id)
    assert sdk.fine_tuning.jobs.retrieve(paused.id).status == "paused"
    told = len(metrics(sdk, paused.id))
    assert 5 <= told < 120
    assert sdk.fine_tuning.jobs.resume(paused.id).status == "queued"
    wait_for_step(sdk, paused.id, told + 1)
    sdk.fine_tuning.jobs.pause(paused.id)
    sdk.fine_tuning.jobs.resume(paused.id)
    paused = wait_for_success(sdk, paused.id)
    assert metrics(sdk, paused.id) == metrics(sdk, peaceful.id)
    assert adapter_bytes(own_service, paused) == adapter_bytes(own_service, peaceful)


def test_job_that_kills_its_trainer_fails_and_the_queue_goes_on(
    own_service: Service, sdk: OpenAI, marv: Path
) -> None:
    """Three times without a checkpoint in between: nobody would see the fourth end otherwise."""
    assert own_service.process
    killer = start_job(sdk, marv, n_epochs=1)
    harmless = start_job(sdk, marv, n_epochs=1)
    # What is being validated when the trainer dies has its share of the blame.
    while sdk.fine_tuning.jobs.retrieve(harmless.id).status == "validating_files":
        time.sleep(0.01)
    for _ in range(3):
        worker = wait_for_new_training(own_service, killer.id)
        processes.kill(worker)
    assert wait_for_success(sdk, harmless.id).fine_tuned_model
    failed = wait_for_failure(sdk, killer.id)
    assert failed.error
    assert failed.error.code == "trainer_crashed"


def wait_for_failure(client: OpenAI, job_id: str) -> FineTuningJob:
    deadline = time.monotonic() + WAIT_S
    while (job := client.fine_tuning.jobs.retrieve(job_id)).status != "failed":
        assert time.monotonic() < deadline, f"{job_id} is {job.status}"
        time.sleep(0.1)
    return job


def wait_for_new_training(service: Service, job_id: str) -> int:
    """The worker's process id, once it trains the job: its log says so when it has begun."""
    assert service.process
    worker = processes.wait_for_children(service.process.pid, "worker")["worker"]
    log = service.data_dir.parent / "service.log"
    deadline = time.monotonic() + WAIT_S
    while time.monotonic() < deadline:
        _, started, since = log.read_text().partition(f"worker started (process {worker})")
        if started and re.search(rf"{job_id}: (queued|running)", since):
            return worker
        time.sleep(0.02)
    raise AssertionError(f"no worker took {job_id}")


def test_everything_killed_and_started_again_finishes_the_job(tmp_path: Path, marv: Path) -> None:
    data_dir, log_path = tmp_path / "data", tmp_path / "service.log"
    with running_service(data_dir, log_path) as service, sdk_for(service) as client:
        job = start_job(client, marv, n_epochs=2)
        wait_for_step(client, job.id, 5)
        assert service.process
        parts = processes.wait_for_children(service.process.pid, "api", "engine", "worker")
        for process_id in (service.process.pid, *parts.values()):
            processes.kill(process_id)
        processes.wait_until_gone(list(parts.values()))
    with running_service(data_dir, log_path) as service, sdk_for(service) as client:
        job = wait_for_success(client, job.id)
        steps = [step["step"] for step in metrics(client, job.id)]
    assert steps == list(range(1, len(steps) + 1))


def test_stopped_service_puts_its_job_back_and_goes_on_at_the_next_start(
    tmp_path: Path, marv: Path
) -> None:
    data_dir, log_path = tmp_path / "data", tmp_path / "service.log"
    with running_service(data_dir, log_path) as service, sdk_for(service) as client:
        job = start_job(client, marv, n_epochs=2)
        wait_for_step(client, job.id, 5)
    assert service.process
    assert service.process.returncode == 0
    with running_service(data_dir, log_path) as service, sdk_for(service) as client:
        assert wait_for_success(client, job.id).fine_tuned_model


def test_chat_survives_a_killed_engine(own_service: Service, sdk: OpenAI) -> None:
    assert own_service.process

    def ask() -> str | None:
        answer = sdk.chat.completions.create(
            model="tunesmith-tiny",
            messages=[{"role": "user", "content": "What is the capital of France?"}],
            temperature=0,
            max_tokens=10,
        )
        return answer.choices[0].message.content

    before = ask()
    processes.kill(processes.children(own_service.process.pid)["engine"])
    assert ask() == before


def test_children_end_when_their_supervisor_is_killed(own_service: Service) -> None:
    assert own_service.process
    parts = processes.wait_for_children(own_service.process.pid, "api", "engine", "worker")
    processes.kill(own_service.process.pid)
    processes.wait_until_gone(list(parts.values()))


def test_interrupt_stops_everything(own_service: Service) -> None:
    assert own_service.process
    parts = processes.wait_for_children(own_service.process.pid, "api", "engine", "worker")
    own_service.process.send_signal(signal.SIGINT)
    assert own_service.process.wait(30) == 0
    assert not [part for part, process_id in parts.items() if processes.is_alive(process_id)]


def test_second_supervisor_is_refused(own_service: Service) -> None:
    second = run_serve("--data-dir", str(own_service.data_dir), "--port", "0")
    assert second.returncode == 1
    assert "Another `tunesmith serve` is running" in second.stderr


def test_taken_port_is_said_at_once(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        refused = run_serve("--data-dir", str(tmp_path), "--port", port)
    assert refused.returncode == 1
    assert f"Can't listen on 127.0.0.1 port {port}" in refused.stderr


def run_serve(*words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "tunesmith", "serve", *words]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
