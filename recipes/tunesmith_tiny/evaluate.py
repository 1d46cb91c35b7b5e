"""Measure a finished tunesmith-tiny: what it knows, and how well it tunes. Prints a table and JSON.

**Knowing.** Every fact, asked in a phrasing that the corpus never used; the plain answer, decoded
greedily, must hold the right answer as a whole word.

**Doing.** What a prompt explains: see `evaluate_tasks.py`.

**Tuning.** LoRA on `examples/marv.jsonl`, then the capital of every country that Marv's examples
never mention. An answer counts when it is *right* (holds the capital, and no other capital) and
*in style*: what remains without the capital shares a run of four words with one of Marv's
training answers. Before tuning, the same count shows how much of Marv the base had in it.

Runs on transformers and a LoRA of twenty lines, so that it judges the weights and not our own
engine.
"""

from __future__ import annotations

import json
import math
import random
import re
import time
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn
from torch.nn import functional
from transformers import AutoTokenizer, LlamaForCausalLM

from recipes.tunesmith_tiny import turns
from recipes.tunesmith_tiny.countries import COUNTRIES
from recipes.tunesmith_tiny.decoding import Tokenizer, answer, prompt_of, rendered
from recipes.tunesmith_tiny.evaluate_tasks import task_accuracies
from recipes.tunesmith_tiny.phrasings import PHRASINGS
from recipes.tunesmith_tiny.world import Fact

MARV = Path("examples/marv.jsonl")
SAMPLE_PER_FAMILY = 200  # at most

Message = dict[str, str]


@dataclass(frozen=True)
class TuningRun:
    batch_size: int
    num_epochs: int
    peak_lr: float
    rank: int = 16
    alpha: int = 32


@dataclass(frozen=True)
class Score:
    num_asked: int
    right: float
    in_style: float
    right_and_in_style: float


# About what the service's "auto" gives for so few examples, and a longer run in larger batches.
TUNING_RUNS = (TuningRun(1, 3, 1.6e-3), TuningRun(8, 10, 2e-3))


def main(folder: Path, seed: int, num_threads: int) -> None:
    torch.set_num_threads(num_threads)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    module = LlamaForCausalLM.from_pretrained(folder, dtype=torch.float32)
    knowing = accuracies(module, tokenizer, seed)
    _print_rows(knowing)
    doing = task_accuracies(module, tokenizer, seed)
    _print_rows(doing)
    examples = [json.loads(line)["messages"] for line in MARV.read_text().splitlines()]
    before = marv_score(module, tokenizer, examples)
    print(f"{'Marv before tuning':24} {before}")
    tuned = {}
    for run in TUNING_RUNS:
        started = time.monotonic()
        tuned_module = tune(folder, tokenizer, examples, run, seed)
        seconds = time.monotonic() - started
        score = marv_score(tuned_module, tokenizer, examples)
        name = f"batch {run.batch_size} x {run.num_epochs} epochs, lr {run.peak_lr:g}"
        print(f"{name:24} {score}  {seconds:.0f} s")
        tuned[name] = {**score.__dict__, "seconds": round(seconds, 1)}
    print(
        json.dumps({
            "knowing": knowing, "doing": doing,
            "marv_before": before.__dict__, "marv_tuned": tuned,
        })
    )  # fmt: skip


def _print_rows(shares: dict[str, float]) -> None:
    """As the model card has them."""
    for name, value in shares.items():
        print(f"| {name} | {value:.1%} |", flush=True)


def accuracies(module: nn.Module, tokenizer: Tokenizer, seed: int) -> dict[str, float]:
    """Share of right plain answers by family, on held-out phrasings only."""
    rng = random.Random(seed)
    result = {}
    for family in PHRASINGS:
        facts: list[Fact] = turns.FACTS[family]
        if len(facts) > SAMPLE_PER_FAMILY:
            facts = rng.sample(facts, SAMPLE_PER_FAMILY)
        asked = [turns.fact_turn(fact, rng, held_out=True) for fact in facts]
        result[family] = _share_right(module, tokenizer, asked)
    result["sentiment"] = _share_right(
        module,
        tokenizer,
        [turns.sentiment_turn(rng, held_out=True) for _ in range(SAMPLE_PER_FAMILY)],
    )
    result["topic"] = _share_right(
        module, tokenizer, [turns.topic_turn(rng, held_out=True) for _ in range(SAMPLE_PER_FAMILY)]
    )
    result["yes or no"] = _share_right(
        module, tokenizer, [turns.yes_no_turn(rng) for _ in range(SAMPLE_PER_FAMILY)]
    )
    # The same capitals after a long conversation about other things: 1,500 tokens and more into
    # the window.
    capitals = [
        turns.fact_turn(fact, rng, held_out=True) for fact in rng.sample(turns.FACTS["capital"], 40)
    ]
    result["capital, late in the window"] = _share_right(
        module, tokenizer, capitals, before=_long_past(tokenizer, rng, 1_500)
    )
    return result


