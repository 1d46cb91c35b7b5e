"""Train tunesmith-tiny from scratch: tokenizer, corpus on the fly, one loop, four stages.

On disk afterwards: a folder in Hugging Face's format that transformers and tunesmith load alike,
and in the work folder the earlier stages' models and each stage's state. All are rewritten every
two minutes, so a run that is cut short leaves a model behind, and the same command goes on from
there.
"""

from __future__ import annotations

import os
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from tokenizers import Tokenizer
from torch.nn import functional
from transformers import LlamaForCausalLM

from recipes.tunesmith_tiny.batches import Batch, batches
from recipes.tunesmith_tiny.model_files import new_module, save_model
from recipes.tunesmith_tiny.styles import MANY_QUESTIONS, MANY_TASKS, MANY_VOICES, MOSTLY_PLAIN, Mix
from recipes.tunesmith_tiny.tokenizer import save_tokenizer, train_tokenizer

WARMUP_STEPS = 100
WEIGHT_DECAY = 0.05
SAVE_EVERY_S = 120


@dataclass(frozen=True)
class Stage:
    mix: Mix
    num_steps: int
    peak_lr: float
    decay_share: float = 1 / 3  # of the steps, at the end
    batch_tokens: int = 1_024  # of each thread's batch: about 20 short conversations


# First the model learns the facts, mostly in plain sentences. Such a sentence repeats the
# question's words and so leads to the fact; a short answer must find it unaided, which is what most
# tuning data asks for. So the second stage is mostly short answers in all sorts of wordings, and
# the third asks in all sorts of wordings too. The fourth adds what a prompt explains: extraction,
# function calls, labels; and goes on with all of the rest, which would be forgotten otherwise.
STAGES = (
    Stage(MOSTLY_PLAIN, num_steps=3_150, peak_lr=2e-3),
    Stage(MANY_VOICES, num_steps=2_200, peak_lr=2e-3),
    Stage(MANY_QUESTIONS, num_steps=900, peak_lr=1.2e-3),
    Stage(MANY_TASKS, num_steps=2_600, peak_lr=1.5e-3, batch_tokens=2_048, decay_share=0.55),
)


def train(
    folder: Path,
    work_folder: Path,
    seed: int,
    num_threads: int,
    *,
    last_stage_on: Path | None = None,
    is_bfloat16: bool = False,
) -> None:
    """Write the finished model into `folder`.

    `last_stage_on`: a model that has been through the earlier stages; they are left out then.
    `is_bfloat16`: the matrix products of the forward and backward passes, not the weights.
    """
    # One thread a batch and one batch per thread a step: threads then meet once a step and not at
    # every operation, where they would wait for each other on a machine with other work to do.
    torch.set_num_threads(1)
    previous = last_stage_on
    for number, stage in enumerate(STAGES):
        if last_stage_on and number < len(STAGES) - 1:
            continue
        is_last = number == len(STAGES) - 1
        target = folder if is_last else work_folder / f"stage-{number + 1}"
        target.mkdir(parents=True, exist_ok=True)
        work_folder.mkdir(parents=True, exist_ok=True)
        state_file = work_folder / f"stage-{number + 1}.pt"
        run_stage(stage, previous, target, state_file, seed + number, num_threads, is_bfloat16)
        previous = target


