"""One exchange of a conversation: what is asked, the short answer, the plain sentence.

Facts, yes-and-no questions, labels, small text tasks and polite talk all become `Turn`s, so that
every style in `styles.py` can be laid over every kind of question.
"""

from __future__ import annotations

import json
import random
import string
from dataclasses import dataclass

from recipes.tunesmith_tiny import labels, words
from recipes.tunesmith_tiny.other_text import OTHER_TEXT
from recipes.tunesmith_tiny.phrasings import PHRASINGS, WEIGHTS, YES_NO
from recipes.tunesmith_tiny.talk import TALK
from recipes.tunesmith_tiny.world import Fact, all_facts, arithmetic_facts

_OTHER_WORDS = OTHER_TEXT.split()
FACTS: dict[str, list[Fact]] = {**all_facts(), "arithmetic": arithmetic_facts()}
_LETTERS = string.ascii_letters + "-_/.@#"
_FAMILIES = list(WEIGHTS)
_FAMILY_WEIGHTS = list(WEIGHTS.values())


@dataclass(frozen=True)
class Turn:
    question: str
    answer: str  # short: "Paris"
    plain: str  # a sentence: "The capital of France is Paris."
    family: str = ""
    subject: str = ""


def any_turn(rng: random.Random) -> Turn:
    kind = rng.random()
    if kind < 0.72:
        return fact_turn(draw_fact(rng), rng)
    if kind < 0.79:
        return yes_no_turn(rng)
    if kind < 0.85:
        return sentiment_turn(rng)
    if kind < 0.90:
        return topic_turn(rng)
    if kind < 0.96:
        return text_task_turn(rng)
    return talk_turn(rng)


def draw_fact(rng: random.Random, family: str | None = None) -> Fact:
    return rng.choice(FACTS[family or rng.choices(_FAMILIES, _FAMILY_WEIGHTS)[0]])


def fact_turn(fact: Fact, rng: random.Random, *, held_out: bool = False) -> Turn:
    phrasing = PHRASINGS[fact.family]
    question = rng.choice(phrasing.held_out if held_out else phrasing.questions)
    text = words.capitalised(question.format(s=fact.subject))
    if not held_out and rng.random() < 0.08:
        text = text.lower() if rng.random() < 0.5 else text.rstrip("?.")
    return Turn(text, fact.answer, plain_telling(fact), fact.family, fact.subject)


def plain_telling(fact: Fact) -> str:
    telling = PHRASINGS[fact.family].tellings[0]
    return words.capitalised(telling.format(s=fact.subject, a=fact.answer))


def follow_up(first: Turn, rng: random.Random) -> Turn:
    """A question that leans on the one before: "And Italy?" after one about France."""
    if first.family in ("", "trivia"):
        return any_turn(rng)
    fact = draw_fact(rng, first.family)
    pattern = rng.choice(
        ["And {s}?", "What about {s}?", "And for {s}?", "Now {s}.", "{s}?", "How about {s}?"]
    )
    question = words.capitalised(pattern.format(s=fact.subject))
    return Turn(question, fact.answer, plain_telling(fact), fact.family)


def yes_no_turn(rng: random.Random) -> Turn:
    family = rng.choice(list(YES_NO))
    fact = draw_fact(rng, family)
    claimed = fact.answer
    if rng.random() < 0.5:
        claimed = draw_fact(rng, family).answer
    question = rng.choice(YES_NO[family]).format(s=fact.subject, a=claimed)
    verdict = "yes" if claimed == fact.answer else "no"
    plain = f"{verdict.capitalize()}. {plain_telling(fact)}"
    return Turn(words.capitalised(question), verdict, plain)


def sentiment_turn(rng: random.Random, *, held_out: bool = False) -> Turn:
    label = rng.choice(labels.SENTIMENTS)
    question = rng.choice(labels.SENTIMENT_HELD_OUT if held_out else labels.SENTIMENT_QUESTIONS)
    return _label_turn(question, labels.review(label, rng), label)


def topic_turn(rng: random.Random, *, held_out: bool = False) -> Turn:
    label = rng.choice(labels.TOPICS)
    question = rng.choice(labels.TOPIC_HELD_OUT if held_out else labels.TOPIC_QUESTIONS)
    return _label_turn(question, labels.topic_text(label, rng), label)


def _label_turn(question: str, text: str, label: str) -> Turn:
    return Turn(question.format(t=text), label, words.capitalised(label) + ".")


def text_task_turn(rng: random.Random) -> Turn:
    """Copying, spelling, extracting: small tasks whose answer stands in the question."""
    kind = rng.randrange(7)
    if kind <= 1:
        text = _words_of_other_text(rng) if kind else words.capitalised(words.sentence(rng))
        ask = rng.choice(
            ["Repeat after me: {t}", "Say this: {t}", "Repeat: {t}", 'Copy "{t}".', "Echo: {t}"]
        )
        return Turn(ask.format(t=text), text, text)
    if kind == 2:
        word = rng.choice(words.NOUNS)
        spelled = "-".join(word)
        return Turn(
            rng.choice(["Spell {w}.", "How do you spell {w}?"]).format(w=word), spelled, spelled
        )
    if kind == 3:
        word = rng.choice(words.NOUNS + words.VERBS)
        where = rng.choice(["first", "last"])
        letter = word[0] if where == "first" else word[-1]
        return Turn(
            f"What is the {where} letter of {word}?",
            letter,
            f"The {where} letter of {word} is {letter}.",
        )
    if kind == 4:
        text = words.sentence(rng)
        return Turn(
            rng.choice(["In capital letters: {t}", "Shout: {t}"]).format(t=text),
            text.upper(),
            text.upper(),
        )
    name, city, age = (
        rng.choice(words.NAMES),
        draw_fact(rng, "capital").answer,
        str(rng.randint(5, 90)),
    )
    text = rng.choice([
        f"{name} is {age} years old and lives in {city}.",
        f"{name} lives in {city} and is {age}.",
        f"In {city} there is a person called {name}, age {age}.",
    ])  # fmt: skip
    if kind == 5:
        asked, answer = rng.choice([("Who is it", name), ("Which city", city), ("How old", age)])
        return Turn(f"{text} {asked}?", answer, words.capitalised(answer) + ".")
    fields = {"name": name, "city": city, "age": int(age)}
    kept = {key: fields[key] for key in rng.sample(list(fields), rng.randint(1, 3))}
    as_json = json.dumps(kept)
    return Turn(f"Extract {', '.join(kept)} as JSON: {text}", as_json, as_json)


def _words_of_other_text(rng: random.Random) -> str:
    start = rng.randrange(len(_OTHER_WORDS) - 8)
    text = " ".join(_OTHER_WORDS[start : start + rng.randint(1, 8)])
    if rng.random() < 0.3:
        letters = "".join(
            rng.choice("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ-_/.@#")
            for _ in range(3)
        )
        text += f" {letters}{rng.randint(0, 9999)}"
    return text


def talk_turn(rng: random.Random) -> Turn:
    asks, answer = rng.choice(TALK)
    return Turn(rng.choice(asks), answer.rstrip("."), answer)
