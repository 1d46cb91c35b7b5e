"""Conversations with tools: the right call, no call where no tool fits, and what a result means."""

from __future__ import annotations

import json
import random
from typing import Any

from recipes.tunesmith_tiny import styles, tools, turns, values, words
from recipes.tunesmith_tiny.tasks import Message, Task
from recipes.tunesmith_tiny.tools import KNOWN, Ask, Offer

_STATES = ["shipped", "on its way", "delivered", "cancelled", "not paid yet", "in the warehouse"]
_SKIES = ["sunny", "cloudy", "rainy", "windy", "snowy"]
_DONE = "Done."
_WISHES = [
    "Use the tools.",
    "Call a function if one fits.",
    "You can call functions.",
    "You are a helpful assistant. Use the tools when you need them.",
]


def any_tool_task(rng: random.Random) -> Task:
    """Up to five requests. (Tools are long to read and calls are short, so one for each reading
    would be a waste.)"""
    offered = _offered(_offer(rng), rng)
    messages = _system(rng)
    for _ in range(rng.choice([1, 2, 3, 4, 5])):
        if rng.random() < 0.17:
            messages += _plain_turn(turns.any_turn(rng), rng)
        else:
            offer = rng.choice(offered)
            messages += _round(offer, rng.choice(offer.asks), rng)
    if rng.random() < 0.3:
        offer = rng.choice(offered)
        ask = rng.choice(offer.asks)
        messages += [_user(ask.request), _call(offer, ask)]
    return Task(tuple(messages), tuple(offer.tool for offer in offered))


def call_task(rng: random.Random, *, held_out: bool = False) -> Task:
    """One call; `held_out`: the request is worded as training never words it."""
    chosen = _offer(rng, held_out=held_out)
    offered = _offered(chosen, rng)
    ask = rng.choice(chosen.asks)
    messages = [*_system(rng), _user(ask.request), _call(chosen, ask)]
    return Task(tuple(messages), tuple(offer.tool for offer in offered))


def result_task(rng: random.Random) -> Task:
    """A call, its result, and the sentence that tells the user."""
    chosen = _offer(rng)
    offered = _offered(chosen, rng)
    messages = [*_system(rng), *_round(chosen, rng.choice(chosen.asks), rng)]
    return Task(tuple(messages), tuple(offer.tool for offer in offered))


def no_call_task(rng: random.Random) -> Task:
    """Tools are there and no use: a capital is asked for, as training never asks for it."""
    offered = _offered(_offer(rng), rng)
    capital = turns.fact_turn(turns.draw_fact(rng, "capital"), rng, held_out=True)
    messages = [*_system(rng), *_plain_turn(capital, rng)]
    return Task(tuple(messages), tuple(offer.tool for offer in offered))


def _plain_turn(turn: turns.Turn, rng: random.Random) -> list[Message]:
    while turn.family == "arithmetic":  # a calculator may be among the tools
        turn = turns.any_turn(rng)
    return [_user(turn.question), {"role": "assistant", "content": turn.plain}]


def _offer(rng: random.Random, *, held_out: bool = False) -> Offer:
    if rng.random() < 0.45:
        return tools.invented_offer(rng, held_out=held_out)
    return tools.known_offer(rng.choice(KNOWN), rng, held_out=held_out)


def _offered(chosen: Offer, rng: random.Random) -> list[Offer]:
    """The chosen one among up to three that other requests would need."""
    offered = [chosen]
    for _ in range(rng.choice([0, 0, 0, 0, 1, 1, 1, 2, 3])):
        other = _offer(rng)
        # Two that do the same would leave the choice to chance.
        if all(other.about != offer.about for offer in offered):
            offered.append(other)
    rng.shuffle(offered)
    return offered


def _system(rng: random.Random) -> list[Message]:
    kind = rng.random()
    if kind < 0.6:
        return []
    if kind < 0.85:
        return [{"role": "system", "content": styles.assistant_prompt(rng)}]
    return [{"role": "system", "content": rng.choice(_WISHES)}]


def _user(text: str) -> Message:
    return {"role": "user", "content": text}


def _call(offer: Offer, ask: Ask) -> Message:
    arguments = json.dumps(ask.arguments, ensure_ascii=False)
    function = {"name": offer.name, "arguments": arguments}
    call = {"id": "call_1", "type": "function", "function": function}
    return {"role": "assistant", "content": None, "tool_calls": [call]}


def _round(offer: Offer, ask: Ask, rng: random.Random) -> list[Message]:
    result, told = _result(offer, ask, rng)
    content = json.dumps(result, ensure_ascii=False) if not isinstance(result, str) else result
    return [
        _user(ask.request), _call(offer, ask),
        {"role": "tool", "tool_call_id": "call_1", "content": content},
        {"role": "assistant", "content": told},
    ]  # fmt: skip


def _result(offer: Offer, ask: Ask, rng: random.Random) -> tuple[dict[str, Any] | str, str]:
    """What the function gave back, and what the assistant says then."""
    kind = rng.random()
    if kind < 0.12:
        return rng.choice([{"status": "ok"}, {"success": True}, "ok", "done"]), _DONE
    if kind < 0.22:
        reason = words.sentence(rng)
        return {"error": reason}, f"I am sorry, that did not work: {reason}."
    if kind < 0.32:
        text = words.capitalised(words.sentence(rng)) + "."
        return text, text
    first = next(iter(ask.arguments.values()))
    if offer.about.startswith("Get the weather"):
        return _weather(first, rng)
    if offer.about.startswith("Get the status of an order"):
        state = rng.choice(_STATES)
        return {"status": state}, f"The order {first} is {state}."
    draws = [values.thing, values.count, values.name, values.amount, values.place]
    found = {rng.choice(words.NOUNS): rng.choice(draws)(rng) for _ in range(rng.choice([1, 1, 2]))}
    told = " and ".join(f"the {key} is {value}" for key, value in found.items())
    return found, words.capitalised(told) + "."


def _weather(city: tools.Value, rng: random.Random) -> tuple[dict[str, Any], str]:
    degrees, sky = rng.randint(-20, 40), rng.choice(_SKIES)
    result: dict[str, Any] = {rng.choice(["temperature", "temp", "degrees"]): degrees}
    if rng.random() < 0.5:
        return result, f"It is {degrees} degrees in {city}."
    result[rng.choice(["conditions", "sky", "weather"])] = sky
    return result, f"It is {degrees} degrees and {sky} in {city}."
