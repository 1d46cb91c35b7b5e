"""From what pydantic finds wrong with a request to what OpenAI says about it.

Two styles (behaviour reference, section 17.2): the current texts, with a stable code and the
whole path of the field, and those of `/fine_tuning/jobs`, which repeat the validator's words:

    Invalid 'temperature': decimal above maximum value. Expected a value <= 2, but got 3 instead.
    invalid n_epochs: 0, input should be 'auto' or input should be greater than or equal to 1

Only the first field that is wrong is told. Findings of a union's branches on the same field are
one finding.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from tunesmith.domain import errors

Finding = Mapping[str, Any]  # an item of pydantic's `errors()`
Path = tuple[str | int, ...]

SHOWN_LENGTH = 200  # characters of a value that a text repeats

EXPECTED_TYPES = {
    "string_type": "a string",
    "int_type": "an integer",
    "int_from_float": "an integer",
    "int_parsing": "an integer",
    "float_type": "a decimal",
    "float_parsing": "a decimal",
    "bool_type": "a boolean",
    "bool_parsing": "a boolean",
    "list_type": "an array",
    "dict_type": "an object",
    "model_type": "an object",
    "model_attributes_type": "an object",
    "none_required": "null",
}
# Finding → (words, code, the bound's name in the finding's context, its sign).
BOUNDS = {
    "greater_than_equal": ("below minimum value", "below_min_value", "ge", ">="),
    "greater_than": ("below minimum value", "below_min_value", "gt", ">"),
    "less_than_equal": ("above maximum value", "above_max_value", "le", "<="),
    "less_than": ("above maximum value", "above_max_value", "lt", "<"),
}
LENGTHS = {
    "string_too_short": ("string", "short", "minimum", "below_min_length", "min_length"),
    "string_too_long": ("string", "long", "maximum", "above_max_length", "max_length"),
    "too_short": ("array", "short", "minimum", "below_min_length", "min_length"),
    "too_long": ("array", "long", "maximum", "above_max_length", "max_length"),
}


def refusal(findings: Sequence[Finding], data: Any) -> errors.InvalidRequest:
    """The current texts. `data` is what the client sent, parsed."""
    first, *branches = _of_first_field(findings, data)
    path, value = path_of(first, data), first["input"]
    shown = _spelled(path)
    kind = first["type"]
    if (kind in BOUNDS or kind in LENGTHS) and all(map(_is_of_type, branches)):
        branches = []  # the first one is about a value of the right type
    if kind in ("missing", "union_tag_not_found"):
        name = _spelled((*path, _tag_name(first))) if kind == "union_tag_not_found" else shown
        return _refused(
            f"Missing required parameter: '{name}'.", name, "missing_required_parameter"
        )
    if kind == "extra_forbidden":
        return _refused(f"Unknown parameter: '{shown}'.", shown, "unknown_parameter")
    if kind in BOUNDS and not branches:
        return _out_of_bounds(first, shown)
    if kind in LENGTHS and not branches:
        return _of_wrong_length(first, shown)
    if kind == "string_pattern_mismatch" and not branches:
        text = (
            f"Invalid '{shown}': string does not match pattern. Expected a string that matches the "
            f"pattern '{first['ctx']['pattern']}'."
        )
        return _refused(text, shown, "invalid_value")
    if kind == "union_tag_invalid":
        return _unlisted(
            first["ctx"]["tag"], first["ctx"]["expected_tags"], [*path, _tag_name(first)]
        )
    if kind in ("literal_error", "enum") and not branches:
        return _unlisted(value, first["ctx"]["expected"], path)
    expected = list(dict.fromkeys(_expected_types([first, *branches])))
    if expected:
        one_of = expected[0] if len(expected) == 1 else "one of " + " or ".join(expected)
        text = f"Invalid type for '{shown}': expected {one_of}, but got {_kind_of(value)} instead."
        return _refused(text, shown, "invalid_type")
    return _refused(f"Invalid '{shown}': {first['msg']}.", shown, "invalid_value")


def job_refusal(findings: Sequence[Finding], data: Any) -> errors.InvalidRequest:
    """The texts of `/fine_tuning/jobs`: field names without their path, no code."""
    group = _of_first_field(findings, data)
    if group[0]["type"] in ("missing", "model_type"):
        return refusal(findings, data)
    names = [step for step in path_of(group[0], data) if isinstance(step, str)]
    field = names[-1] if names else "request"
    words = " or ".join(dict.fromkeys(item["msg"].lower() for item in group))
    return _refused(f"invalid {field}: {_shown(group[0]['input'])}, {words}", field, None)


def _of_first_field(findings: Sequence[Finding], data: Any) -> list[Finding]:
    """The findings on the field that the first one is about.

    Where a union's branches were tried, the first of them may only say that the value is of
    another type than its own. Then the branch of the right type knows better what is wrong.
    """
    path = path_of(findings[0], data)
    below = [item for item in findings if path_of(item, data)[: len(path)] == path]
    if _is_of_type(findings[0]):
        telling = [item for item in below if path_of(item, data) != path or not _is_of_type(item)]
        path = path_of(telling[0], data) if telling else path
        below = telling or below
    return [item for item in below if path_of(item, data) == path]


def _is_of_type(finding: Finding) -> bool:
    """Whether all that is said is that another type was expected: of an object, too, that isn't
    one of some words."""
    is_no_word = finding["type"] == "literal_error" and isinstance(finding["input"], dict)
    return is_no_word or finding["type"] in EXPECTED_TYPES


def path_of(finding: Finding, data: Any) -> Path:
    """Where the finding is in `data`. Pydantic's own location also has steps that only name a
    union's branch; the last step may be a key that is missing."""
    path: list[str | int] = []
    location = finding["loc"]
    for position, step in enumerate(location):
        is_there = (isinstance(data, dict) and step in data) or (
            isinstance(data, list) and isinstance(step, int) and step < len(data)
        )
        if is_there:
            data = data[step]
            path.append(step)
        elif finding["type"] == "missing" and position == len(location) - 1:
            path.append(step)
    return tuple(path)


