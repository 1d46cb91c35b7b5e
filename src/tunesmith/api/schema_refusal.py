"""What the first era's API says about a request that is wrong (behaviour reference, 17.2): the
texts of Python's jsonschema, which it was checked by, and nothing but the text.

    Additional properties are not allowed ('nepochs' was unexpected)
    None is not of type 'string' - 'suffix'
"""

from collections.abc import Sequence
from typing import Any

from tunesmith.api.validation import SHOWN_LENGTH, Finding, path_of
from tunesmith.domain import errors

MAX_SHOWN_NAMES = 10  # of unknown parameters

# Finding → the type that was expected.
TYPES = {
    "string_type": "string",
    "int_type": "integer",
    "float_type": "number",
    "bool_type": "boolean",
    "list_type": "array",
    "model_type": "object",
    "model_attributes_type": "object",
}
# Finding → (what is said, the bound's name in the finding's context).
BOUNDS = {
    "greater_than_equal": ("less than the minimum of", "ge"),
    "greater_than": ("less than or equal to the minimum of", "gt"),
    "less_than_equal": ("greater than the maximum of", "le"),
    "less_than": ("greater than or equal to the maximum of", "lt"),
}
LENGTHS = {
    "string_too_short": "too short",
    "string_too_long": "too long",
    "too_short": "too short",
    "too_long": "too long",
}


def fine_tune_refusal(findings: Sequence[Finding], data: Any) -> errors.InvalidRequest:
    """About the first finding; about all unknown parameters, if that is one of them."""
    first = findings[0]
    kind, value = first["type"], _shown(first["input"])
    if kind == "extra_forbidden":
        return errors.InvalidRequest(_unexpected(findings))
    if kind == "missing":
        return errors.InvalidRequest(f"{_shown(first['loc'][-1])} is a required property")
    if kind in TYPES:
        text = f"{value} is not of type '{TYPES[kind]}'"
    elif kind in BOUNDS:
        words, bound = BOUNDS[kind]
        text = f"{value} is {words} {first['ctx'][bound]:g}"
    elif kind in LENGTHS:
        text = f"{value} is {LENGTHS[kind]}"
    else:
        text = f"{value} is not valid: {first['msg'][:1].lower()}{first['msg'][1:]}"
    path = ".".join(str(step) for step in path_of(first, data))
    return errors.InvalidRequest(f"{text} - '{path}'" if path else text)


def _unexpected(findings: Sequence[Finding]) -> str:
    names = [item["loc"][-1] for item in findings if item["type"] == "extra_forbidden"]
    shown = ", ".join(_shown(name) for name in names[:MAX_SHOWN_NAMES])
    if len(names) > MAX_SHOWN_NAMES:
        shown += f" and {len(names) - MAX_SHOWN_NAMES} more"
    were = "was" if len(names) == 1 else "were"
    return f"Additional properties are not allowed ({shown} {were} unexpected)"


def _shown(value: Any) -> str:
    """As Python writes it. Only the beginning of what is long, which may be all of a body."""
    text = repr(value[: SHOWN_LENGTH + 1] if isinstance(value, str | list) else value)
    return text if len(text) <= SHOWN_LENGTH else text[:SHOWN_LENGTH] + "…"
