"""The whole loop against transformers, PEFT and torch's own optimiser doing the same job.

PEFT starts from an adapter that we wrote before the first step, so both sides hold the same
weights; everything else is theirs.
"""

from pathlib import Path

import pytest
import torch
from torch.nn import functional

from tests.small_models import Kind, make_model
from tests.unit.training.runs import Examples, make_examples, make_plan, run
from tunesmith.adapters.files import load_adapter, save_adapter
from tunesmith.datasets.batch import epoch_order
from tunesmith.datasets.render import Row
from tunesmith.domain.plan import TrainingPlan
from tunesmith.modeling.lora import LoraAdapter, LoraSpec
from tunesmith.modeling.weights import load_decoder


def weights_of(row: Row, plan: TrainingPlan) -> list[float]:
    """Of each label, the second token being the first one."""
    weights, is_prompt = [], row.loss_weights[0] == 0
    for weight in row.loss_weights[1:]:
        is_prompt = is_prompt and weight == 0
        weights.append(plan.prompt_loss_weight if is_prompt else weight)
    return weights


def train_with_peft(
    plan: TrainingPlan, examples: Examples, base_folder: Path, adapter_folder: Path
) -> tuple[list[float], dict[str, torch.Tensor]]:
    """Losses, and the trained tensors by PEFT's names."""
    from peft import PeftModel, get_peft_model_state_dict  # here: importing them takes seconds
    from transformers import AutoModelForCausalLM, get_linear_schedule_with_warmup

    base = AutoModelForCausalLM.from_pretrained(base_folder, dtype=torch.float32)
    module = PeftModel.from_pretrained(base, adapter_folder, is_trainable=True)
    module.eval()  # no dropout
    parameters = [parameter for parameter in module.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(parameters, lr=plan.learning_rate, weight_decay=plan.weight_decay)
    schedule = get_linear_schedule_with_warmup(optimizer, 0, plan.num_steps)
    losses = []
    for epoch in range(plan.n_epochs):
        order = epoch_order(len(examples), plan.seed, epoch)
        for start in range(0, len(order), plan.batch_size):
            rows = [examples[index][0] for index in order[start : start + plan.batch_size]]
            weight = sum(sum(weights_of(row, plan)) for row in rows)
            total = torch.zeros(())
            for row in rows:
                token_ids = torch.tensor([row.token_ids])
                logits = module(token_ids).logits[0, :-1]
                nll = functional.cross_entropy(logits, token_ids[0, 1:], reduction="none")
                total = total + (nll * torch.tensor(weights_of(row, plan))).sum()
            optimizer.zero_grad()
            (total / weight).backward()
            torch.nn.utils.clip_grad_norm_(parameters, plan.max_grad_norm)
            optimizer.step()
            schedule.step()
            losses.append(total.item() / weight)
    return losses, get_peft_model_state_dict(module)


@pytest.mark.filterwarnings("ignore")  # they warn each other of their next versions
@pytest.mark.parametrize(
    ("kind", "prompt_loss_weight"),
    [("llama", 0.0), ("qwen3", 0.0), ("llama", 0.01), ("llama", 1.0)],
)
def test_losses_and_trained_weights_are_those_of_peft(
    kind: Kind, prompt_loss_weight: float, tmp_path: Path
) -> None:
    base_folder = make_model(tmp_path / "base", kind)
    base = load_decoder(base_folder, torch.device("cpu"), torch.float32)
    examples = make_examples(5)
    # transformers' warm-up begins at rate 0, which ours never uses: both go without one.
    plan = make_plan(
        examples,
        n_epochs=3,
        warmup_steps=0,
        weight_decay=0.1,
        prompt_loss_weight=prompt_loss_weight,
    )
    spec = LoraSpec(plan.rank, plan.alpha, plan.target_modules)
    fresh = LoraAdapter.initialise(base.shape, spec, plan.seed)
    save_adapter(tmp_path / "fresh", fresh, "small")

    record = run(plan, examples, base, tmp_path / "run")
    losses, tensors = train_with_peft(plan, examples, base_folder, tmp_path / "fresh")

    assert [done.metrics.train_loss for done in record.steps] == pytest.approx(losses, rel=1e-4)
    folder = record.checkpoints[-1].adapter_folder
    trained = load_adapter(folder, base.shape, torch.device("cpu"))
    for module, (a, b) in trained.weights.items():
        name = f"base_model.model.model.{module}.lora_"
        torch.testing.assert_close(a, tensors[f"{name}A.weight"], rtol=1e-3, atol=1e-4)
        torch.testing.assert_close(b, tensors[f"{name}B.weight"], rtol=1e-3, atol=1e-4)
