"""How a field's effect is seen, for the rows of the table."""

from tests.contract.conformance.paths import Json, put, value_at
from tests.contract.conformance.rows import Effect, Seen

MORE = "more"


def echoed(path: str, as_: str | None = None) -> Effect:
    """The answer holds what was sent, in a field of the same path, or in another."""
    return lambda seen: value_at(seen.reply, as_ or path) == value_at(seen.sent, path) is not None


def changes_text(*names: str) -> Effect:
    """The text is another one without these fields."""
    return lambda seen: seen.text != seen.without(*names).text


def reads(path: str, longer: str = "") -> Effect:
    """The model reads this text of a message: the prompt has a token more, which is a byte here,
    for each letter that is added to it."""

    def is_read(seen: Seen) -> bool:
        text = value_at(seen.sent, path)
        more = longer or text + MORE
        other = seen.with_(messages=put(seen.sent, path, more)["messages"])
        return prompt_tokens(other) - prompt_tokens(seen) == len(more) - len(text)

    return is_read


def all_of(*effects: Effect) -> Effect:
    return lambda seen: all(effect(seen) for effect in effects)


def prompt_tokens(seen: Seen) -> int:
    return int(seen.reply["usage"]["prompt_tokens"])


def completion_tokens(seen: Seen) -> int:
    return int(seen.reply["usage"]["completion_tokens"])


def ids(reply: Json) -> list[str]:
    return [item["id"] for item in reply["data"]]


def goes_on(seen: Seen) -> object:
    """The list begins behind the item that `after` names."""
    everything = ids(seen.without("after").reply)
    return ids(seen.reply) == everything[everything.index(seen.sent["after"]) + 1 :]


def limits(seen: Seen) -> object:
    everything = ids(seen.without("limit").reply)
    is_cut = ids(seen.reply) == everything[: seen.sent["limit"]] != everything
    return is_cut and seen.reply["has_more"] is True


def excludes_all(name: str) -> Effect:
    """A filter that nothing passes, of what is there without it."""
    return lambda seen: seen.reply["data"] == [] != seen.without(name).reply["data"]


def reverses(seen: Seen) -> object:
    return ids(seen.reply) == ids(seen.without("order").reply)[::-1]
