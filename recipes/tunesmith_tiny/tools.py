"""Functions that a conversation may offer: known ones, and ones invented on the spot.

An `Offer` is a tool as the wire has it, with requests that need it and the arguments that each
request implies.
"""
# ruff: noqa: E501 - the text is data, a line is a unit

from __future__ import annotations

import random
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from recipes.tunesmith_tiny import values, words

Value = str | int | float | bool

ASKS_PER_TOOL = 3


@dataclass(frozen=True)
class Parameter:
    names: tuple[str, ...]  # the same thing by other names
    draw: Callable[[random.Random], Value]
    kind: str = "string"
    about: str = ""
    choices: tuple[str, ...] = ()


@dataclass(frozen=True)
class Known:
    names: tuple[str, ...]
    about: str
    parameters: dict[str, Parameter]
    requests: tuple[str, ...]  # {x}: the parameter x; one that isn't named is left out of the call
    held_out: str  # a request that training never shows


@dataclass(frozen=True)
class Ask:
    request: str
    arguments: dict[str, Value]


@dataclass(frozen=True)
class Offer:
    tool: dict[str, Any]
    about: str  # what it does; the tool itself may not say it
    asks: tuple[Ask, ...]

    @property
    def name(self) -> str:
        return str(self.tool["function"]["name"])


def _text(*names: str, draw: Callable[[random.Random], Value], about: str = "") -> Parameter:
    return Parameter(names, draw, "string", about)


def _count(*names: str, low: int, high: int, about: str = "") -> Parameter:
    return Parameter(names, lambda rng: rng.randint(low, high), "integer", about)


def _choice(*names: str, choices: str, about: str = "") -> Parameter:
    options = tuple(choices.split())
    return Parameter(names, lambda rng: rng.choice(options), "string", about, options)


def _quote(rng: random.Random) -> str:
    return words.capitalised(words.sentence(rng))


_CITY = _text("city", "location", "place", "town", draw=values.place, about="Name of the city")
_DAY = _text("day", "date", "when", draw=values.day, about="Day of the week")
_TIME = _text("time", "at", "hour", draw=values.time_of_day)
_PERSON = _text("name", "person", "contact", "to", draw=values.name)
_ORDER = _text("order_id", "orderId", "order", "id", draw=values.code, about="Number of the order")
_AMOUNT = Parameter(("amount", "value", "sum"), values.amount, "number")
_ITEM = _text("item", "product", "article", draw=values.thing)
_NUMBER = _count("quantity", "count", "number", low=1, high=50)

