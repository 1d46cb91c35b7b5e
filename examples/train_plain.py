"""LoRA fine-tuning in a hundred lines: the maths of `tunesmith.training.loop`, nothing around it.

    python examples/train_plain.py

tunes the packaged `tunesmith-tiny` on the Marv examples and prints a loss per step, then asks
it something. No options, no checkpoints, no validation, one row at a time. A test holds the
losses to those of the real loop, so read this first and that one afterwards.
"""

from collections.abc import Iterator
from pathlib import Path

import torch
import torch.nn.functional as F

import tunesmith
from tunesmith.datasets import check
from tunesmith.datasets.batch import step_batches
from tunesmith.datasets.render import Renderer, Row
from tunesmith.domain.chat import Conversation, Message, Role
from tunesmith.domain.plan import TARGET_MODULES
from tunesmith.modeling.attention import RowAttention
from tunesmith.modeling.decoder import Decoder
from tunesmith.modeling.lora import LoraAdapter, LoraSpec
from tunesmith.modeling.weights import load_decoder

BASE_MODEL = Path(tunesmith.__file__).parent / "base_models" / "tunesmith-tiny"
TRAINING_FILE = Path(__file__).parent / "marv.jsonl"
SYSTEM_PROMPT = "You are Marv, a factual chatbot that is also sarcastic."

NUM_EPOCHS = 4
BATCH_SIZE = 4  # examples per step
LEARNING_RATE = 2e-3  # at its peak
WARMUP_STEPS = 3
MAX_GRAD_NORM = 1.0
SEED = 42
MAX_TOKENS = 2048  # of one example
LORA = LoraSpec(rank=16, alpha=32.0, target_modules=TARGET_MODULES)


def main() -> None:
    base = load_decoder(BASE_MODEL, torch.device("cpu"), torch.float32)
    renderer = Renderer.load(BASE_MODEL)
    adapter = LoraAdapter.initialise(base.shape, LORA, SEED)
    examples = read_examples(renderer, TRAINING_FILE)
    for step, loss in enumerate(train(base, adapter, examples), start=1):
        print(f"step {step}: loss {loss:.4f}")
    print(answer(base, adapter, renderer, "What is the capital of Portugal?"))


def read_examples(renderer: Renderer, path: Path) -> list[list[Row]]:
    """Each example as token ids and the weight of each token's loss: 1 for what the assistant
    says, 0 for what it reads."""
    with path.open("rb") as file:
        examples = check.read_examples(file, file_id=path.name)
    return [renderer.rows(example.content, MAX_TOKENS) for example in examples]


def train(base: Decoder, adapter: LoraAdapter, examples: list[list[Row]]) -> Iterator[float]:
    """Changes `adapter`, and gives the loss of each step in nats per token."""
    optimizer = torch.optim.AdamW(adapter.parameters(), weight_decay=0.0)
    steps = [
        rows
        for epoch in range(NUM_EPOCHS)
        for rows in step_batches(examples, BATCH_SIZE, SEED, epoch)
    ]
    for step, rows in enumerate(steps):
        # The mean is over the tokens of the step, not over rows: a long answer weighs more.
        weight = sum(sum(row.loss_weights) for row in rows)
        loss = torch.stack([summed_loss(base, adapter, row) for row in rows]).sum() / weight
        loss.backward()
        torch.nn.utils.clip_grad_norm_(adapter.parameters(), MAX_GRAD_NORM)
        optimizer.param_groups[0]["lr"] = LEARNING_RATE * schedule(step, len(steps))
        optimizer.step()
        optimizer.zero_grad()
        yield loss.item()


def summed_loss(base: Decoder, adapter: LoraAdapter, row: Row) -> torch.Tensor:
    """Of predicting each token of the row from those before it."""
    token_ids = torch.tensor(row.token_ids)
    logits = next_token_logits(base, adapter, token_ids[:-1])
    losses = F.cross_entropy(logits, token_ids[1:], reduction="none")
    return (losses * torch.tensor(row.loss_weights[1:])).sum()


def next_token_logits(base: Decoder, adapter: LoraAdapter, token_ids: torch.Tensor) -> torch.Tensor:
    """[T] → [T, vocabulary]"""
    positions = torch.arange(len(token_ids))
    return base.logits(base(token_ids, positions, RowAttention([len(token_ids)]), adapter))


def schedule(step: int, num_steps: int) -> float:
    """A share of the peak: linear warm-up, then linear decay."""
    if step < WARMUP_STEPS:
        return (step + 1) / WARMUP_STEPS
    return (num_steps - step) / (num_steps - WARMUP_STEPS)


@torch.no_grad()
def answer(base: Decoder, adapter: LoraAdapter, renderer: Renderer, question: str) -> str:
    """The most likely tokens, one after another."""
    messages = Message(Role.SYSTEM, SYSTEM_PROMPT), Message(Role.USER, question)
    prompt = renderer.prompt(Conversation(messages))
    tokens = list(prompt)
    while len(tokens) < len(prompt) + 60 and tokens[-1] not in renderer.end_token_ids:
        tokens.append(int(next_token_logits(base, adapter, torch.tensor(tokens))[-1].argmax()))
    return renderer.decode(tokens[len(prompt) :])


if __name__ == "__main__":
    main()