def _spelled(path: Sequence[str | int]) -> str:
    """`messages[0].content`"""
    text = ""
    for step in path:
        text += f"[{step}]" if isinstance(step, int) else f".{step}" if text else step
    return text or "body"


def _expected_types(findings: Sequence[Finding]) -> Iterator[str]:
    for item in findings:
        if item["type"] in EXPECTED_TYPES:
            yield EXPECTED_TYPES[item["type"]]
        elif item["type"] == "literal_error":
            yield item["ctx"]["expected"]


def _out_of_bounds(finding: Finding, shown: str) -> errors.InvalidRequest:
    words, code, bound, sign = BOUNDS[finding["type"]]
    limit, value = finding["ctx"][bound], finding["input"]
    number = "integer" if isinstance(limit, int) and not isinstance(value, float) else "decimal"
    text = (
        f"Invalid '{shown}': {number} {words}. Expected a value {sign} {_shown(limit)}, "
        f"but got {_shown(value)} instead."
    )
    return _refused(text, shown, f"{number}_{code}")


def _of_wrong_length(finding: Finding, shown: str) -> errors.InvalidRequest:
    noun, adjective, bound, code, context_key = LENGTHS[finding["type"]]
    value = finding["input"]
    if isinstance(value, dict):
        noun = "object"
    article = "a" if noun == "string" else "an"
    got = f"{article} {noun} with length {len(value)}" if value else f"an empty {noun}"
    text = (
        f"Invalid '{shown}': {noun} too {adjective}. Expected {article} {noun} with {bound} length "
        f"{finding['ctx'][context_key]}, but got {got} instead."
    )
    return _refused(text, shown, f"{noun}_{code}" if value else f"empty_{noun}")


def _unlisted(value: Any, supported: str, path: Sequence[str | int]) -> errors.InvalidRequest:
    text = f"Invalid value: '{_shown(value)}'. Supported values are: {supported}."
    return _refused(text, _spelled(path), "invalid_value")


def _tag_name(finding: Finding) -> str:
    """The key that tells a union's branches apart."""
    return str(finding["ctx"]["discriminator"]).strip("'")


def _kind_of(value: Any) -> str:
    match value:
        case None:
            return "null"
        case bool():
            return "a boolean"
        case int():
            return "an integer"
        case float():
            return "a decimal"
        case str():
            return "a string"
        case list() | tuple():
            return "an array"
        case _:
            return "an object"


def _shown(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= SHOWN_LENGTH else text[:SHOWN_LENGTH] + "…"


def _refused(text: str, param: str, code: str | None) -> errors.InvalidRequest:
    return errors.InvalidRequest(text, param=param[:SHOWN_LENGTH], code=code)