KNOWN = [
    Known(
        ("get_weather", "weather", "getWeather", "get_current_weather", "fetch_weather"),
        "Get the weather in a city.",
        {"city": _CITY, "unit": _choice("unit", "units", choices="celsius fahrenheit")},
        (
            "What is the weather in {city}?", "How is the weather in {city}?", "Weather in {city}?",
            "Is it raining in {city}?", "What is the weather like in {city} in {unit}?",
            "How warm is it in {city}?", "Do I need an umbrella in {city}?",
            "Tell me the temperature in {city} in {unit}.", "Is it cold in {city} today?",
        ),
        "Please check the weather for {city}.",
    ),
    Known(
        ("get_time", "current_time", "getTime", "clock"), "Get the current time in a city.",
        {"city": _CITY},
        ("What time is it in {city}?", "Time in {city}?", "How late is it in {city}?",
         "Tell me the time in {city}."),
        "What is the local time in {city}?",
    ),
    Known(
        ("set_alarm", "alarm", "create_alarm", "setAlarm"), "Set an alarm.", {"time": _TIME, "day": _DAY},
        ("Wake me up at {time}.", "Set an alarm for {time}.", "Set an alarm for {time} on {day}.",
         "Alarm at {time}, please.", "I must get up at {time} on {day}."),
        "Please set my alarm to {time}.",
    ),
    Known(
        ("set_timer", "timer", "start_timer"), "Start a timer.",
        {"minutes": _count("minutes", "duration", "length", low=1, high=120)},
        ("Set a timer for {minutes} minutes.", "Timer: {minutes} minutes.",
         "Tell me when {minutes} minutes are over.", "Start a timer of {minutes} minutes."),
        "I need a timer for {minutes} minutes.",
    ),
    Known(
        ("send_email", "sendMail", "send_message", "mail"), "Send an e-mail to someone.",
        {"to": _text("to", "recipient", "address", draw=values.email),
         "subject": _text("subject", "title", draw=values.title),
         "body": _text("body", "text", "message", draw=_quote)},
        ('Send an e-mail to {to} with the subject "{subject}".', 'Write "{body}" to {to}.',
         'Mail {to}: "{body}"', 'Send "{body}" to {to} with the subject "{subject}".',
         'E-mail {to} and say "{body}".'),
        'Please send a mail to {to} that says "{body}".',
    ),
    Known(
        ("search", "web_search", "search_web", "find_pages"), "Search the web.",
        {"query": _text("query", "q", "text", draw=values.title),
         "limit": _count("limit", "max_results", "num", low=1, high=20)},
        ("Search for {query}.", "Look up {query} on the web.", "Find {limit} pages about {query}.",
         "Search the web for {query}.", "What does the web say about {query}?"),
        "Please search the internet for {query}.",
    ),
    Known(
        ("track_order", "get_order_status", "orderStatus", "find_order"), "Get the status of an order.",
        {"order": _ORDER},
        ("Where is my order {order}?", "Track order {order}.", "Has {order} been shipped?",
         "What is the status of order {order}?", "When will order {order} arrive?"),
        "Can you tell me where order {order} is?",
    ),
    Known(
        ("refund_order", "refund", "createRefund"), "Give the money for an order back.",
        {"order": _ORDER, "amount": _AMOUNT},
        ("I want my money back for order {order}.", "Refund order {order}.",
         "Refund {amount} dollars of order {order}.", "Please give me a refund for {order}."),
        "Pay back order {order}, please.",
    ),
    Known(
        ("cancel_order", "cancel", "cancelOrder", "stop_order"), "Cancel an order.", {"order": _ORDER},
        ("Cancel order {order}.", "I do not want order {order} any more.", "Please stop order {order}.",
         "Cancel my order {order}, please."),
        "I would like to cancel {order}.",
    ),
    Known(
        ("add_to_cart", "add_item", "addItem", "buy"), "Put an item into the cart.",
        {"item": _ITEM, "quantity": _NUMBER},
        ("Add {quantity} x {item} to my cart.", "Put the {item} into my cart.", "I want to buy one {item}.",
         "Order {quantity} pieces of {item}.", "Add {item} to the cart."),
        "Please put {quantity} x {item} into the cart.",
    ),
    Known(
        ("play_song", "play_music", "playSong", "play"), "Play a song.",
        {"title": _text("title", "song", "track", draw=values.title),
         "artist": _text("artist", "singer", "by", draw=values.name)},
        ("Play {title} by {artist}.", "Play {title}.", "I want to hear {title} by {artist}.",
         "Play something by {artist}.", "Put on {title}."),
        "Let me hear {title}.",
    ),
    Known(
        ("create_event", "add_event", "createEvent", "schedule"), "Put an event into the calendar.",
        {"title": _text("title", "event", "name", draw=values.title), "day": _DAY, "time": _TIME},
        ("Put {title} into my calendar on {day} at {time}.", "Add {title} on {day}.",
         "Schedule {title} for {day} at {time}.", "I have {title} on {day}. Please add it."),
        "Write {title} into my calendar for {day}.",
    ),
    Known(
        ("book_table", "reserve_table", "bookTable"), "Book a table in a restaurant.",
        {"restaurant": _text("restaurant", "place", "name", draw=values.company),
         "people": _count("people", "guests", "party_size", "seats", low=1, high=20), "time": _TIME},
        ("Book a table for {people} at {restaurant}.", "A table for {people} at {time}, please.",
         "Reserve a table at {restaurant} for {people} people at {time}.", "We are {people}. Book {restaurant}."),
        "Please reserve a table for {people} people at {restaurant}.",
    ),
    Known(
        ("book_hotel", "find_hotel", "findHotel", "hotel"), "Book a hotel room.",
        {"city": _CITY, "nights": _count("nights", "num_nights", "days", low=1, high=21)},
        ("Book a hotel in {city} for {nights} nights.", "I need a room in {city}.",
         "Find a hotel in {city}.", "We stay in {city} for {nights} nights. Find a hotel."),
        "Look for a hotel in {city} for {nights} nights.",
    ),
    Known(
        ("book_flight", "find_flight", "searchFlights", "flights"), "Find a flight.",
        {"from": _text("from", "origin", "departure", draw=values.place),
         "to": _text("to", "destination", "arrival", draw=values.place), "day": _DAY},
        ("Find a flight from {from} to {to}.", "I want to fly from {from} to {to} on {day}.",
         "Book a flight to {to} on {day}.", "Flights from {from} to {to} on {day}?"),
        "Which flights go from {from} to {to}?",
    ),
    Known(
        ("convert_currency", "exchange", "convertMoney"), "Convert money to another currency.",
        {"amount": _AMOUNT, "from": _choice("from", "source", "from_currency", choices="USD EUR GBP JPY CHF"),
         "to": _choice("to", "target", "to_currency", choices="USD EUR GBP JPY CHF")},
        ("Convert {amount} {from} to {to}.", "How much is {amount} {from} in {to}?",
         "What are {amount} {from} in {to}?", "Change {amount} {from} into {to}."),
        "I have {amount} {from}. What is that in {to}?",
    ),
    Known(
        ("get_stock_price", "stock_price", "getQuote", "stock"), "Get the price of a stock.",
        {"symbol": _text("symbol", "ticker", "stock",
                         draw=lambda rng: "".join(rng.choice("ABCDEFGHIKLMNOPRSTUVXYZ") for _ in range(rng.randint(2, 4))))},
        ("What is the price of {symbol}?", "How much is {symbol} stock?", "Stock price of {symbol}?",
         "Show me the quote of {symbol}."),
        "Give me the stock price of {symbol}.",
    ),
    Known(
        ("translate", "translate_text", "translateText"), "Translate a text.",
        {"text": _text("text", "sentence", "input", draw=_quote),
         "language": _choice("language", "target", "to", choices="French German Spanish Italian Dutch")},
        ('Translate "{text}" to {language}.', 'How do you say "{text}" in {language}?',
         'Put "{text}" into {language}.', 'What is "{text}" in {language}?'),
        'Please translate "{text}" into {language}.',
    ),
    Known(
        ("turn_on_light", "light_on", "set_light", "lightOn"), "Turn on the light in a room.",
        {"room": _choice("room", "where", "place", choices="kitchen bedroom bathroom hall garden garage office"),
         "color": _text("color", "colour", draw=values.color)},
        ("Turn on the light in the {room}.", "Light in the {room}, please.",
         "Make the light in the {room} {color}.", "It is dark in the {room}."),
        "Switch on the light in the {room}.",
    ),
    Known(
        ("set_temperature", "heat", "thermostat", "setTemperature"), "Set the temperature of the heating.",
        {"degrees": _count("degrees", "temperature", "value", low=10, high=30),
         "room": _choice("room", "where", choices="kitchen bedroom bathroom hall office")},
        ("Set the temperature to {degrees} degrees.", "Heat the {room} to {degrees} degrees.",
         "Make it {degrees} degrees in the {room}.", "I want {degrees} degrees."),
        "Please heat the {room} to {degrees}.",
    ),
    Known(
        ("call", "call_person", "phone", "make_call"), "Call someone on the phone.", {"name": _PERSON},
        ("Call {name}.", "Phone {name}, please.", "I want to talk to {name}.", "Give {name} a call."),
        "Please ring {name}.",
    ),
    Known(
        ("add_reminder", "remind", "createReminder", "set_reminder"), "Remind the user of something.",
        {"text": _text("text", "what", "task", draw=lambda rng: f"{rng.choice(words.VERBS)} the {rng.choice(words.NOUNS)}"),
         "day": _DAY, "time": _TIME},
        ("Remind me to {text} on {day}.", "Remind me to {text} at {time}.", "Remind me to {text}.",
         "I must not forget to {text} on {day}."),
        "Please remind me to {text} on {day} at {time}.",
    ),
    Known(
        ("get_customer", "find_user", "getUser", "lookup_customer"), "Find a customer.",
        {"email": _text("email", "mail", "address", draw=values.email)},
        ("Find the customer with the e-mail {email}.", "Who is {email}?", "Look up the customer {email}.",
         "Show me the account of {email}."),
        "Which customer has the address {email}?",
    ),
    Known(
        ("calculate", "calculator", "compute", "eval_math"), "Calculate an expression.",
        {"expression": _text("expression", "formula", "input",
                             draw=lambda rng: f"{rng.randint(2, 999)} {rng.choice('+-*/')} {rng.randint(2, 99)}")},
        ("What is {expression}?", "Calculate {expression}.", "How much is {expression}?", "{expression} = ?"),
        "Please work out {expression}.",
    ),
]  # fmt: skip

