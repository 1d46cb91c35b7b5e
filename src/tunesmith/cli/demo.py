"""`tunesmith demo`: the main job from beginning to end, as a user's program would do it.

Everything goes through the official `openai` SDK; against another base_url the same calls work.
"""

import json
import shlex
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from openai import OpenAI
from openai.types.fine_tuning import FineTuningJob, FineTuningJobEvent
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from tunesmith.cli.service import running_service
from tunesmith.cli.supervisor import listen
from tunesmith.domain.errors import TunesmithError
from tunesmith.settings import Settings

EXAMPLES = Path(__file__).parents[3] / "examples"
POLL_S = 0.3
NUM_SHOWN = 4  # prompts of each kind in the comparison
RECENT_STEPS = 20  # that the tokens/s shown are averaged over

console = Console()

Messages = list[dict[str, Any]]  # as the SDK takes them


def run(settings: Settings, model: str) -> None:
    """Uploads, tunes, compares; raises TunesmithError with a reason if any of it can't be done."""
    training_file = EXAMPLES / "marv.jsonl"
    if not training_file.is_file():
        raise TunesmithError(
            f"{training_file} is missing: run the demo in a clone of the repository."
        )
    started = time.monotonic()
    log_path = settings.data_dir / "demo.log"
    with running_service(settings.data_dir, log_path, _free_port(settings)) as service:
        url = f"{service.url}/v1"
        client = OpenAI(base_url=url, api_key=service.key)
        console.print(f"[bold]1[/] Uploading {training_file.name} to {url}")
        uploaded = client.files.create(file=training_file, purpose="fine-tune")
        console.print(f"[bold]2[/] Fine-tuning {model} on {uploaded.id}")
        job = client.fine_tuning.jobs.create(
            model=model, training_file=uploaded.id, suffix="marv", seed=7
        )
        job = _follow(client, job)
        tuned = job.fine_tuned_model
        if job.status != "succeeded" or tuned is None:
            reason = job.error.message if job.error else f"it is {job.status}"
            raise TunesmithError(f"The job {job.id} did not succeed: {reason}")
        console.print("[bold]3[/] The same questions to both models")
        _compare(client, job.model, tuned, _seen_prompts(training_file), "from the training file")
        unseen = [json.loads(line)["messages"] for line in _lines(EXAMPLES / "marv_unseen.jsonl")]
        _compare(client, job.model, tuned, _spread(unseen), "never seen in training")
        console.print(f"\nDone in {time.monotonic() - started:.0f} s. Your model: [bold]{tuned}[/]")
    _say_how_to_go_on(url, settings.data_dir / "api-key", tuned, unseen[0])


def _free_port(settings: Settings) -> int:
    """The configured port, or a free one if it is taken."""
    try:
        probe = listen(settings.host, settings.port)
    except TunesmithError:
        return 0
    with probe:
        return settings.port


def _follow(client: OpenAI, job: FineTuningJob) -> FineTuningJob:
    """Shows the job's events as a progress bar until it has ended; gives its last state."""
    columns = (
        TextColumn("  {task.description}"),
        BarColumn(20),
        TextColumn("{task.fields[numbers]}"),
        TimeRemainingColumn(compact=True),
        TextColumn("left"),
    )
    seen: set[str] = set()
    with Progress(*columns, console=console) as progress:
        task = progress.add_task("waiting", total=1, numbers="")
        while True:
            job = client.fine_tuning.jobs.retrieve(job.id)
            events = client.fine_tuning.jobs.list_events(job.id, limit=100).data
            for event in reversed(events):
                if event.id not in seen and event.type == "message":
                    progress.console.print(f"  {event.message}", style="dim", highlight=False)
                seen.add(event.id)
            _show_step(progress, task, events, job.status)
            if job.status in ("succeeded", "failed", "cancelled"):
                return job
            time.sleep(POLL_S)


def _show_step(
    progress: Progress, task: Any, events: Sequence[FineTuningJobEvent], status: str
) -> None:
    steps: list[Any] = [event.data for event in events if event.type == "metrics"]
    if not steps:
        progress.update(task, description=status)
        return
    recent = steps[:RECENT_STEPS]
    loss = sum(metrics["train_loss"] for metrics in recent) / len(recent)
    speed = sum(metrics["tokens_per_second"] for metrics in recent) / len(recent)
    step, total = steps[0]["step"], steps[0]["total_steps"]
    progress.update(
        task,
        description=status,
        completed=step,
        total=total,
        numbers=f"step {step}/{total} · loss {loss:.2f} · {speed:,.0f} tokens/s",
    )


def _seen_prompts(training_file: Path) -> list[Messages]:
    examples = [json.loads(line)["messages"] for line in _lines(training_file)]
    return _spread([messages[:-1] for messages in examples])


def _spread(prompts: Sequence[Messages]) -> list[Messages]:
    """A few of `prompts`, from all over the list."""
    return list(prompts[:: max(1, len(prompts) // NUM_SHOWN)][:NUM_SHOWN])


def _lines(path: Path) -> list[str]:
    return path.read_text(encoding="utf-8").splitlines()


def _compare(client: OpenAI, base: str, tuned: str, prompts: Sequence[Messages], kind: str) -> None:
    table = Table(title=f"Questions {kind}", title_justify="left", expand=True)
    for heading in ("question", base, "tuned"):
        table.add_column(heading, ratio=1)
    for messages in prompts:
        question = messages[-1]["content"]
        table.add_row(question, *(_answer(client, model, messages) for model in (base, tuned)))
    console.print(table)


def _answer(client: OpenAI, model: str, messages: Any) -> str:
    answer = client.chat.completions.create(
        model=model, messages=messages, temperature=0, max_tokens=60
    )
    return answer.choices[0].message.content or ""


def _say_how_to_go_on(url: str, key_file: Path, tuned: str, messages: Messages) -> None:
    body = json.dumps({"model": tuned, "messages": messages})
    port = url.rpartition(":")[2].partition("/")[0]
    how = "make serve" if port == "8000" else f"tunesmith serve --port {port}"
    console.print(f"\nTo go on, start the service with [bold]{how}[/], then in Python:\n")
    print(
        f"""from openai import OpenAI

client = OpenAI(base_url="{url}", api_key=open("{key_file}").read().strip())
answer = client.chat.completions.create(
    model="{tuned}",
    messages={json.dumps(messages)},
)
print(answer.choices[0].message.content)"""
    )
    console.print("\nor with curl:\n")
    print(
        f"""curl {url}/chat/completions \\
  -H "Authorization: Bearer $(cat {key_file})" \\
  -H "Content-Type: application/json" \\
  -d {shlex.quote(body)}"""
    )
