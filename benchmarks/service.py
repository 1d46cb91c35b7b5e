"""How long a user waits: until the service answers, until training begins, until it is done.

Medians over `ROUNDS` fresh services, data folder and all. What limits each:

ready          Python's start and the imports of the web framework and the database toolkit
cold           the trainer's import of torch (about 1 s here), which begins when the service does;
               `POST` is sent as soon as `/healthz` answers, so this is the worst case
resident       one poll of the trainer (0.1 s), reading the file, the first step
demo job       steps × time per step: `benchmarks/training.py`
"""

import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

from openai import OpenAI

from tunesmith.cli.service import running_service

ROUNDS = 5
EXAMPLES = Path(__file__).parents[1] / "examples" / "marv.jsonl"


def measure() -> dict[str, Any]:
    rounds = [one_round() for _ in range(ROUNDS)]
    return {
        name: {
            "median_s": round(statistics.median(numbers[name] for numbers in rounds), 3),
            "all_s": [round(numbers[name], 3) for numbers in rounds],
        }
        for name in rounds[0]
    }


def one_round() -> dict[str, float]:
    with tempfile.TemporaryDirectory() as folder:
        started = time.perf_counter()
        with running_service(Path(folder), Path(folder) / "service.log") as service:
            ready_s = time.perf_counter() - started
            client = OpenAI(base_url=f"{service.url}/v1", api_key=service.key)
            cold_step_s, demo_job_s = one_job(client)
            resident_step_s, _ = one_job(client)
            return {
                "ready": ready_s,
                "post_to_first_step_cold": cold_step_s,
                "post_to_first_step_resident": resident_step_s,
                "post_to_succeeded_demo_job": demo_job_s,
            }


def one_job(client: OpenAI) -> tuple[float, float]:
    """Seconds from creating the demo's job to its first metrics event, and to its success."""
    with EXAMPLES.open("rb") as content:
        file_id = client.files.create(file=content, purpose="fine-tune").id
    started = time.perf_counter()
    job = client.fine_tuning.jobs.create(model="gpt-4o-mini", training_file=file_id, seed=7)
    first_step_s = None
    while True:
        if first_step_s is None:
            events = client.fine_tuning.jobs.list_events(job.id, limit=100).data
            if any(event.type == "metrics" for event in events):
                first_step_s = time.perf_counter() - started
        status = client.fine_tuning.jobs.retrieve(job.id).status
        if status == "succeeded" and first_step_s is not None:
            return first_step_s, time.perf_counter() - started
        assert status not in ("failed", "cancelled"), status
        time.sleep(0.02)