_INVENTED_REQUESTS = (
    "{Verb} the {noun} with {arguments}.", "Please {verb} a {noun} with {arguments}.",
    "{Verb} {noun}: {arguments}", "I want you to {verb} the {noun}. {Arguments}.",
    "Can you {verb} the {noun}? {Arguments}, please.", "{Verb} the {noun} ({arguments}).",
    "Time to {verb} the {noun}: {arguments}.",
)  # fmt: skip
_INVENTED_FORMS = ["{k} {v}", "{k} {v}", "{k}: {v}", "{k} = {v}", "the {k} {v}", "{v} as {k}"]
_INVENTED_HELD_OUT = ("We have to {verb} the {noun} with {arguments}.",)
_INVENTED_VALUES: dict[str, list[Callable[[random.Random], Value]]] = {
    "string": [values.thing, values.name, values.color, values.made_up, values.place, values.code],
    "integer": [values.count],
    "number": [values.amount],
}


def known_offer(known: Known, rng: random.Random, *, held_out: bool = False) -> Offer:
    named = {key: rng.choice(parameter.names) for key, parameter in known.parameters.items()}
    if len(set(named.values())) < len(named):  # two parameters by one name
        named = {key: parameter.names[0] for key, parameter in known.parameters.items()}
    schema = {named[key]: _schema(parameter, rng) for key, parameter in known.parameters.items()}
    wordings = (*known.requests, known.held_out)
    required = [named[key] for key in named if all(f"{{{key}}}" in text for text in wordings)]

    def draw_ask() -> Ask:
        request = known.held_out if held_out else rng.choice(known.requests)
        found = {key: known.parameters[key].draw(rng) for key in re.findall(r"\{(\w+)\}", request)}
        # In the schema's order, whatever the order of the request.
        arguments = {named[key]: found[key] for key in named if key in found}
        return Ask(request.format(**found), arguments)

    tool = _tool(rng.choice(known.names), known.about, schema, required, rng)
    return Offer(tool, known.about, tuple(draw_ask() for _ in range(ASKS_PER_TOOL)))


