"""Random values to be copied: names, places, addresses, codes, numbers, times.

Half of the names are made up on the spot. What cannot be remembered must be copied, and copying is
what extraction and function calls are about.
"""
# ruff: noqa: SIM905 - lists of syllables read better as text

from __future__ import annotations

import random

from recipes.tunesmith_tiny import words
from recipes.tunesmith_tiny.countries import COUNTRIES

_ONSETS = "b br c ch d dr f fl g gr h j k kl l m n p pr qu r s sh st t th tr v w x y z".split()
_VOWELS = "a e i o u ai ee ou ia y".split()
_CODAS = ["", "", "", "n", "r", "s", "l", "m", "x", "ck", "nd", "rt"]
_COMPANY_KINDS = ["Ltd", "Inc", "Group", "Foods", "Systems", "Bank", "Motors", "& Co", "Labs"]
_MAIL_ENDINGS = ["com", "org", "net", "io", "de", "co.uk"]

DAYS = "Monday Tuesday Wednesday Thursday Friday Saturday Sunday".split()
MONTHS = (
    "January February March April May June July August September October November December".split()
)
COLORS = "red blue green black white yellow brown grey pink purple orange silver".split()
SIZES = ["S", "M", "L", "XL", "small", "medium", "large"]
JOBS = words.ROLES


def made_up(rng: random.Random) -> str:
    """A word that nobody has ever read."""
    syllables = (
        rng.choice(_ONSETS) + rng.choice(_VOWELS) + rng.choice(_CODAS)
        for _ in range(rng.choice([1, 2, 2, 2, 3]))
    )
    return "".join(syllables)


def name(rng: random.Random) -> str:
    kind = rng.random()
    first = rng.choice(words.NAMES) if kind < 0.55 else made_up(rng).capitalize()
    if rng.random() < 0.3:
        return f"{first} {made_up(rng).capitalize()}"
    return first


def place(rng: random.Random) -> str:
    return rng.choice(COUNTRIES).capital if rng.random() < 0.55 else made_up(rng).capitalize()


def company(rng: random.Random) -> str:
    own = made_up(rng).capitalize()
    return f"{own} {rng.choice(_COMPANY_KINDS)}" if rng.random() < 0.6 else own


def email(rng: random.Random) -> str:
    user = rng.choice([rng.choice(words.NAMES).lower(), made_up(rng), rng.choice(words.NOUNS)])
    if rng.random() < 0.4:
        user += rng.choice([".", "_", ""]) + rng.choice([made_up(rng), str(rng.randint(1, 99))])
    host = rng.choice(["example", "mail", made_up(rng), rng.choice(words.NOUNS)])
    return f"{user}@{host}.{rng.choice(_MAIL_ENDINGS)}"


def phone(rng: random.Random) -> str:
    return rng.choice([
        f"555-{rng.randint(0, 9999):04d}",
        f"+{rng.randint(1, 99)} {rng.randint(100, 999)} {rng.randint(1000, 9999)}",
        f"0{rng.randint(100, 999)} {rng.randint(10000, 99999)}",
        f"({rng.randint(200, 999)}) {rng.randint(100, 999)}-{rng.randint(1000, 9999)}",
    ])  # fmt: skip


def code(rng: random.Random) -> str:
    """An order number and the like: text, also where it looks like a number."""
    letters = "".join(rng.choice("ABCDEFGHJKLMNPRSTUVWXYZ") for _ in range(rng.randint(1, 3)))
    number = rng.randint(10, 99999)
    return rng.choice([f"{letters}-{number}", f"{letters}{number}", f"#{number}"])


def thing(rng: random.Random) -> str:
    kind = rng.random()
    if kind < 0.6:
        return rng.choice(words.NOUNS)
    if kind < 0.8:
        return f"{rng.choice(words.ADJECTIVES)} {rng.choice(words.NOUNS)}"
    return made_up(rng)


def title(rng: random.Random) -> str:
    parts = [rng.choice(words.ADJECTIVES), rng.choice(words.NOUNS)]
    if rng.random() < 0.4:
        parts.insert(0, "the")
    if rng.random() < 0.3:
        parts.append(rng.choice(["day", "meeting", "party", "workshop", "song"]))
    return words.capitalised(" ".join(parts))


def count(rng: random.Random) -> int:
    return rng.choice([rng.randint(1, 12), rng.randint(1, 99), rng.randint(1, 2000)])


def amount(rng: random.Random) -> float | int:
    """A sum of money, as people and JSON write it alike: no zero at its end."""
    if rng.random() < 0.5:
        return rng.randint(1, 999)
    cents = rng.choice([rng.randint(1, 9) * 10, 99, 95, rng.randint(1, 99)])
    return round(rng.randint(0, 300) + cents / 100, 2)


def age(rng: random.Random) -> int:
    return rng.randint(1, 99)


def day(rng: random.Random) -> str:
    return rng.choice(DAYS)


def date(rng: random.Random) -> str:
    month, day_of_month, year = rng.randint(1, 12), rng.randint(1, 28), rng.randint(1990, 2035)
    return rng.choice([
        f"{year}-{month:02d}-{day_of_month:02d}",
        f"{day_of_month} {MONTHS[month - 1]} {year}",
        f"{MONTHS[month - 1]} {day_of_month}",
    ])  # fmt: skip


def time_of_day(rng: random.Random) -> str:
    hour, minute = rng.randint(0, 23), rng.choice([0, 15, 30, 45, rng.randint(0, 59)])
    return rng.choice([
        f"{hour:02d}:{minute:02d}", f"{hour % 12 + 1} {rng.choice(['am', 'pm'])}",
        f"{hour % 12 + 1}:{minute:02d} {rng.choice(['am', 'pm'])}",
    ])  # fmt: skip


def color(rng: random.Random) -> str:
    return rng.choice(COLORS)


def size(rng: random.Random) -> str:
    return rng.choice(SIZES)


def job(rng: random.Random) -> str:
    return rng.choice(JOBS)


def sentence(rng: random.Random) -> str:
    return words.capitalised(words.sentence(rng)) + "."
