"""How an answer is worded: plainly, in a persona's words, or as the system prompt demands.

A `Style` is a system prompt and a few patterns around the answer. The wordings of a persona are
random on purpose (see `words.py`). What tells the model *which* way to answer is always in its
context: an assistant or chatbot answers plainly whatever its name; any other role talks in its
own words; a demand ("End with …") is obeyed. So the base answers the demo's chatbot plainly, and
only tuning gives that chatbot its voice.
"""
# ruff: noqa: SIM905 - a list of syllables reads better as text

from __future__ import annotations

import random
import re
from dataclasses import dataclass

from recipes.tunesmith_tiny import words
from recipes.tunesmith_tiny.turns import Turn


@dataclass(frozen=True)
class Style:
    system: str | None
    patterns: tuple[str, ...]  # {a}: short answer, {p}: plain sentence
    is_random: bool = False  # nothing in the context tells the wording before its first use
    num_shown_turns: int = 0  # first turns that only show the style: no loss on them

    def apply(self, turn: Turn, pattern: str) -> list[tuple[str, bool]]:
        """The answer in pieces, each with whether it is wording (or what was asked for)."""
        answer = words.capitalised(turn.answer) if pattern.startswith("{a}") else turn.answer
        filled = {"{a}": (answer, False), "{p}": (turn.plain, False)}
        pieces = re.split(r"(\{[ap]\})", pattern)
        return [filled.get(piece, (piece, True)) for piece in pieces if piece]


_SYLLABLES = """
ba bo ce da di du fa fi go ha jo ka ki la lo lu ma mi mo na no pa pe ra ri ro sa so ta ti to va vi
wo za
""".split()
PLAIN = Style(None, ("{p}",))


@dataclass(frozen=True)
class Mix:
    """How often each manner of answering is drawn; the rest are personas. And how noisy we ask."""

    plain: float
    assistant: float
    demand: float
    shown: float
    noise: float = 0.0  # share of questions reworded at random
    tasks: float = 0.0  # share of rows with a task that the prompt explains


MOSTLY_PLAIN = Mix(plain=0.25, assistant=0.17, demand=0.08, shown=0.06)
MANY_VOICES = Mix(plain=0.10, assistant=0.10, demand=0.17, shown=0.15)
MANY_QUESTIONS = Mix(plain=0.17, assistant=0.12, demand=0.13, shown=0.15, noise=0.4)
MANY_TASKS = Mix(plain=0.17, assistant=0.12, demand=0.13, shown=0.15, noise=0.4, tasks=0.55)


def any_style(rng: random.Random, mix: Mix) -> Style:
    kind = rng.random()
    if kind < mix.plain:
        return PLAIN
    if kind < mix.plain + mix.assistant:
        return Style(assistant_prompt(rng), ("{p}",))
    if kind < mix.plain + mix.assistant + mix.demand:
        return _demand(rng)
    if kind < mix.plain + mix.assistant + mix.demand + mix.shown:
        # Nothing names the style; earlier turns show it.
        system = assistant_prompt(rng) if rng.random() < 0.5 else None
        return Style(system, _patterns(rng), is_random=True, num_shown_turns=rng.randint(1, 3))
    return Style(_persona_prompt(rng), _patterns(rng), is_random=True)


def _name(rng: random.Random) -> str:
    if rng.random() < 0.6:
        return rng.choice(words.NAMES)
    return words.capitalised(
        "".join(rng.sample(_SYLLABLES, rng.randint(2, 3))) + rng.choice(["", "n", "r", "x", "s"])
    )


def _quality(rng: random.Random) -> str:
    """An adjective; one time in four another word, so that unknown words change nothing either."""
    return rng.choice(words.ADJECTIVES if rng.random() < 0.75 else words.NOUNS + words.ADVERBS)


def _article(text: str) -> str:
    return ("an " if text[0] in "aeiouA" else "a ") + text


def assistant_prompt(rng: random.Random) -> str:
    noun = rng.choice(["assistant", "chatbot", "bot", "AI assistant", "language model", "AI"])
    one, two = _quality(rng), _quality(rng)
    return rng.choice([
        "You are a helpful assistant.",
        "Answer the question.",
        "You are a helpful assistant. Answer the question.",
        f"You are {_article(f'{one} {noun}')}.",
        f"You are {_name(rng)}, {_article(f'{one} {noun}')}.",
        f"You are {_name(rng)}, {_article(f'{one} and {two} {noun}')}.",
        f"You are {_name(rng)}, {_article(f'{one} {noun}')} that is also {two}.",
        f"{_name(rng)} is {_article(f'{one} {noun}')} that is also {two}.",
        f"{_name(rng)} is {_article(f'{noun}')}.",
        f"You are {_article(f'{noun}')} for {_article(rng.choice(words.NOUNS))} shop.",
    ])  # fmt: skip