def run_stage(
    stage: Stage,
    start_from: Path | None,
    folder: Path,
    state_file: Path,
    seed: int,
    num_threads: int,
    is_bfloat16: bool,
) -> None:
    """One stage, from scratch or from the model in `start_from`, into `folder`.

    A *step* is one optimiser step on one batch per thread.
    """
    torch.manual_seed(seed)
    if start_from is None:
        tokenizer, module = train_tokenizer(seed), new_module()
    else:
        tokenizer = Tokenizer.from_file(str(start_from / "tokenizer.json"))
        module = LlamaForCausalLM.from_pretrained(start_from, dtype=torch.float32)
    save_tokenizer(tokenizer, folder)
    parameters = list(module.parameters())
    num_parameters = sum(parameter.numel() for parameter in parameters)
    print(f"{num_parameters:,} parameters, vocabulary {tokenizer.get_vocab_size()}", flush=True)

    optimiser = torch.optim.AdamW(
        [
            {"params": [p for p in parameters if p.dim() == 2], "weight_decay": WEIGHT_DECAY},
            {"params": [p for p in parameters if p.dim() < 2], "weight_decay": 0.0},
        ],
        lr=stage.peak_lr,
        betas=(0.9, 0.98),
        fused=True,
    )
    source = batches(tokenizer, seed, stage.mix, stage.batch_tokens)
    first_step = 0
    if state_file.exists():
        first_step = _load_state(state_file, module, optimiser)
        for _ in range(first_step * num_threads):  # the batches already seen
            next(source)
        print(f"going on from step {first_step}", flush=True)

    started = saved = reported = time.monotonic()
    num_tokens, losses = 0, []
    workers = ThreadPoolExecutor(num_threads)
    gradients_of = partial(_gradients, module, parameters, is_bfloat16)
    for step in range(first_step, stage.num_steps):
        for group in optimiser.param_groups:
            group["lr"] = learning_rate(step, stage)

        share = [next(source) for _ in range(num_threads)]
        total_weight = sum(float(batch.weights.sum()) for batch in share)
        results = list(workers.map(partial(gradients_of, total_weight), share))
        for i, parameter in enumerate(parameters):
            parameter.grad = torch.stack([gradients[i] for _, gradients in results]).sum(0)
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimiser.step()

        num_tokens += sum(batch.num_tokens for batch in share)
        losses.append(sum(loss for loss, _ in results))
        now = time.monotonic()
        if now - reported > 30:
            print(
                f"{now - started:6.0f} s  step {step:5d}  loss {sum(losses) / len(losses):.3f}  "
                f"{num_tokens / (now - started):5.0f} tokens/s  {num_tokens / 1e6:.1f} M tokens",
                flush=True,
            )
            reported, losses = now, []
        if now - saved > SAVE_EVERY_S:
            save_model(module, folder)
            _save_state(state_file, module, optimiser, step + 1)
            saved = now
    save_model(module, folder)
    _save_state(state_file, module, optimiser, stage.num_steps)
    print(f"done in {time.monotonic() - started:.0f} s, {num_tokens:,} tokens", flush=True)


def learning_rate(step: int, stage: Stage) -> float:
    """Linear warm-up, a plateau, then a straight line down to zero over the last part.

    On the plateau nothing depends on the stage's length: a run can be stopped there and gone on
    with to another length.
    """
    decay_steps = int(stage.num_steps * stage.decay_share)
    left = (stage.num_steps - step) / decay_steps
    return stage.peak_lr * min(1.0, (step + 1) / WARMUP_STEPS, left)


def _gradients(
    module: LlamaForCausalLM,
    parameters: list[torch.nn.Parameter],
    is_bfloat16: bool,
    total_weight: float,
    batch: Batch,
) -> tuple[float, tuple[torch.Tensor, ...]]:
    """This batch's part of the step's loss, and its gradient by parameter."""
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=is_bfloat16):
        hidden = module.model(batch.token_ids, use_cache=False).last_hidden_state
        # The head runs only where there is a loss: a third of the positions.
        bears_loss = batch.weights > 0
        logits = functional.linear(hidden[bears_loss], module.model.embed_tokens.weight)
    targets = batch.targets[bears_loss]
    losses = functional.cross_entropy(logits.float(), targets, reduction="none")
    loss = (losses * batch.weights[bears_loss]).sum() / total_weight
    return loss.item(), torch.autograd.grad(loss, parameters)


def _load_state(
    state_file: Path, module: LlamaForCausalLM, optimiser: torch.optim.Optimizer
) -> int:
    """Put the saved state back; gives the step to go on with."""
    state = torch.load(state_file)
    module.load_state_dict(state["module"])
    optimiser.load_state_dict(state["optimiser"])
    return int(state["step"])


def _save_state(
    state_file: Path, module: LlamaForCausalLM, optimiser: torch.optim.Optimizer, step: int
) -> None:
    state = {"module": module.state_dict(), "optimiser": optimiser.state_dict(), "step": step}
    torch.save(state, state_file.with_suffix(".part"))
    os.replace(state_file.with_suffix(".part"), state_file)
