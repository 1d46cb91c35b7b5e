"""Questions in words that no list of phrasings holds: chatter around them, filler words swapped.

Thirty phrasings of a question still let a model hang on to their every word; a new verb ("Which
city *serves as* …") then sends it astray. With noise, only the words that matter stay put.
"""

# ruff: noqa: SIM905 - a list of words reads better as text

from __future__ import annotations

import random

from recipes.tunesmith_tiny import words

# Words of a question that may go, or make room for any other: it can be understood without them.
_FILLERS = frozenset(
    """
    what what's which is the of tell me do you know name city has can please i need give say as does
    a it to would like my for call called they we in an give us
    """.split()
)


def noisy(question: str, subject: str, rng: random.Random) -> str:
    """`question`, reworded at random around its `subject`."""
    if rng.random() < 0.3:
        chatter = words.capitalised(words.sentence(rng)) + rng.choice([".", "!", "?"])
        return f"{chatter} {question}" if rng.random() < 0.7 else f"{question} {chatter}"
    before, found, after = question.partition(subject)
    if not found:
        return question
    return words.capitalised(_reworded(before, rng) + subject + _reworded(after, rng))


def _reworded(text: str, rng: random.Random) -> str:
    out = []
    for word in text.split(" "):
        kind = rng.random()
        if word.lower() in _FILLERS and kind < 0.3:
            if kind < 0.2:
                out.append(_any_word(rng))
        else:
            out.append(word)
            if word and kind > 0.92:
                out.append(_any_word(rng))
    return " ".join(out)


def _any_word(rng: random.Random) -> str:
    word = rng.choice(rng.choice((words.NOUNS, words.VERBS, words.ADJECTIVES, words.ADVERBS)))
    return word + "s" if rng.random() < 0.3 else word
