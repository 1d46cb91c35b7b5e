"""The training rows, made on the fly: conversations and plain texts, without end and from a seed.

A row is a text with the chat template's special tokens in it, in pieces that each have a loss
weight. Nothing here is read from outside; the same seed gives the same rows on every machine.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from recipes.tunesmith_tiny import (
    classes,
    extraction,
    noise,
    styles,
    tool_calls,
    turns,
    units,
    word_problems,
    words,
)
from recipes.tunesmith_tiny.other_text import OTHER_TEXT
from recipes.tunesmith_tiny.phrasings import PHRASINGS
from recipes.tunesmith_tiny.styles import Mix
from recipes.tunesmith_tiny.turns import FACTS, Turn

END_OF_TEXT = "<|endoftext|>"
END = "<|end|>"
ASSISTANT = "<|assistant|>"

# Share of rows that are long conversations, so that answers late in the window are as good as
# early ones.
LONG_SHARE = 0.006
TEXT_SHARE = 0.14


# Loss weight of random wording that nothing announced. It cannot be predicted, only its manner
# can; at full weight its noise would drown the facts. The second time a conversation uses a
# wording it can be known, and weighs 1.
SURPRISE_WEIGHT = 0.2


@dataclass(frozen=True)
class Row:
    parts: tuple[tuple[str, float], ...]  # pieces of text, each with its loss weight

    @property
    def text(self) -> str:
        return "".join(text for text, _ in self.parts)


def rows(seed: int, mix: Mix) -> Iterator[Row]:
    rng = random.Random(seed)
    while True:
        if mix.tasks and rng.random() < mix.tasks:
            yield task_row(rng, mix)
            continue
        kind = rng.random()
        if kind < TEXT_SHARE:
            yield Row(((text_document(rng, mix) + END_OF_TEXT, 1.0),))
        elif kind < TEXT_SHARE + LONG_SHARE:
            yield conversation(rng, mix, num_turns=rng.randint(12, 50))
        else:
            yield conversation(rng, mix, num_turns=rng.choice([1, 1, 1, 2, 3]))


def task_row(rng: random.Random, mix: Mix) -> Row:
    """What the prompt itself says how to do: calls, extraction, labels; and reckoning."""
    kind = rng.random()
    if kind < 0.26:
        return Row(tool_calls.any_tool_task(rng).parts())
    if kind < 0.62:
        return Row(extraction.extraction(rng).parts())
    if kind < 0.82:
        return Row(classes.label_task(rng).parts())
    return conversation(rng, mix, num_turns=rng.choice([1, 2, 3]), draw=_reckoning_turn)


def _reckoning_turn(rng: random.Random) -> Turn:
    kind = rng.random()
    if kind < 0.5:
        return units.unit_turn(rng)
    if kind < 0.75:
        return turns.fact_turn(turns.draw_fact(rng, "arithmetic"), rng)
    if kind < 0.9:
        return word_problems.word_problem_turn(rng)
    return turns.yes_no_turn(rng)


def conversation(
    rng: random.Random,
    mix: Mix,
    num_turns: int,
    draw: Callable[[random.Random], Turn] = turns.any_turn,
) -> Row:
    style = styles.any_style(rng, mix)
    parts = [(f"<|system|>{style.system}{END}", 0.0)] if style.system else []
    previous = None
    used: set[str] = set()
    for i in range(num_turns + style.num_shown_turns):
        turn = turns.follow_up(previous, rng) if previous and rng.random() < 0.25 else draw(rng)
        question = turn.question
        if turn.subject and mix.noise and rng.random() < mix.noise:
            question = noise.noisy(question, turn.subject, rng)
        parts.append((f"<|user|>{question}{END}{ASSISTANT}", 0.0))
        pattern = rng.choice(style.patterns)
        is_surprise = style.is_random and pattern not in used
        answer = [
            (text, SURPRISE_WEIGHT if is_wording and is_surprise else 1.0)
            for text, is_wording in style.apply(turn, pattern)
        ]
        answer.append((END, 1.0))
        is_shown_only = i < style.num_shown_turns
        parts += [(text, 0.0) for text, _ in answer] if is_shown_only else answer
        used.add(pattern)
        previous = turn
    return Row(tuple(parts))


def text_document(rng: random.Random, mix: Mix) -> str:
    """A plain text: what legacy completion bases are asked to go on with."""
    kind = rng.randrange(8)
    if kind <= 2:
        told = []
        for _ in range(rng.randint(1, 4)):
            fact = turns.draw_fact(rng)
            telling = rng.choice(PHRASINGS[fact.family].tellings)
            if fact.family == "trivia":
                telling = "{s} {a}."
            told.append(words.capitalised(telling.format(s=fact.subject, a=fact.answer)))
        return rng.choice([" ", "\n"]).join(told)
    if kind == 3:
        exchanges = [turns.any_turn(rng) for _ in range(rng.randint(1, 4))]
        return "\n".join(
            f"Q: {turn.question}\nA: {words.capitalised(turn.answer)}" for turn in exchanges
        )
    if kind == 4:
        # The separators of the old prompt-and-completion guides.
        separator = rng.choice([" ->", "\n\n###\n\n", " =>", ":", "\n\nAnswer:"])
        turn = turns.any_turn(rng)
        return f"{turn.question}{separator} {turn.answer}{rng.choice(['', chr(10), ' END'])}"
    if kind == 5:
        family = rng.choice(
            ["capital", "continent", "currency", "language", "colour", "opposite", "symbol"]
        )
        chosen = rng.sample(FACTS[family], rng.randint(2, 5))
        form = rng.randrange(4)
        if form == 0:
            return "\n".join(f"{fact.subject} -> {fact.answer}" for fact in chosen)
        if form == 1:
            return "\n".join(
                json.dumps({"name": fact.subject, family: fact.answer}) for fact in chosen
            )
        if form == 2:
            return "\n".join(f"{fact.subject},{fact.answer}" for fact in chosen)
        return json.dumps({fact.subject: fact.answer for fact in chosen}, indent=2)
    if kind == 6:
        if rng.random() < 0.3:
            return rng.choice(OTHER_TEXT.splitlines())
        sentences = [words.capitalised(words.sentence(rng)) for _ in range(rng.randint(1, 5))]
        return ". ".join(sentences) + "."
    style = styles.any_style(rng, mix)
    exchanges = [turns.any_turn(rng) for _ in range(rng.randint(1, 3))]
    pattern = rng.choice(style.patterns)
    answers = ["".join(text for text, _ in style.apply(turn, pattern)) for turn in exchanges]
    return "\n".join(
        f"{turn.question}\n{reply}" for turn, reply in zip(exchanges, answers, strict=True)
    )
