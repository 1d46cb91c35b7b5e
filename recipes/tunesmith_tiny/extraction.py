"""Texts with values in them, and the values as JSON under the keys that were asked for.

A key that the text has no value for becomes null. Keys go by several names, and the prompt says
which one it wants, so that the prompt is read and not guessed.
"""
# ruff: noqa: E501 - the sentences are data, a line is a unit

from __future__ import annotations

import json
import random
import re
from collections.abc import Callable

from recipes.tunesmith_tiny import values, words
from recipes.tunesmith_tiny.tasks import Task

_VALUES: dict[str, Callable[[random.Random], str | int | float]] = {
    "name": values.name, "city": values.place, "age": values.age, "job": values.job,
    "company": values.company, "email": values.email, "phone": values.phone,
    "order": values.code, "item": values.thing, "quantity": values.count, "price": values.amount,
    "color": values.color, "size": values.size, "title": values.title, "day": values.day,
    "date": values.date, "time": values.time_of_day, "from": values.place, "to": values.place,
    "topic": values.thing,
}  # fmt: skip

_KEYS = {
    "name": ["name", "name", "full_name", "person", "customer", "customerName"],
    "city": ["city", "city", "town", "place", "location"],
    "age": ["age", "age", "years"],
    "job": ["job", "job", "profession", "role"],
    "company": ["company", "company", "employer", "firm"],
    "email": ["email", "email", "mail", "email_address"],
    "phone": ["phone", "phone", "phone_number", "telephone"],
    "order": ["order_id", "order_number", "order", "orderId", "id"],
    "item": ["item", "product", "article", "product_name"],
    "quantity": ["quantity", "amount", "count", "number"],
    "price": ["price", "cost", "total", "price_usd"],
    "color": ["color", "color", "colour"],
    "size": ["size"],
    "title": ["title", "event", "event_name"],
    "day": ["day", "weekday"],
    "date": ["date", "due_date", "when"],
    "time": ["time", "start", "start_time", "hour"],
    "from": ["from", "origin", "departure"],
    "to": ["to", "destination", "arrival"],
    "topic": ["topic", "subject"],
}

# Of one domain each. A sentence of the second list may follow one of the first.
_DOMAINS = [
    (
        [
            "{name} is {age} years old and lives in {city}.", "{name}, {age}, lives in {city}.",
            "My name is {name} and I live in {city}.", "I am {name}, a {job} from {city}.",
            "{name} ({age}) moved to {city} last year.", "Hi, this is {name} from {city}.",
            "{name} works as a {job} at {company}.", "In {city} there lives a {job} called {name}.",
            "Our new {job} is {name}.", "{name} is a {job} and {age} years old.",
            "I work for {company} in {city}.", "At {age}, {name} became a {job} in {city}.",
            "{company} has a new {job}: {name}, {age}.", "{name}, {city}", "{name}, {job}, {city}",
            "Meet {name}! The {job} from {city} is {age}.", "You asked for {name} at {company}.",
        ],
        [
            "You can reach me at {email}.", "Phone: {phone}.", "My e-mail is {email}.",
            "Please call {phone}.", "Write to {email} or call {phone}.", "Contact: {email}",
            "The number is {phone}.", "I have worked for {company} for years.",
        ],
    ),
    (
        [
            "Please send {quantity} of the {color} {item} to {city}.",
            "Order {order}: {quantity} x {item} at {price} dollars each.",
            "{name} ordered a {color} {item} for {price} euros.", "The {item} costs {price} dollars.",
            "I bought the {item} in size {size}.", "{quantity} x {item}, size {size}, {color}",
            "I want to order {quantity} x {item}.", "My order {order} has not arrived yet.",
            "{name} from {city} bought one {item} for ${price}.", "Item: {item}. Price: {price}.",
            "We sold {quantity} pieces of {item} to {name}.", "I need the {item} in {color}.",
            "The {color} {item} of order {order} is broken.", "Refund order {order}, ${price}, please.",
            "{name} paid {price} for the {item}.", "Invoice: {item}, {quantity} pieces, {price} euros",
        ],
        [
            "It should be {color}.", "My size is {size}.", "The order number is {order}.",
            "Regards, {name}", "Send it to {name} in {city}.", "The total is {price} euros.",
            "Write to {email}.", "It arrived on {day}.", "I paid {price} dollars.",
        ],
    ),
    (
        [
            "{title} is on {day} at {time} in {city}.", "Meeting with {name} on {day} at {time}.",
            "The {title} starts at {time}.", "{title}: {date}, {time}, {city}",
            "Let us meet in {city} on {date}.", "{name} invites you to {title} on {day}.",
            "Please book {title} for {date} at {time}.", "On {date} we talk about the {topic}.",
            "Call {name} on {day} at {time} about the {topic}.", "Reminder: {title} on {date}.",
            "{day}, {time}: {title} with {name}.", "We moved {title} to {day}.",
        ],
        [
            "The topic is {topic}.", "It takes place in {city}.", "{name} will be there.",
            "It begins at {time}.", "Questions? Ask {name} at {email}.", "Tickets cost {price} euros.",
        ],
    ),
    (
        [
            "The flight from {from} to {to} leaves on {day} at {time}.", "{name} flies to {to} on {date}.",
            "A train from {from} to {to} costs {price} euros.", "I want to go from {from} to {to}.",
            "Book {quantity} seats from {from} to {to} on {day}.", "From {from} to {to}, {date}, {time}",
            "Ticket {order}: {from} to {to}.", "Is there a bus to {to} at {time}?",
        ],
        [
            "The ticket costs {price} dollars.", "My name is {name}.", "I would like to leave at {time}.",
            "We are {quantity} people.", "The booking code is {order}.", "My mail is {email}.",
        ],
    ),
]  # fmt: skip

