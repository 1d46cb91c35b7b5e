"""Chat completions."""

import json

from tests.contract.conformance.effects import echoed
from tests.contract.conformance.messages import MESSAGES
from tests.contract.conformance.rows import Conformance, Json, Seen, no_effect, refused, works
from tests.contract.conformance.sampling import SAMPLING, TOKENS, is_bounded
from tests.contract.conformance.tools import TOOL_FIELDS

HELLO = [{"role": "user", "content": "hello"}]
PART = {"type": "text", "text": "hi", "prompt_cache_breakpoint": {"mode": "explicit"}}
SCHEMA: Json = {
    "type": "object",
    "properties": {"a": {"enum": [7]}},
    "required": ["a"],
    "additionalProperties": False,
}
FORMAT: Json = {
    "type": "json_schema",
    "json_schema": {"name": "n", "description": "d", "schema": SCHEMA, "strict": True},
}
FOLLOWS = {"response_format": FORMAT, "max_completion_tokens": 60}
CACHE = "the cache finds what it knows by itself, and promises no time"
NEVER = "unsupported_parameter"


def stored(seen: Seen) -> Json:
    completion: Json = seen.get(f"/chat/completions/{seen.reply['id']}")
    return completion


def refuses_loose_schemas(seen: Seen) -> bool:
    loose = {**FORMAT["json_schema"], "schema": {"type": "object", "properties": {}}}
    return seen.is_refused("response_format", response_format={**FORMAT, "json_schema": loose})


def refuses_other_names(seen: Seen) -> bool:
    wrong = {**FORMAT["json_schema"], "name": "not a name"}
    return seen.is_refused(
        "response_format.json_schema.name", response_format={**FORMAT, "json_schema": wrong}
    )


CHAT = (
    Conformance(
        "POST /chat/completions",
        "chat.completions.create",
        base={"model": "tiny", "messages": HELLO, "max_completion_tokens": TOKENS, "seed": 1},
        rows=(
            works(
                "model",
                text="any model of this service that has the route; aliases are resolved",
                sends={"model": "tiny"},
                sees=echoed("model"),
            ),
            *MESSAGES,
            works(
                "max_completion_tokens",
                text="an upper bound, also where it doesn't fit the context",
                sends={"max_completion_tokens": 3},
                sees=is_bounded,
            ),
            works(
                "max_tokens",
                text="deprecated; the same",
                sends={"max_tokens": 3, "max_completion_tokens": None},
                sees=is_bounded,
            ),
            *SAMPLING,
            works(
                "logprobs",
                "top_logprobs",
                text="of each token said, and of 0 to 20 of the likeliest in its place",
                sends={"logprobs": True, "top_logprobs": 2},
                sees=lambda seen: all(
                    len(token["top_logprobs"]) == 2
                    for token in seen.reply["choices"][0]["logprobs"]["content"]
                ),
            ),
            works(
                "response_format",
                "response_format.type",
                "response_format.json_schema",
                "response_format.json_schema.schema",
                text="the answer follows the schema, or the request is refused",
                sends=FOLLOWS,
                sees=lambda seen: json.loads(seen.text) == {"a": 7},
            ),
            works(
                "response_format.json_schema.name",
                text="checked, and named in refusals",
                sends=FOLLOWS,
                sees=refuses_other_names,
            ),
            works(
                "response_format.json_schema.strict",
                text="the schema must keep OpenAI's rules for strict ones; it is enforced anyway",
                sends=FOLLOWS,
                sees=refuses_loose_schemas,
            ),
            no_effect(
                "response_format.json_schema.description",
                text="the model isn't told of the schema: it can't but follow it",
                sends=FOLLOWS,
            ),
            *TOOL_FIELDS,
            works(
                "store",
                "metadata",
                text="keeps the completion, with up to 16 pairs",
                sends={"store": True, "metadata": {"team": "blue"}},
                sees=lambda seen: stored(seen)["metadata"] == {"team": "blue"},
            ),
            works(
                "user",
                text="changes nothing in the answer; a stored completion has it as `input_user`",
                sends={"store": True, "user": "u"},
                sees=lambda seen: stored(seen)["input_user"] == "u",
            ),
            no_effect(
                "safety_identifier",
                text="says who asks, nothing about the answer",
                sends={"safety_identifier": "s"},
            ),
            no_effect("prompt_cache_key", text=CACHE, sends={"prompt_cache_key": "k"}),
            no_effect(
                "prompt_cache_retention", text=CACHE, sends={"prompt_cache_retention": "24h"}
            ),
            no_effect(
                "prompt_cache_options",
                "prompt_cache_options.ttl",
                "prompt_cache_options.mode",
                text=CACHE,
                sends={"prompt_cache_options": {"ttl": "30m", "mode": "explicit"}},
            ),
            no_effect(
                "service_tier",
                text="there is one tier: the answer says `default`",
                sends={"service_tier": "flex"},
            ),
            no_effect(
                "reasoning_effort",
                text="no model here is prompted to reason",
                sends={"reasoning_effort": "high"},
            ),
            no_effect(
                "verbosity",
                text="no model here was trained on lengths",
                sends={"verbosity": "low"},
            ),
            no_effect(
                "prediction",
                "prediction.type",
                "prediction.content",
                "prediction.content[].type",
                "prediction.content[].text",
                "prediction.content[].prompt_cache_breakpoint",
                "prediction.content[].prompt_cache_breakpoint.mode",
                text="a hint: the text would be the same, and is no faster",
                sends={"prediction": {"type": "content", "content": [PART]}},
            ),
            works(
                "modalities",
                text='`["text"]`',
                sends={"modalities": ["text"]},
                sees=lambda seen: seen.text == seen.without("modalities").text,
            ),
            refused(
                "modalities=audio",
                text="the models here write text only",
                sends={"modalities": ["text", "audio"]},
                param="modalities",
                code="unsupported_value",
            ),
            refused(
                "audio",
                text="the models here write text only",
                sends={"audio": {"voice": "alloy", "format": "wav"}},
                param="audio",
                code=NEVER,
            ),
            refused(
                "moderation",
                text="there are no moderation models here",
                sends={"moderation": {"model": "omni-moderation-latest"}},
                param="moderation",
                code=NEVER,
            ),
            refused(
                "web_search_options",
                text="this service doesn't search the web",
                sends={"web_search_options": {"search_context_size": "low"}},
                param="web_search_options",
                code=NEVER,
            ),
        ),
    ),
)