def invented_offer(rng: random.Random, *, held_out: bool = False) -> Offer:
    """A function that nobody has ever heard of: all of it must be read from the tool."""
    verb = rng.choice(words.VERBS)
    noun = rng.choice(words.NOUNS) if rng.random() < 0.6 else values.made_up(rng)
    keys = dict.fromkeys(
        rng.choice(words.NOUNS) if rng.random() < 0.75 else values.made_up(rng)
        for _ in range(rng.choice([1, 1, 2, 2, 3]))
    )
    kinds = {key: rng.choice(["string", "string", "integer", "number"]) for key in keys}
    schema = {key: _schema(Parameter((key,), values.thing, kinds[key]), rng) for key in keys}
    wordings = _INVENTED_HELD_OUT if held_out else _INVENTED_REQUESTS

    def draw_ask() -> Ask:
        told = [key for key in keys if rng.random() < 0.85] or list(keys)
        arguments = {key: rng.choice(_INVENTED_VALUES[kinds[key]])(rng) for key in told}
        form = rng.choice(_INVENTED_FORMS)
        pairs = [form.format(k=key, v=value) for key, value in arguments.items()]
        if rng.random() < 0.2:
            rng.shuffle(pairs)
        listed = rng.choice([", ", " and "]).join(pairs)
        request = rng.choice(wordings).format(
            verb=verb, Verb=verb.capitalize(), noun=noun, arguments=listed,
            Arguments=words.capitalised(listed),
        )  # fmt: skip
        return Ask(request, arguments)

    name = rng.choice(
        [f"{verb}_{noun}", f"{verb}_{noun}", f"{noun}_{verb}", verb + noun.capitalize()]
    )
    about = rng.choice([f"{verb.capitalize()} a {noun}.", f"{verb.capitalize()} the {noun}."])
    required = [key for key in keys if rng.random() < 0.5]
    asks = tuple(draw_ask() for _ in range(ASKS_PER_TOOL))
    return Offer(_tool(name, about, schema, required, rng), about, asks)


def _schema(parameter: Parameter, rng: random.Random) -> dict[str, Any]:
    schema: dict[str, Any] = {"type": parameter.kind}
    if parameter.about and rng.random() < 0.4:
        schema["description"] = parameter.about
    if parameter.choices and rng.random() < 0.7:
        schema["enum"] = list(parameter.choices)
    return schema


def _tool(
    name: str, about: str, schema: dict[str, Any], required: list[str], rng: random.Random
) -> dict[str, Any]:
    parameters: dict[str, Any] = {"type": "object", "properties": schema}
    if required and rng.random() < 0.7:
        parameters["required"] = required
    if rng.random() < 0.1:
        parameters["additionalProperties"] = False
    function: dict[str, Any] = {"name": name, "parameters": parameters}
    if rng.random() < 0.75:
        function = {"name": name, "description": about, "parameters": parameters}
    return {"type": "function", "function": function}
