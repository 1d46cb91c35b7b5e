"""How well tunesmith-tiny does what a prompt explains: extraction, calls, labels; and reckoning.

Requests and texts are worded as training never words them, and the values in them are drawn
afresh. Nothing counts that is only nearly right.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from typing import Any

from torch import nn

from recipes.tunesmith_tiny import classes, extraction, tool_calls, units, word_problems
from recipes.tunesmith_tiny.decoding import Tokenizer, answer, prompt_of
from recipes.tunesmith_tiny.tasks import Task
from recipes.tunesmith_tiny.turns import Turn

NUM_TASKS = 200  # of each kind
MAX_TASK_TOKENS = 120
CALL = "<|tool_call|>"


def task_accuracies(module: nn.Module, tokenizer: Tokenizer, seed: int) -> dict[str, float]:
    rng = random.Random(seed)
    result: dict[str, float] = {}

    def ask(draw: Callable[[random.Random], Task]) -> list[tuple[Task, str]]:
        tasks = [draw(rng) for _ in range(NUM_TASKS)]
        prompts = [prompt_of(tokenizer, task.prompt, task.tools) for task in tasks]
        replies = answer(module, tokenizer, prompts, max_tokens=MAX_TASK_TOKENS)
        return list(zip(tasks, replies, strict=True))

    for name, held_out in (("familiar wording", False), ("new wording", True)):
        extracted = ask(
            lambda rng, held_out=held_out: extraction.extraction(rng, held_out=held_out)
        )  # type: ignore[misc]
        result[f"extraction, {name}: is JSON with the keys asked for"] = _share(
            _has_keys(_parsed(reply), _expected(task)) for task, reply in extracted
        )
        result[f"extraction, {name}: every value right"] = _share(
            _is_same(_parsed(reply), _expected(task)) for task, reply in extracted
        )

    for name, held_out in (("familiar request", False), ("new request", True)):
        called = ask(lambda rng, held_out=held_out: tool_calls.call_task(rng, held_out=held_out))  # type: ignore[misc]
        expected = [task.answer["tool_calls"][0]["function"] for task, _ in called]
        calls = [_call(reply) for _, reply in called]
        pairs = list(zip(calls, expected, strict=True))
        result[f"call, {name}: right function"] = _share(
            call.get("name") == want["name"] for call, want in pairs
        )
        result[f"call, {name}: arguments right too"] = _share(
            call.get("name") == want["name"]
            and _is_same(call.get("arguments"), json.loads(want["arguments"]))
            for call, want in pairs
        )
    uncalled = ask(tool_calls.no_call_task)
    result["no tool fits: no call, right capital"] = _share(
        reply == task.answer["content"] for task, reply in uncalled
    )
    told = ask(tool_calls.result_task)
    result["result of a call: told right"] = _share(
        reply == task.answer["content"] for task, reply in told
    )

    for kind, labelling in classes.LABELLINGS.items():
        labelled = ask(lambda rng, kind=kind: classes.label_task(rng, kind, held_out=True))  # type: ignore[misc]
        name = f"label: {kind} ({len(labelling.names)})"
        result[name] = _share(reply == task.answer["content"] for task, reply in labelled)

    def told_last(draw: Callable[[random.Random], Turn]) -> float:
        """Share of turns whose short answer ends the reply."""
        asked = [draw(rng) for _ in range(NUM_TASKS)]
        prompts = [prompt_of(tokenizer, [{"role": "user", "content": t.question}]) for t in asked]
        replies = answer(module, tokenizer, prompts)
        return _share(
            f" {reply}".removesuffix(".").endswith(f" {turn.answer}")
            for turn, reply in zip(asked, replies, strict=True)
        )

    result["units: shifted digits, new numbers"] = told_last(units.metric_turn_held_out)
    result["units: clock and calendar"] = told_last(units.calendar_turn_held_out)
    result["word problem of one step"] = told_last(
        lambda rng: word_problems.word_problem_turn(rng, held_out=True)
    )
    return result


def _share(found: Any) -> float:
    values = list(found)
    return sum(values) / len(values)


def _expected(task: Task) -> Any:
    return json.loads(task.answer["content"])


def _parsed(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return None


def _has_keys(value: Any, expected: dict[str, Any]) -> bool:
    return isinstance(value, dict) and list(value) == list(expected)


def _is_same(value: Any, expected: dict[str, Any]) -> bool:
    """Also in kind: 5 is not "5"."""
    return bool(json.dumps(value) == json.dumps(expected))


def _call(reply: str) -> dict[str, Any]:
    """The one call that a reply is; nothing for any other reply."""
    if not reply.startswith(CALL):
        return {}
    call = _parsed(reply.removeprefix(CALL))
    return call if isinstance(call, dict) else {}
