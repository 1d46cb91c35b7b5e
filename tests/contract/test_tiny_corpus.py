"""What tunesmith-tiny is trained on against what the service makes of the same conversation.

The recipe writes its rows itself and trains with transformers. If they differed from the
renderer's by a space, the model would be served prompts that it never saw.
"""

import random
from pathlib import Path
from typing import Any

import pytest
from tokenizers import Tokenizer

from recipes.tunesmith_tiny import classes, extraction, tool_calls
from recipes.tunesmith_tiny.batches import weighted
from recipes.tunesmith_tiny.corpus import Row
from recipes.tunesmith_tiny.tasks import Task
from tunesmith.datasets.chat_line import parse_chat
from tunesmith.datasets.render import Renderer

TINY = Path(__file__).parents[2] / "src/tunesmith/base_models/tunesmith-tiny"


@pytest.mark.parametrize(
    "draw", [tool_calls.any_tool_task, extraction.extraction, classes.label_task]
)
def test_training_rows_of_the_recipe_are_those_of_the_renderer(draw: Any) -> None:
    renderer, tokenizer = Renderer.load(TINY), Tokenizer.from_file(str(TINY / "tokenizer.json"))
    rng = random.Random(3)
    for _ in range(100):
        task: Task = draw(rng)
        row = Row(task.parts())
        token_ids, loss_weights = weighted(row, tokenizer.encode(row.text))

        example = {"messages": list(task.messages)}
        (expected,) = renderer.rows(parse_chat(example | _tools(task)), max_tokens=2_048)

        assert token_ids == expected.token_ids
        assert loss_weights == expected.loss_weights


def _tools(task: Task) -> dict[str, Any]:
    return {"tools": list(task.tools)} if task.tools else {}