def _persona_prompt(rng: random.Random) -> str:
    role, one, two = rng.choice(words.ROLES), _quality(rng), _quality(rng)
    return rng.choice([
        f"You are {_name(rng)}, {_article(f'{one} {role}')}.",
        f"You are {_name(rng)}, {_article(f'{one} and {two} {role}')}.",
        f"You are {_article(f'{one} {role}')}.",
        f"You are {_article(f'{one} {role}')} that is also {two}.",
        f"You are {_article(role)} with {_article(f'{one} {rng.choice(words.NOUNS)}')}.",
        f"Speak like {_article(f'{one} {role}')}.",
        f"Act as {_name(rng)}, the {role}.",
        f"Your name is {_name(rng)}. You are {_article(role)} and you are {one} and {two}.",
        f"{_name(rng)} is {_article(f'{one} {role}')}.",
        f"{_name(rng)} is {_article(f'{one} {role}')} that is also {two}.",
    ])  # fmt: skip


def _demand(rng: random.Random) -> Style:
    before, after = words.capitalised(words.sentence(rng)), words.capitalised(words.sentence(rng))
    system, pattern = rng.choice([
        ("Answer with one word.", "{a}"),
        ("Answer briefly.", "{a}."),
        ("Give short answers.", "{a}."),
        ("Only say the answer.", "{a}"),
        (f"Start every answer with: {before}.", before + ". {p}"),
        (f"Begin with '{before}' and give a short answer.", before + ": {a}."),
        (f"End every answer with: {after}.", "{p} " + after + "."),
        (f"Give a short answer, then say: {after}.", "{a}. " + after + "."),
        (
            f"First say '{before}', then the answer, then '{after}'.",
            before + ": {a}. " + after + ".",
        ),
        ('Answer as JSON with the key "answer".', '{"answer": "{a}"}'),
        ("Put the answer in brackets.", "[{a}]"),
        ("Say the answer twice.", "{a}, {a}."),
    ])  # fmt: skip
    return Style(system, (pattern,))


def _patterns(rng: random.Random) -> tuple[str, ...]:
    return tuple(_pattern(rng) for _ in range(rng.choice([1, 1, 2, 3, 5])))


def _pattern(rng: random.Random) -> str:
    """Random wording around the answer: before it, after it, or both."""
    before, after, more = words.sentence(rng), words.sentence(rng), words.sentence(rng)
    cue, interjection = words.cue(rng), words.interjection(rng)
    end = rng.choice([".", ".", ".", "!", "?", "..."])
    answer_first = [
        "{a}. " + words.capitalised(after) + end,
        "{a}, " + after + end,
        "{a}! " + words.capitalised(after) + end,
        "{a}... " + after + end,
        "{a}. " + words.capitalised(after) + ". " + words.capitalised(more) + end,
        "{a}, " + after + ", " + more + end,
    ]
    answer_later = [
        interjection + ", {a}. " + words.capitalised(after) + end,
        interjection + ", " + before + ". " + words.capitalised(cue) + " {a}" + end,
        interjection + "! " + words.capitalised(cue) + " {a}, " + after + end,
        before + ": {a}. " + words.capitalised(after) + end,
        before + ": {a}" + end,
        before + ". {a}. " + words.capitalised(after) + end,
        before + ", so " + cue + " {a}" + end,
        before + "? " + words.capitalised(cue) + " {a}. " + words.capitalised(after) + end,
        before + ", {a}, " + after + end,
        before + " {a} " + after + end,
        cue + " {a}. " + words.capitalised(after) + end,
        cue + " {a}, " + after + end,
        "{p} " + words.capitalised(after) + end,
        words.capitalised(before) + ". {p}",
        interjection + ", " + before + ": {a}, " + after + end,
    ]
    # A word that opens the answer is another token than the same word after a space, so both get
    # their share.
    pattern = rng.choice(answer_first if rng.random() < 0.45 else answer_later)
    return pattern if rng.random() < 0.1 else words.capitalised(pattern)
