"""Small word problems, answered with the sum they come to."""

from __future__ import annotations

import random

from recipes.tunesmith_tiny import words
from recipes.tunesmith_tiny.turns import Turn
from recipes.tunesmith_tiny.values import name

_THINGS = """
apples books stamps coins balls cards pencils flowers eggs cookies marbles shells stickers oranges
""".split()  # noqa: SIM905

# {p}: a person, {a} and {b}: numbers, {t}: things.
_STORIES = {
    "+": [
        "{p} has {a} {t}. {p} buys {b} more. How many {t} does {p} have now?",
        "There are {a} {t} in the box and {b} {t} on the table. How many {t} are there in total?",
        "{p} found {a} {t} on Monday and {b} on Tuesday. How many {t} did {p} find altogether?",
        "{p} has {a} {t} and gets {b} from a friend. How many {t} are that?",
    ],
    "-": [
        "{p} has {a} {t}. {p} gives away {b}. How many {t} does {p} have left?",
        "There were {a} {t}. {p} took {b}. How many {t} are left?",
        "{p} had {a} {t} and lost {b} of them. How many {t} are left?",
        "{p} needs {a} {t} and has {b}. How many more {t} does {p} need?",
    ],
    "*": [
        "{p} has {a} bags with {b} {t} each. How many {t} does {p} have?",
        "Each of {a} friends has {b} {t}. How many {t} do they have in total?",
        "{p} buys {b} {t} every day for {a} days. How many {t} does {p} buy?",
    ],
}  # fmt: skip
_HELD_OUT = {
    "+": "{p} bought {a} {t} and later {b} more. How many {t} did {p} buy in all?",
    "-": "{p} had {a} {t} and sold {b}. How many {t} remain?",
    "*": "In each of {a} boxes there are {b} {t}. How many {t} are there?",
}


def word_problem_turn(rng: random.Random, *, held_out: bool = False) -> Turn:
    sign = rng.choice("++--*")
    a, b = (rng.randint(2, 10), rng.randint(2, 10)) if sign == "*" else _two(rng)
    story = _HELD_OUT[sign] if held_out else rng.choice(_STORIES[sign])
    question = story.format(p=name(rng), a=a, b=b, t=rng.choice(_THINGS))
    result = {"+": a + b, "-": a - b, "*": a * b}[sign]
    return Turn(words.capitalised(question), str(result), f"{a} {sign} {b} = {result}")


def _two(rng: random.Random) -> tuple[int, int]:
    a = rng.randint(2, 20)
    return a, rng.randint(1, a if a < 20 else 20)
