"""Conversions between units: shifted digits, and the clock's and calendar's small tables."""

from __future__ import annotations

import random
from dataclasses import dataclass
from decimal import Decimal

from recipes.tunesmith_tiny.turns import Turn

# Of the digits of what is converted, read as a number: those with this rest are never trained on.
_HELD_OUT_RESIDUE = (7, 3)


@dataclass(frozen=True)
class _Pair:
    large: tuple[str, ...]  # its names; the first is the one that answers use
    small: tuple[str, ...]
    factor: int

    @property
    def is_decimal(self) -> bool:
        return self.factor in (10, 100, 1000)


_PAIRS = [
    _Pair(("km", "kilometres", "kilometers"), ("m", "metres", "meters"), 1000),
    _Pair(("m", "metres", "meters"), ("cm", "centimetres", "centimeters"), 100),
    _Pair(("cm", "centimetres", "centimeters"), ("mm", "millimetres", "millimeters"), 10),
    _Pair(("kg", "kilograms", "kilos"), ("g", "grams", "grammes"), 1000),
    _Pair(("l", "litres", "liters"), ("ml", "millilitres", "milliliters"), 1000),
    _Pair(("dollars", "dollars"), ("cents", "cents"), 100),
    _Pair(("hours", "hours"), ("minutes", "minutes"), 60),
    _Pair(("minutes", "minutes"), ("seconds", "seconds"), 60),
    _Pair(("days", "days"), ("hours", "hours"), 24),
    _Pair(("weeks", "weeks"), ("days", "days"), 7),
    _Pair(("years", "years"), ("months", "months"), 12),
    _Pair(("dozen", "dozen"), ("pieces", "pieces"), 12),
]
_QUESTIONS = [
    "Convert {v} {a} to {b}.", "How many {b} are {v} {a}?", "How many {b} are in {v} {a}?",
    "What is {v} {a} in {b}?", "{v} {a} in {b}?", "{v} {a} to {b}", "Change {v} {a} into {b}.",
    "Give {v} {a} in {b}.", "Write {v} {a} as {b}.", "I have {v} {a}. How many {b} is that?",
    "Convert to {b}: {v} {a}", "{v} {a} = ? {b}",
]  # fmt: skip
_HELD_OUT = ["Express {v} {a} in {b}.", "Please tell me how many {b} there are in {v} {a}."]


def unit_turn(rng: random.Random) -> Turn:
    return _turn(rng.choice(_PAIRS[:5]) if rng.random() < 0.7 else rng.choice(_PAIRS[5:]), rng)


def metric_turn_held_out(rng: random.Random) -> Turn:
    """In a phrasing and with a number that training never shows."""
    return _turn(rng.choice([pair for pair in _PAIRS if pair.is_decimal]), rng, held_out=True)


def calendar_turn_held_out(rng: random.Random) -> Turn:
    """In a new phrasing; the tables are too small to hold some of them out."""
    return _turn(rng.choice([pair for pair in _PAIRS if not pair.is_decimal]), rng, held_out=True)


def _turn(pair: _Pair, rng: random.Random, *, held_out: bool = False) -> Turn:
    is_to_small = rng.random() < 0.6
    if pair.is_decimal:
        value = _number(rng, held_out=held_out)
        converted = value * pair.factor if is_to_small else value / pair.factor
    else:
        large = Decimal(rng.randint(1, 12))
        small = large * pair.factor
        value, converted = (large, small) if is_to_small else (small, large)
    one, other = (pair.large, pair.small) if is_to_small else (pair.small, pair.large)
    given, result = _written(value), _written(converted)
    question = rng.choice(_HELD_OUT if held_out else _QUESTIONS).format(
        v=given, a=rng.choice(one), b=rng.choice(other)
    )
    short = f"{result} {other[0]}"
    return Turn(question, short, f"{given} {one[0]} is {short}.")


def _number(rng: random.Random, *, held_out: bool) -> Decimal:
    modulus, residue = _HELD_OUT_RESIDUE
    while True:
        digits = rng.choice([rng.randint(1, 20), rng.randint(1, 99), rng.randint(1, 999)])
        if (digits % modulus == residue) is held_out:
            # 25 as 25, 2.5, 250 or 2500.
            return Decimal(digits).scaleb(rng.choice([0, 0, 0, -1, -1, 1, 2]))


def _written(value: Decimal) -> str:
    """2500, 2.5, 0.025: no exponent, no zeros at the end of a fraction."""
    text = format(value, "f")
    return text.rstrip("0").rstrip(".") if "." in text else text
