"""Conversations with tools: the right call, no call where no tool fits, and what a result means."""

from __future__ import annotations

import json
import random
from typing import Any

from recipes.tunesmith_tiny import styles, tools, turns, values, words
from recipes.tunesmith_tiny.tasks import Message, Task
from recipes.tunesmith_tiny.tools import KNOWN, Offer

_STATES = ["shipped", "on its way", "delivered", "cancelled", "not paid yet", "in the warehouse"]
_DONE = "Done."
_WISHES = [
    "Use the tools.",
    "Call a function if one fits.",
    "You can call functions.",
    "You are a helpful assistant. Use the tools when you need them.",
]


def call_task(rng: random.Random, *, held_out: bool = False) -> Task:
    """Ends with the call; `held_out`: the request is worded as training never shows it."""
    chosen = _offer(rng, held_out=held_out)
    offered = _offered(chosen, rng)
    messages = [*_system(rng), _user(chosen.request), _call(chosen)]
    return Task(tuple(messages), tuple(offer.tool for offer in offered))


def result_task(rng: random.Random) -> Task:
    """A call, its result, and the sentence that tells the user; perhaps another call after it."""
    chosen = _offer(rng)
    offered = _offered(chosen, rng)
    messages = [*_system(rng), *_round(chosen, rng)]
    if rng.random() < 0.25:
        messages += _round(rng.choice(offered), rng)
    return Task(tuple(messages), tuple(offer.tool for offer in offered))


def no_call_task(rng: random.Random, *, held_out: bool = False) -> Task:
    """Tools are there and no use: the question is about something else."""
    offered = _offered(_offer(rng), rng)
    turn = turns.any_turn(rng)
    while turn.family == "arithmetic":  # a calculator may be among the tools
        turn = turns.any_turn(rng)
    if held_out:
        turn = turns.fact_turn(turns.draw_fact(rng, "capital"), rng, held_out=True)
    messages = [*_system(rng), _user(turn.question), {"role": "assistant", "content": turn.plain}]
    if not held_out and rng.random() < 0.2:
        other = offered[0]
        messages += [_user(other.request), _call(other)]
    return Task(tuple(messages), tuple(offer.tool for offer in offered))


def any_tool_task(rng: random.Random) -> Task:
    kind = rng.random()
    if kind < 0.55:
        return call_task(rng)
    return result_task(rng) if kind < 0.78 else no_call_task(rng)


def _offer(rng: random.Random, *, held_out: bool = False) -> Offer:
    if rng.random() < 0.45:
        return tools.invented_offer(rng, held_out=held_out)
    return tools.known_offer(rng.choice(KNOWN), rng, held_out=held_out)


def _offered(chosen: Offer, rng: random.Random) -> list[Offer]:
    """The chosen one among up to three that other requests would need."""
    offered = [chosen]
    for _ in range(rng.choice([0, 0, 0, 1, 1, 1, 2, 2, 3])):
        other = _offer(rng)
        # Two that do the same would leave the choice to chance.
        if all(_about(other) != _about(offer) for offer in offered):
            offered.append(other)
    rng.shuffle(offered)
    return offered


def _about(offer: Offer) -> str:
    for known in KNOWN:
        if offer.name in known.names:
            return known.about
    return offer.name


def _system(rng: random.Random) -> list[Message]:
    kind = rng.random()
    if kind < 0.6:
        return []
    if kind < 0.85:
        return [{"role": "system", "content": styles.assistant_prompt(rng)}]
    return [{"role": "system", "content": rng.choice(_WISHES)}]


def _user(text: str) -> Message:
    return {"role": "user", "content": text}


def _call(offer: Offer) -> Message:
    arguments = json.dumps(offer.arguments, ensure_ascii=False)
    function = {"name": offer.name, "arguments": arguments}
    call = {"id": "call_1", "type": "function", "function": function}
    return {"role": "assistant", "content": None, "tool_calls": [call]}


def _round(offer: Offer, rng: random.Random) -> list[Message]:
    result, told = _result(offer, rng)
    content = json.dumps(result, ensure_ascii=False) if not isinstance(result, str) else result
    return [
        _user(offer.request), _call(offer),
        {"role": "tool", "tool_call_id": "call_1", "content": content},
        {"role": "assistant", "content": told},
    ]  # fmt: skip


def _result(offer: Offer, rng: random.Random) -> tuple[dict[str, Any] | str, str]:
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
    about = _about(offer)
    if about.startswith("Get the weather"):
        degrees, sky = (
            rng.randint(-20, 40),
            rng.choice(["sunny", "cloudy", "rainy", "windy", "snowy"]),
        )
        temperature = rng.choice(["temperature", "temp", "degrees"])
        city = next(iter(offer.arguments.values()))
        if rng.random() < 0.5:
            return {temperature: degrees}, f"It is {degrees} degrees in {city}."
        conditions = rng.choice(["conditions", "sky", "weather"])
        return {
            temperature: degrees,
            conditions: sky,
        }, f"It is {degrees} degrees and {sky} in {city}."
    if "status of an order" in about:
        order, state = next(iter(offer.arguments.values())), rng.choice(_STATES)
        return {"status": state}, f"The order {order} is {state}."
    found = {}
    for _ in range(rng.choice([1, 1, 2])):
        draw = rng.choice([values.thing, values.count, values.name, values.amount, values.place])
        found[rng.choice(words.NOUNS)] = draw(rng)
    told = " and ".join(f"the {key} is {value}" for key, value in found.items())
    return found, words.capitalised(told) + "."
