"""What a large training file costs before and while it is trained: time, and memory above all.

GSM8K's first 2,000 problems (`data/`), on `tunesmith-tiny`, each case in a process of its own:

validate_N   N lines of some 500 bytes (the problems again and again, numbered, so that none is
             the same) are checked, rendered and written as rows. What limits it: the tokenizer.
             the ceiling is a process that only tokenises the same texts, all of them at once.
             Both are counted in lines per second of processor time, which a busy machine leaves
             as it is.
train_2000   one epoch in batches of 8, rows read from disk. What limits it: `training.py` says.

`memory_mb` is the process's peak (VmHWM). It must not grow with the file: `validate_100000` beside
`validate_10000`, and `train_2000`'s peak at the end beside that after a tenth of the steps.
"""

import gzip
import io
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
BASE_MODEL = ROOT / "src" / "tunesmith" / "base_models" / "tunesmith-tiny"
PROBLEMS = Path(__file__).with_name("data") / "gsm8k-train-2000.jsonl.gz"
CASES = ("validate_10000", "validate_100000", "train_2000")
MAX_TOKENS = 2048
BATCH_SIZE = 8
SHOWN = 480  # characters of a text, so that 100,000 lines are 50 MB
SHARE = 10  # of the ceiling's texts one in so many is measured


def measure() -> dict[str, Any]:
    return {case: in_own_process(case) for case in CASES}


def in_own_process(case: str) -> dict[str, float]:
    command = [sys.executable, "-m", "benchmarks.data", case]
    environment = {**os.environ, "OMP_WAIT_POLICY": "PASSIVE"}  # as the service runs its trainer
    done = subprocess.run(
        command, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True, env=environment
    )
    numbers: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return numbers


def validate(num_lines: int) -> dict[str, float]:
    from tunesmith.datasets.render import Renderer

    renderer = Renderer.load(BASE_MODEL)
    with tempfile.TemporaryDirectory() as name:
        path = Path(name) / "data.jsonl"
        with path.open("w", encoding="utf-8") as file:
            file.writelines(numbered(num_lines))
        before_mb = peak_mb()
        started, cpu_before_s = time.perf_counter(), time.process_time()
        survey = survey_of(path, Path(name) / "survey", renderer)
        elapsed_s, cpu_s = time.perf_counter() - started, time.process_time() - cpu_before_s
        after_mb = peak_mb()
        assert survey.num_examples == num_lines
        return {
            "size_mb": round(path.stat().st_size / 1e6, 1),
            "seconds": round(elapsed_s, 1),
            "lines_per_cpu_s": round(num_lines / cpu_s),
            "ceiling_lines_per_cpu_s": round(ceiling(num_lines // SHARE)),
            "memory_before_mb": round(before_mb),
            "memory_mb": round(after_mb),
        }


def train(num_lines: int) -> dict[str, float]:
    import torch

    from tunesmith.datasets.render import Renderer
    from tunesmith.datasets.rows import RowFile
    from tunesmith.domain.plan import Hyperparameters, resolve
    from tunesmith.modeling.device import set_up_process
    from tunesmith.modeling.weights import load_decoder
    from tunesmith.training.loop import TrainingData
    from tunesmith.training.loop import train as run_loop
    from tunesmith.training.progress import Progress, StepDone

    set_up_process()
    base = load_decoder(BASE_MODEL, torch.device("cpu"), torch.float32)
    losses: list[float] = []
    peaks: list[float] = []

    def report(progress: Progress) -> None:
        if isinstance(progress, StepDone):
            losses.append(progress.metrics.train_loss)
            peaks.append(peak_mb())

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        path = folder / "data.jsonl"
        path.write_text("".join(as_chat(*problem) for problem in problems()), encoding="utf-8")
        survey = survey_of(path, folder / "survey", Renderer.load(BASE_MODEL))
        assert survey.lengths is not None
        assert survey.num_examples == num_lines
        plan = resolve(
            Hyperparameters(n_epochs=1, batch_size=BATCH_SIZE),
            num_examples=num_lines,
            hidden_size=base.shape.hidden_size,
            max_tokens=MAX_TOKENS,
            seed=0,
        )
        rows = RowFile(folder / "survey")
        started = time.perf_counter()
        run_loop(
            plan, TrainingData(rows), base, folder / "run", report, lambda: None, base_model="tiny"
        )
        elapsed_s = time.perf_counter() - started
        rows.close()
    tenth = len(losses) // 10
    return {
        "seconds": round(elapsed_s, 1),
        "tokens_per_s": round(survey.lengths.total / elapsed_s),
        "loss_of_first_tenth": round(sum(losses[:tenth]) / tenth, 3),
        "loss_of_last_tenth": round(sum(losses[-tenth:]) / tenth, 3),
        "memory_after_a_tenth_mb": round(peaks[tenth]),
        "memory_mb": round(peaks[-1]),
    }


def survey_of(path: Path, folder: Path, renderer: Any) -> Any:
    from tunesmith.datasets.survey import survey_file
    from tunesmith.domain.models import EVERY_MODE

    with path.open("rb") as source:
        return survey_file(
            source,
            renderer,
            folder,
            formats=EVERY_MODE,
            max_tokens=MAX_TOKENS,
            max_problems=20,
            keeps_rows=True,
        )


def ceiling(num_lines: int) -> float:
    """Lines a second of a tokenizer that has nothing else to do, and gets all texts at once."""
    import tokenizers

    tokenizer = tokenizers.Tokenizer.from_file(str(BASE_MODEL / "tokenizer.json"))
    lines = [json.loads(line) for line in numbered(num_lines)]
    texts = [message["content"] for line in lines for message in line["messages"]]
    started = time.process_time()
    tokenizer.encode_batch_fast(texts, add_special_tokens=False)
    return num_lines / (time.process_time() - started)


def numbered(num_lines: int) -> Iterator[str]:
    known = list(problems())
    for number in range(num_lines):
        question, answer = known[number % len(known)]
        yield as_chat(f"{number}. {question}"[: SHOWN // 2], answer[: SHOWN // 2])


def as_chat(question: str, answer: str) -> str:
    messages = [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]
    return json.dumps({"messages": messages}, ensure_ascii=False) + "\n"


def problems() -> Iterator[tuple[str, str]]:
    with gzip.open(PROBLEMS) as content:
        for line in io.TextIOWrapper(content, encoding="utf-8"):
            problem = json.loads(line)
            yield problem["question"], problem["answer"]


def peak_mb() -> float:
    """VmHWM. (`ru_maxrss` begins with the peak of whoever started the process.)"""
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) / 1024


if __name__ == "__main__":
    kind, _, size = sys.argv[1].partition("_")
    print(json.dumps({"validate": validate, "train": train}[kind](int(size))))