# {k}: the keys. What comes before the text, and what comes after it or in a system prompt.
_ASKS = [
    "Extract {k} as JSON", "Extract the {k} as JSON", "Extract {k} from the text as JSON",
    "Return a JSON object with the keys {k}", "Give me {k} as JSON", "Answer with JSON: {k}",
    "Find {k} and answer as JSON", "Read the text and return JSON with {k}", "JSON with {k}, please",
    "Fill in these keys as JSON: {k}", "Turn the message into JSON with the keys {k}",
    "What are the {k}? Reply in JSON", "You extract data. Answer only with JSON. Keys: {k}",
    "Extract these fields: {k}. Answer in JSON", "Which {k} does the text name? Use JSON",
]  # fmt: skip
_ASKS_HELD_OUT = [
    "Pull out {k} in JSON format", "Please extract {k} and write them as a JSON object",
    "Get the following values as JSON: {k}", "Write down {k} in the form of JSON",
]  # fmt: skip
_NULLS = ["Use null for what is missing", "If a value is missing, use null", "Missing values: null"]
_LIST_ASKS = [
    "Extract all {n} as a JSON array",
    "List the {n} as JSON",
    "Give the {n} as a JSON list",
]
_LIST_TEXTS = ["{l} came to the N.", "I met {l} in the N.", "The O spoke about {l}.", "We need {l}.",
               "Do you know {l}?", "{l} are A.", "Please write to {l} about the N."]  # fmt: skip


def extraction(rng: random.Random, *, held_out: bool = False) -> Task:
    kind = rng.random()
    if kind < 0.1 and not held_out:
        return _list(rng)
    ask = rng.choice(_ASKS_HELD_OUT if held_out else _ASKS)
    draw = _pairs if kind < 0.3 else _record
    keys, text, answer = draw(rng)
    exchanges = [(text, answer)]
    request = ask.format(k=_listed(keys, rng))
    if rng.random() < 0.4:
        request += ". " + rng.choice(_NULLS)
    if rng.random() < 0.35:  # the system prompt asks, and may ask about several texts
        while draw is _record and rng.random() < 0.3:
            _, text, answer = _record(rng, keys)
            exchanges.append((text, answer))
        return Task.of(exchanges, system=request + ".")
    asked = rng.choice([f"{request}: {text}", f"{request}: {text}", f"{request}.\n{text}",
                        f"{request}.\n\n{text}", f"{text}\n\n{request}.", f'{request}: "{text}"'])  # fmt: skip
    return Task.of([(asked, answer)])


