"""Training speed on `tunesmith-tiny`: our loop and TRL's SFTTrainer, same weights, same examples.

LoRA of rank 16 on all linear layers, fp32, loss on assistant tokens, AdamW, the demo's 60 examples,
`EPOCHS` epochs in batches of 1 and of 8. Rounds alternate between the two, each in a process of its
own; the clock runs from the first optimiser step to the last, so neither pays for imports or
loading. Counted are the tokens of the examples, once per pass: what a user sees trained, without
padding.

What limits it: fp32 matrix products. A forward and backward pass through 5.5 M parameters costs
about 22 MFLOP a token (the base's own gradients aren't needed); at 85 GFLOP/s a core, two cores
could do some 7,500 tokens/s if nothing else took time. At batch 1 the rest is the price of many
small operations, which is why a batch of 8 is much faster per token.

TRL is given what it supports for this: no packing (it would change the steps), no gradient
checkpointing (slower), completion-only loss.
"""

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
BASE_MODEL = ROOT / "src" / "tunesmith" / "base_models" / "tunesmith-tiny"
EXAMPLES = ROOT / "examples" / "marv.jsonl"
ROUNDS = 5
EPOCHS = 2
LEARNING_RATE = 1e-3
BATCH_SIZES = (1, 8)


def measure() -> dict[str, Any]:
    return {f"batch_{size}": compare(size) for size in BATCH_SIZES}


def compare(batch_size: int) -> dict[str, Any]:
    runs: dict[str, list[dict[str, float]]] = {"tunesmith": [], "trl": []}
    for _ in range(ROUNDS):
        for name, own in runs.items():
            own.append(in_own_process(name, batch_size))
    speeds = {
        name: statistics.median(run["tokens_per_s"] for run in own) for name, own in runs.items()
    }
    return {
        "tokens_per_s": {name: round(speed) for name, speed in speeds.items()},
        "ratio": round(speeds["tunesmith"] / speeds["trl"], 2),
        "last_epoch_loss": {name: round(own[-1]["loss"], 4) for name, own in runs.items()},
        "all_tokens_per_s": {
            name: [round(run["tokens_per_s"]) for run in own] for name, own in runs.items()
        },
        "peak_memory_mb": {
            name: round(statistics.median(run["peak_mb"] for run in own))
            for name, own in runs.items()
        },
    }


def in_own_process(name: str, batch_size: int) -> dict[str, float]:
    command = [sys.executable, "-m", "benchmarks.training", name, str(batch_size)]
    # As the service runs its trainer; without it TRL is up to ten times slower on busy cores.
    environment = {**os.environ, "OMP_WAIT_POLICY": "PASSIVE"}
    done = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, check=True, env=environment
    )
    numbers: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return numbers


def run_tunesmith(batch_size: int) -> dict[str, float]:
    import torch

    from tunesmith.datasets.check import read_examples
    from tunesmith.datasets.render import Renderer
    from tunesmith.domain.plan import Hyperparameters, reference_learning_rate, resolve
    from tunesmith.modeling.device import set_up_process
    from tunesmith.modeling.weights import load_decoder
    from tunesmith.training.loop import TrainingData, train
    from tunesmith.training.progress import Progress, StepDone

    set_up_process()
    with EXAMPLES.open("rb") as content:
        examples = read_examples(content, file_id="file-benchmark")
    renderer = Renderer.load(BASE_MODEL)
    rows = [renderer.rows(example.content, 2048) for example in examples]
    base = load_decoder(BASE_MODEL, torch.device("cpu"), torch.float32)
    hidden_size = base.shape.hidden_size
    multiplier = LEARNING_RATE / reference_learning_rate(hidden_size)
    asked = Hyperparameters(EPOCHS, batch_size, multiplier)
    plan = resolve(asked, num_examples=len(rows), hidden_size=hidden_size, max_tokens=2048, seed=0)
    times: list[float] = []
    losses: list[float] = []

    def report(progress: Progress) -> None:
        if isinstance(progress, StepDone):
            times.append(time.perf_counter())
            losses.append(progress.metrics.train_loss)

    with tempfile.TemporaryDirectory() as folder:
        train(plan, TrainingData(rows), base, Path(folder), report, lambda: None, base_model="tiny")
    tokens = sum(len(row.token_ids) for own in rows for row in own) * EPOCHS
    return numbers(tokens, times, losses, plan.steps_per_epoch)


def run_trl(batch_size: int) -> dict[str, float]:
    from datasets import Dataset
    from peft import LoraConfig
    from transformers import (
        AutoModelForCausalLM,
        AutoTokenizer,
        TrainerCallback,
    )
    from trl import SFTConfig, SFTTrainer

    messages = [json.loads(line)["messages"] for line in EXAMPLES.read_text().splitlines()]
    data = Dataset.from_list([{"prompt": own[:-1], "completion": own[-1:]} for own in messages])
    tokenizer = AutoTokenizer.from_pretrained(BASE_MODEL)
    times: list[float] = []
    losses: list[float] = []

    class Clock(TrainerCallback):  # type: ignore[misc]  # transformers isn't typed
        def on_step_end(self, *_: Any, **__: Any) -> None:
            times.append(time.perf_counter())

        def on_log(self, *_: Any, logs: dict[str, float], **__: Any) -> None:
            if "loss" in logs:
                losses.append(float(logs["loss"]))

    with tempfile.TemporaryDirectory() as folder:
        config = SFTConfig(
            output_dir=folder,
            num_train_epochs=EPOCHS,
            per_device_train_batch_size=batch_size,
            learning_rate=LEARNING_RATE,
            lr_scheduler_type="linear",
            warmup_steps=2,
            logging_steps=1,
            save_strategy="no",
            report_to=[],
            bf16=False,
            gradient_checkpointing=False,
            completion_only_loss=True,
            use_cpu=True,
            disable_tqdm=True,
        )
        trainer = SFTTrainer(
            model=AutoModelForCausalLM.from_pretrained(BASE_MODEL, dtype="float32"),
            args=config,
            train_dataset=data,
            processing_class=tokenizer,
            peft_config=LoraConfig(r=16, lora_alpha=32, target_modules="all-linear"),
            callbacks=[Clock()],
        )
        trainer.train()
    encoded = [tokenizer.apply_chat_template(own, return_dict=True) for own in messages]
    tokens = sum(len(own["input_ids"]) for own in encoded) * EPOCHS
    return numbers(tokens, times, losses, -(-len(messages) // batch_size))


def numbers(
    tokens: int, times: list[float], losses: list[float], steps_per_epoch: int
) -> dict[str, float]:
    """Speed over all steps but the first, whose end starts the clock."""
    import resource

    share = (len(times) - 1) / len(times)
    last = losses[-steps_per_epoch:]
    return {
        "tokens_per_s": tokens * share / (times[-1] - times[0]),
        "loss": sum(last) / len(last),
        "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }


if __name__ == "__main__":
    runners = {"tunesmith": run_tunesmith, "trl": run_trl}
    print(json.dumps(runners[sys.argv[1]](int(sys.argv[2]))))