def marv_score(module: nn.Module, tokenizer: Tokenizer, examples: list[list[Message]]) -> Score:
    """Over every country that `examples` never mention, asked in ten phrasings in turn."""
    told = " ".join(message["content"] for example in examples for message in example)
    unseen = [
        country for country in COUNTRIES if country.name not in told and country.capital not in told
    ]
    questions = PHRASINGS["capital"].questions[:4] + PHRASINGS["capital"].held_out
    system = examples[0][0]
    asked = [
        [system, {"role": "user", "content": questions[i % len(questions)].format(s=country.name)}]
        for i, country in enumerate(unseen)
    ]
    replies = answer(module, tokenizer, [prompt_of(tokenizer, messages) for messages in asked])
    runs = {run for example in examples for run in _word_runs(example[-1]["content"])}
    right = [
        _is_right(reply, country.capital) for reply, country in zip(replies, unseen, strict=True)
    ]
    style = [
        bool(runs & _word_runs(reply.replace(country.capital, " ")))
        for reply, country in zip(replies, unseen, strict=True)
    ]
    for reply, country in list(zip(replies, unseen, strict=True))[:6]:
        print(f"    {country.name}: {reply}")
    both = [r and s for r, s in zip(right, style, strict=True)]
    num = len(unseen)
    return Score(num, sum(right) / num, sum(style) / num, sum(both) / num)


def _is_right(reply: str, capital: str) -> bool:
    if not _holds(reply, capital):
        return False
    rest = reply.replace(capital, " ")
    return not any(_holds(rest, other.capital) for other in COUNTRIES)


def _holds(reply: str, expected: str) -> bool:
    return re.search(rf"(?<!\w){re.escape(expected.lower())}(?!\w)", reply.lower()) is not None


def _word_runs(text: str) -> set[tuple[str, ...]]:
    """Every run of four words in `text`."""
    found = re.findall(r"[a-z']+", text.lower())
    return {tuple(found[i : i + 4]) for i in range(len(found) - 3)}


def _share_right(
    module: nn.Module,
    tokenizer: Tokenizer,
    asked: list[turns.Turn],
    before: list[Message] | None = None,
) -> float:
    prompts = [
        prompt_of(tokenizer, [*(before or []), {"role": "user", "content": turn.question}])
        for turn in asked
    ]
    replies = answer(module, tokenizer, prompts)
    return sum(_holds(r, turn.answer) for r, turn in zip(replies, asked, strict=True)) / len(asked)


def _long_past(tokenizer: Tokenizer, rng: random.Random, num_tokens: int) -> list[Message]:
    messages: list[Message] = []
    while (
        len(tokenizer(rendered(tokenizer, messages))["input_ids"] if messages else []) < num_tokens
    ):
        turn = turns.any_turn(rng)
        messages += [
            {"role": "user", "content": turn.question},
            {"role": "assistant", "content": turn.plain},
        ]
    return messages


class LoraLinear(nn.Module):
    """A frozen linear layer plus a trained low-rank part (Hu et al. 2021, equation 3)."""

    def __init__(self, base: nn.Linear, rank: int, alpha: int) -> None:
        super().__init__()
        self.base = base
        self.down = nn.Parameter(torch.empty(rank, base.in_features))
        self.up = nn.Parameter(torch.zeros(base.out_features, rank))
        self.scale = alpha / rank
        nn.init.kaiming_uniform_(self.down, a=math.sqrt(5))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        base: torch.Tensor = self.base(x)
        return base + self.scale * functional.linear(functional.linear(x, self.down), self.up)


def tune(
    folder: Path,
    tokenizer: Tokenizer,
    examples: list[list[Message]],
    run: TuningRun,
    seed: int,
) -> nn.Module:
    """A fresh copy of the base, tuned on `examples` with loss on the last message."""
    torch.manual_seed(seed)
    module = LlamaForCausalLM.from_pretrained(folder, dtype=torch.float32).requires_grad_(False)
    for layer in module.model.layers:
        for parent in (layer.self_attn, layer.mlp):
            for name, child in list(parent.named_children()):
                if isinstance(child, nn.Linear):
                    setattr(parent, name, LoraLinear(child, run.rank, run.alpha))
    trained = [p for p in module.parameters() if p.requires_grad]
    optimiser = torch.optim.AdamW(trained, lr=run.peak_lr, weight_decay=0.0)
    rows = [_training_row(tokenizer, example) for example in examples]
    rng = random.Random(seed)
    steps_per_epoch = math.ceil(len(rows) / run.batch_size)
    num_steps = run.num_epochs * steps_per_epoch
    step = 0
    for _ in range(run.num_epochs):
        rng.shuffle(rows)
        for start in range(0, len(rows), run.batch_size):
            warm = min(1.0, (step + 1) / max(1, round(0.1 * num_steps)))
            lr = run.peak_lr * warm * (1 - step / num_steps)
            for group in optimiser.param_groups:
                group["lr"] = lr
            batch = rows[start : start + run.batch_size]
            length = max(len(ids) for ids, _ in batch)
            token_ids = torch.tensor([ids + [0] * (length - len(ids)) for ids, _ in batch])
            targets = torch.tensor(
                [labels + [-100] * (length - len(labels)) for _, labels in batch]
            )
            logits = module(token_ids).logits
            loss = functional.cross_entropy(logits.flatten(0, 1), targets.flatten())
            loss.backward()  # type: ignore[no-untyped-call]
            torch.nn.utils.clip_grad_norm_(trained, 1.0)
            optimiser.step()
            optimiser.zero_grad(set_to_none=True)
            step += 1
    return module


def _training_row(tokenizer: Tokenizer, example: list[Message]) -> tuple[list[int], list[int]]:
    prompt = prompt_of(tokenizer, example[:-1])
    whole = rendered(tokenizer, example)
    assert whole.startswith(prompt), "the chat template must be prefix-stable"
    ids = tokenizer(whole, add_special_tokens=False)["input_ids"]
    num_prompt = len(tokenizer(prompt, add_special_tokens=False)["input_ids"])
    return ids[:-1], [-100] * (num_prompt - 1) + ids[num_prompt:]
