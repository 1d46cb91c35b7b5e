"""Tags over the engine contract: vLLM's `structural_tag`, a JSON text in xgrammar's format.

    text before tags, or alone   triggered_tags
    tags alone                   tags_with_separator
    text or JSON instead         or: any_text or json_schema, and tags_with_separator

The format of `triggered_tags` knows no separator; there, a few blanks may stand between tags.
"""

import json
from collections.abc import Mapping
from typing import Any

from tunesmith.domain import errors
from tunesmith.domain.tagged import Tag, Tagged, Text

Json = dict[str, Any]  # a piece of the format

MAX_TAGS = 128


def to_structural_tag(tagged: Tagged) -> str:
    tags = [
        {"type": "tag", "begin": tag.begin, "content": _schema(tag.json_schema), "end": tag.end}
        for tag in tagged.tags
    ]
    many = {"tags": tags, "stop_after_first": tagged.is_single}
    if tagged.text is Text.BEFORE:
        form: Json = {"type": "triggered_tags", "triggers": [tagged.trigger], **many}
    else:
        form = {
            "type": "tags_with_separator",
            "separator": tagged.separator or "",
            "at_least_one": True,
            **many,
        }
        if tagged.json_schema is not None:
            form = {"type": "or", "elements": [_schema(tagged.json_schema), form]}
        elif tagged.text is Text.INSTEAD:
            form = {"type": "or", "elements": [{"type": "any_text"}, form]}
    return json.dumps({"type": "structural_tag", "format": form}, separators=(",", ":"))


def to_tagged(text: str) -> Tagged:
    """Raises InvalidRequest for what isn't one of the formats above."""
    try:
        return _read(json.loads(text)["format"])
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise errors.InvalidRequest(
            "This structural_tag isn't in a format that this engine knows: triggered_tags, "
            "tags_with_separator, or one of these beside any_text or a json_schema in an 'or'.",
            param="structured_outputs",
        ) from error


def _read(form: Json) -> Tagged:
    match form["type"]:
        case "triggered_tags":
            (trigger,) = form["triggers"]
            return _tagged(form, str(trigger), Text.BEFORE)
        case "tags_with_separator":
            return _with_separator(form, Text.NOWHERE)
        case "or":
            other, tags = form["elements"]
            if tags["type"] == "tags_with_separator" and other["type"] == "any_text":
                return _with_separator(tags, Text.INSTEAD)
            if tags["type"] == "tags_with_separator" and other["type"] == "json_schema":
                return _with_separator(tags, Text.NOWHERE, _json_schema(other))
    raise ValueError(f"unknown format {form['type']!r}")


def _with_separator(form: Json, text: Text, json_schema: str | None = None) -> Tagged:
    if form.get("at_least_one") is not True:
        raise ValueError("no tag at all")
    begins = [str(tag["begin"]) for tag in form["tags"]]
    # What they have in common: by letters, so that paths have nothing to do with it.
    trigger = begins[0][: _num_common(begins)]
    return _tagged(form, trigger, text, json_schema, str(form["separator"]))


def _tagged(
    form: Json,
    trigger: str,
    text: Text,
    json_schema: str | None = None,
    separator: str | None = None,
) -> Tagged:
    tags = tuple(
        Tag(str(tag["begin"]), _json_schema(tag["content"]), str(tag["end"]))
        for tag in form["tags"]
    )
    if not 1 <= len(tags) <= MAX_TAGS or not trigger:
        raise ValueError("no tags, too many of them, or none that is known by its beginning")
    if any(not tag.begin.startswith(trigger) for tag in tags):
        raise ValueError("a tag that doesn't begin with the trigger")
    return Tagged(tags, trigger, text, json_schema, separator, bool(form["stop_after_first"]))


def _num_common(texts: list[str]) -> int:
    columns = zip(*texts, strict=False)
    return next(
        (n for n, letters in enumerate(columns) if len(set(letters)) > 1), min(map(len, texts))
    )


def _schema(text: str) -> Json:
    return {"type": "json_schema", "json_schema": json.loads(text)}


def _json_schema(content: Mapping[str, Any]) -> str:
    if content["type"] != "json_schema" or not isinstance(content["json_schema"], dict):
        raise ValueError("a tag holds JSON that a schema describes")
    return json.dumps(content["json_schema"], separators=(",", ":"))