def _record(
    rng: random.Random, keys: dict[str, str] | None = None
) -> tuple[dict[str, str], str, str]:
    """Keys by field, a text, and the answer; new keys unless they are given."""
    if keys is None:
        first, more = rng.choice(_DOMAINS)
    else:
        first, more = max(_DOMAINS, key=lambda domain: sum(_is_in(f, domain) for f in keys))
    patterns = [rng.choice(first)]
    while rng.random() < 0.45 and len(patterns) < 3:
        patterns.append(rng.choice(more))
    pattern = " ".join(_without_repeats(patterns))
    if rng.random() < 0.12:
        # A sentence that has nothing to do with it.
        pattern = rng.choice(
            [f"{pattern} {values.sentence(rng)}", f"{values.sentence(rng)} {pattern}"]
        )
    present = re.findall(r"\{(\w+)\}", pattern)
    if keys is None:
        asked = rng.sample(present, min(len(present), rng.choice([1, 2, 2, 3, 3, 4])))
        absent = [f for f in _VALUES if f not in present and _is_in(f, (first, more))]
        if absent and rng.random() < 0.3:
            asked.insert(rng.randint(0, len(asked)), rng.choice(absent))
        keys = {field: _key(field, rng) for field in asked}
    found = {field: _VALUES[field](rng) for field in present}
    answer = {key: found.get(field) for field, key in keys.items()}
    return keys, pattern.format(**found), _json(answer)


def _key(field: str, rng: random.Random) -> str:
    """One of the field's names, perhaps with something about it that only the prompt tells."""
    name = rng.choice(_KEYS[field])
    if rng.random() < 0.6:
        return name
    word = rng.choice(words.NOUNS) if rng.random() < 0.7 else values.made_up(rng)
    return rng.choice([f"{word}_{name}", f"{name}_{word}", word + name.capitalize(), f"{name}{rng.randint(1, 9)}"])  # fmt: skip


def _is_in(field: str, domain: tuple[list[str], list[str]]) -> bool:
    return any(f"{{{field}}}" in pattern for patterns in domain for pattern in patterns)


def _without_repeats(patterns: list[str]) -> list[str]:
    """Without the sentences that would give a field a second value."""
    kept: list[str] = []
    seen: set[str] = set()
    for pattern in patterns:
        fields = set(re.findall(r"\{(\w+)\}", pattern))
        if not fields & seen:
            kept.append(pattern)
            seen |= fields
    return kept


def _pairs(rng: random.Random) -> tuple[dict[str, str], str, str]:
    """Keys and values that belong to nothing known."""
    names = list(dict.fromkeys(
        rng.choice(words.NOUNS) if rng.random() < 0.8 else values.made_up(rng)
        for _ in range(rng.randint(2, 5))
    ))  # fmt: skip
    draws = [values.thing, values.count, values.amount, values.name, values.color, values.code]
    found = {name: rng.choice(draws)(rng) for name in names}
    form, between = rng.choice([
        ("{k}: {v}", "\n"), ("{k}: {v}", ", "), ("{k}: {v}", "; "), ("{k} = {v}", "; "),
        ("{k}={v}", " "), ("the {k} is {v}", ", "), ("The {k} is {v}", ". "), ("{k} -> {v}", "\n"),
    ])  # fmt: skip
    text = between.join(form.format(k=key, v=value) for key, value in found.items())
    asked = rng.sample(names, rng.randint(1, min(4, len(names))))
    if rng.random() < 0.2:
        missing = rng.choice(words.NOUNS)
        if missing not in names:
            asked.insert(rng.randint(0, len(asked)), missing)
    return {key: key for key in asked}, text, _json({key: found.get(key) for key in asked})


def _list(rng: random.Random) -> Task:
    draw, noun = rng.choice([(values.name, "names"), (values.place, "cities"), (values.thing, "things"),
                             (values.email, "addresses"), (values.code, "codes")])  # fmt: skip
    found = list(dict.fromkeys(draw(rng) for _ in range(rng.randint(1, 4))))
    joined = found[0] if len(found) == 1 else f"{', '.join(found[:-1])} and {found[-1]}"
    text = words.fill(rng.choice(_LIST_TEXTS), rng).format(l=joined)
    request = rng.choice(_LIST_ASKS).format(n=noun)
    return Task.of([(f"{request}: {text}", json.dumps(found, ensure_ascii=False))])


def _listed(keys: dict[str, str], rng: random.Random) -> str:
    names = list(keys.values())
    form = rng.random()
    if form < 0.2:
        names = [f'"{name}"' for name in names]
    if form > 0.6 and len(names) > 1:
        return f"{', '.join(names[:-1])} and {names[-1]}"
    return ", ".join(names)


def _json(value: dict[str, object]) -> str:
    return json.dumps(value, ensure_ascii=False)
