"""Answers that follow a schema: which tokens may come, and that they end in time."""

import json
import random
from collections.abc import Iterator
from itertools import product
from pathlib import Path
from typing import Any

import pytest
import torch
from jsonschema import Draft202012Validator

from tests.small_models import VOCAB_SIZE
from tests.unit.inference.builders import a_trained_adapter, an_engine
from tunesmith.datasets.render import Renderer
from tunesmith.domain import errors
from tunesmith.domain.generation import FinishReason, SamplingParams
from tunesmith.inference.adapter_slots import KnownAdapter
from tunesmith.inference.closing import Nesting, find_end
from tunesmith.inference.engine import Delta, Engine, Request
from tunesmith.inference.grammar import Grammars
from tunesmith.inference.grammar_trial import byte_tokenizer, compile_schema, try_out
from tunesmith.inference.guide import Guide
from tunesmith.inference.limits import EngineLimits
from tunesmith.inference.masks import Masker, masked
from tunesmith.modeling.decoder import Decoder
from tunesmith.modeling.weights import load_decoder

Json = dict[str, Any]

TINY = Path(__file__).parents[3] / "src/tunesmith/base_models/tunesmith-tiny"
PROMPT = list(b"Say it in JSON.")
TREE: Json = {
    "type": "object",
    "properties": {
        "name": {"type": "string"},
        "kind": {"enum": ["oak", "elm", "fir \u00e4\U0001f600"]},
        "height": {"type": "number", "minimum": 0.5},
        "branches": {"type": "array", "items": {"$ref": "#"}},
        "owner": {"anyOf": [{"type": "null"}, {"type": "string", "pattern": "^[A-Z][a-z]{3,9}$"}]},
    },
    "required": ["name", "kind", "height", "branches", "owner"],
    "additionalProperties": False,
}


class Letters:
    """A vocabulary of nine tokens; the last one ends a text, and the one before is a control
    token with an innocent name."""

    tokens = (b'"', b"a", b"b", b"ab", b'a"', b'"b', b"[", b"", b"")
    end_token_ids = (8,)

    def text_tokens(self) -> list[bytes]:
        return list(self.tokens)

    def encode_part(self, text: str) -> list[int]:
        return [self.tokens.index(bytes([byte])) for byte in text.encode()]

    def control_tokens(self, _text: str) -> list[tuple[int, int, int]]:
        return []


@pytest.fixture(scope="module")
def tiny() -> Engine:
    decoder = load_decoder(TINY, torch.device("cpu"), torch.float32)
    limits = EngineLimits(max_context=1024, num_blocks=256)
    seeds = iter(range(100_000))
    return Engine(decoder, Renderer.load(TINY), limits, new_seed=lambda: next(seeds))


@pytest.fixture(scope="module")
def engine(folder: Path) -> Engine:
    return an_engine(folder)


def answers(engine: Engine, schema: Json, max_tokens: int = 60, **options: Any) -> list[Delta]:
    n = options.pop("n", 1)
    params = SamplingParams(
        max_tokens, **{"temperature": 1.5, **options}, json_schema=json.dumps(schema)
    )
    return engine.generate([Request(PROMPT, params, n)])[0]


def validated(schema: Json, answer: Delta) -> Any:
    assert answer.error is None, answer.error
    value = json.loads(answer.text)
    Draft202012Validator(schema).validate(value)
    return value


def shortest(engine: Engine, schema: Json) -> int:
    """In tokens."""
    grammar = engine.grammars.get(json.dumps(schema))
    token_ids = grammar.vocabulary.spell(grammar.shortest)
    assert token_ids
    return len(token_ids)


def refusal(schema: Json) -> str:
    with pytest.raises(ValueError, match=r".") as caught:
        try_out([json.dumps(schema)])
    return str(caught.value)


def test_a_token_may_follow_exactly_if_a_whole_answer_can_begin_with_it() -> None:
    """Against all texts of up to six letters, on a vocabulary where one may come in many ways."""
    schema = {"type": "string", "pattern": "^(ab|ba)*$", "maxLength": 4}
    letters, whole = (
        Letters(),
        [b'""', b'"ab"', b'"ba"', b'"abab"', b'"abba"', b'"baab"', b'"baba"'],
    )
    grammar = Grammars(letters, len(letters.tokens)).get(json.dumps(schema))
    num_looked_at = 0
    for length in range(5):
        for way in product(range(7), repeat=length):
            said = b"".join(letters.tokens[token_id] for token_id in way)
            if not any(text.startswith(said) for text in whole) or said in whole:
                continue
            guide = Guide(grammar, 1000)
            for token_id in way:
                guide.take(token_id, 1000)
            mask = guide.matcher.compute_bitmask()
            allowed = {token_id for token_id in range(9) if mask[0] >> token_id & 1}
            allowed |= {8} if len(mask) > 1 and mask[1] & 1 else set()
            expected = {
                token_id
                for token_id, token in enumerate(letters.tokens)
                if token and any(text.startswith(said + token) for text in whole)
            }
            # Where one text alone can follow, the compiler may insist on one way to cut it.
            forced = guide.matcher.compute_ff_bytes()
            assert allowed == expected or (forced and allowed and allowed < expected), said
            assert not guide.is_whole
            num_looked_at += 1
    assert num_looked_at > 20


def test_what_a_mask_forbids_is_minus_infinity_and_other_rows_stay(engine: Engine) -> None:
    params = SamplingParams(50, json_schema=json.dumps({"type": "object"}))
    (guided,) = engine.submit(Request(PROMPT, params))
    (free,) = engine.submit(Request(PROMPT, SamplingParams(50)))
    engine.cancel(guided)
    engine.cancel(free)
    masker = Masker(VOCAB_SIZE)
    assert masker.start([free]) is None
    finding = masker.start([free, guided])
    assert finding is not None
    logits = torch.randn(3, VOCAB_SIZE)
    result = masked(logits, [free, guided, free], finding.result())
    assert torch.equal(result[[0, 2]], logits[[0, 2]])
    (allowed,) = result[1].isfinite().nonzero().T.tolist()
    assert [engine.grammars._vocabulary.tokens[token_id] for token_id in allowed] == [b"{"]
    assert torch.equal(result[1, allowed], logits[1, allowed])


@pytest.mark.parametrize("to_spare", [0, 1, 5, 30, 200])
def test_an_answer_is_whole_even_if_there_is_hardly_room_for_it(
    tiny: Engine, to_spare: int
) -> None:
    max_tokens = shortest(tiny, TREE) + to_spare
    for answer in answers(tiny, TREE, max_tokens, n=4):
        validated(TREE, answer)
        assert answer.finish_reason is FinishReason.STOP
        assert len(answer.token_ids) <= max_tokens


def test_without_room_for_the_shortest_answer_the_reason_is_length(tiny: Engine) -> None:
    for answer in answers(tiny, TREE, shortest(tiny, TREE) // 2, n=2):
        assert answer.finish_reason is FinishReason.LENGTH


@pytest.mark.parametrize("schema", [{"type": "object"}, {}, {"type": "number"}])
def test_open_schemas_end_within_any_limit(tiny: Engine, schema: Json) -> None:
    for max_tokens in (2, 3, 17):
        for answer in answers(tiny, schema, max_tokens, n=4, temperature=2.0):
            validated(schema, answer)
            assert answer.finish_reason is FinishReason.STOP


def random_schema(draw: random.Random, depth: int = 3) -> Json:
    """All kinds of keywords that are enforced, and no schema that nothing can satisfy."""
    kinds = ["string", "text", "integer", "number", "boolean", "null", "enum", "const", "format"]
    kind = draw.choice(kinds + ["object", "array", "anyOf"] * 3 if depth else kinds)
    low, high = sorted(draw.randrange(-50, 500) for _ in range(2))
    few = draw.randrange(3)
    match kind:
        case "string":
            return {"type": "string", "minLength": few, "maxLength": few + draw.randrange(9)}
        case "text":
            pattern = draw.choice(
                ["^[a-z]+$", "\\d{3}", "^(foo|ba+r)$", "^[A-Z]\\w{2,5}-?$", "[A-F]{2}-\\d{3}"]
            )
            return {"type": "string", "pattern": pattern}
        case "integer":
            return {"type": "integer", "minimum": low, "maximum": high}
        case "number":
            return {"type": "number", "exclusiveMinimum": low, "maximum": high + 1}
        case "enum":
            return {"enum": draw.sample(["a", "b\n", "\u00e9\u4e2d", 1, -2.5, None, True, [1]], 3)}
        case "const":
            return {"const": draw.choice(['"q"\\', 7, {"k": [None]}, "\U0001f600"])}
        case "format":
            return {"type": "string", "format": draw.choice(["date", "time", "uuid", "ipv4"])}
        case "array":
            items = random_schema(draw, depth - 1)
            return {"type": "array", "items": items, "minItems": few, "maxItems": few + 2}
        case "anyOf":
            return {"anyOf": [random_schema(draw, depth - 1) for _ in range(few + 1)]}
        case "object":
            names = draw.sample(["a", "b c", "\u00fc", 'say "x"', "long_name"], few + 1)
            return {
                "type": "object",
                "properties": {name: random_schema(draw, depth - 1) for name in names},
                "required": names[:few],
                "additionalProperties": draw.choice([False, {"type": "integer"}]),
            }
        case _:
            return {"type": kind}


@pytest.mark.parametrize("seed", range(3))
def test_answers_to_random_schemas_validate(tiny: Engine, seed: int) -> None:
    draw = random.Random(seed)
    schemas = [random_schema(draw) for _ in range(6)]
    requests = []
    for schema in schemas:
        max_tokens = shortest(tiny, schema) + draw.randrange(80)
        params = SamplingParams(max_tokens, temperature=1.5, json_schema=json.dumps(schema))
        requests.append(Request(PROMPT, params, n=2))
    for schema, choices in zip(schemas, tiny.generate(requests), strict=True):
        for answer in choices:
            validated(schema, answer)
            assert answer.finish_reason is FinishReason.STOP


def test_neither_neighbours_nor_a_lost_place_in_the_cache_change_an_answer(folder: Path) -> None:
    """The second engine's cache is too small for all, so that sequences lose their blocks."""
    schema = {"type": "array", "items": {"type": "integer"}, "minItems": 12}
    alone = an_engine(folder)
    params = [
        SamplingParams(50, seed=seed, json_schema=json.dumps(schema) if seed % 2 else None)
        for seed in range(4)
    ]
    expected = [alone.generate([Request(PROMPT, each)])[0][0].token_ids for each in params]
    narrow = an_engine(folder, num_blocks=8, max_context=96)
    together = narrow.generate([Request(PROMPT, each) for each in params])
    assert [choices[0].token_ids for choices in together] == expected


def test_choices_go_their_own_ways_and_a_seed_repeats_them(tiny: Engine) -> None:
    schema = {"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"]}
    first, again = (answers(tiny, schema, 40, n=6, seed=5) for _ in range(2))
    assert [each.text for each in first] == [each.text for each in again]
    assert len({each.text for each in first}) > 1


def test_tuned_models_follow_schemas_too(engine: Engine, decoder: Decoder) -> None:
    engine.add_adapter(KnownAdapter("tuned", Path()), a_trained_adapter(decoder.shape, seed=1))
    params = SamplingParams(90, seed=1, json_schema=json.dumps(TREE))
    texts = set()
    for adapter in ("tuned", None):
        ((answer,),) = engine.generate([Request(PROMPT, params, adapter=adapter)])
        validated(TREE, answer)
        texts.add(answer.text)
    assert len(texts) == 2


def test_no_bias_gets_past_a_grammar(engine: Engine) -> None:
    tokens = engine.grammars._vocabulary.tokens
    against = {token_id: -100.0 for token_id, token in enumerate(tokens) if token in (b"{", b"}")}
    (answer,) = answers(engine, {"type": "object"}, 30, logit_bias={**against, 0: 100.0, 5: 100.0})
    validated({"type": "object"}, answer)


@pytest.mark.parametrize(
    ("said", "rest"),
    [
        (b"", b'{"name":"","kind":"oak","height":1,"branches":[],"owner":null}'),
        (b'{"name":"x\\', b'"","kind":"oak","height":1,"branches":[],"owner":null}'),
        (
            b'{"name":"","kind":"fir \xc3',
            b'\xa4\xf0\x9f\x98\x80","height":1,"branches":[],"owner":null}',
        ),
        (b'{"name":"","kind":"elm","height":0', b'.5,"branches":[],"owner":null}'),
        (b'{"name":"","kind":"elm","height":7,"branches":[],"owner":"Ab', b'aa"}'),
    ],
)
def test_an_answer_can_be_ended_from_everywhere_in_few_bytes(said: bytes, rest: bytes) -> None:
    matcher = compile_schema(byte_tokenizer(), json.dumps(TREE))
    assert matcher.consume_tokens(list(said))
    found = find_end(matcher, Nesting().after(said), 1000, 1000)
    assert found is not None
    Draft202012Validator(TREE).validate(json.loads(said + found))
    assert len(found) <= len(rest)


def hostile() -> Iterator[tuple[str, Json, str]]:
    chain: Json = {"$defs": {"d40": {"type": "string"}}, "$ref": "#/$defs/d0"}
    for level in range(40):
        inner = {"$ref": f"#/$defs/d{level + 1}"}
        chain["$defs"][f"d{level}"] = {
            "type": "object",
            "properties": {"a": inner, "b": inner},
            "required": ["a", "b"],
        }
    yield "answers that double", chain, "no answer of at most 32768 bytes"
    endless = {"type": "object", "properties": {"n": {"$ref": "#"}}, "required": ["n"]}
    yield "no end", endless, "no answer of at most 32768 bytes"
    yield "itself", {"$ref": "#"}, "no answer of at most 32768 bytes"
    crossed = [
        {"anyOf": [{"properties": {f"k{j}": {"const": i}}} for i in range(6)]} for j in range(8)
    ]
    yield "a product of choices", {"allOf": crossed}, "too large"
    yield (
        "a long division",
        {"type": "integer", "multipleOf": 99_999_999},
        "too much time or memory",
    )
    wide = {"type": "object", "properties": {f"p{n}": {"type": "null"} for n in range(4900)}}
    yield "thousands of optional keys", wide, ""
    yield "steps of steps", {"type": "string", "pattern": "^(a{1000}){1000}$"}, ""
    yield "look-around", {"type": "string", "pattern": "(?=a)b"}, "look-around"
    yield "unknown format", {"type": "string", "format": "poem"}, "Unknown format: poem"
    yield "nothing", {"type": "integer", "minimum": 5, "maximum": 3}, "Unsatisfiable"
    either = [{"type": "string"}, {"type": "string", "minLength": 2}]
    yield "not one of", {"oneOf": either}, "oneOf"


@pytest.mark.parametrize(
    ("schema", "reason"), [pytest.param(schema, text, id=name) for name, schema, text in hostile()]
)
def test_schemas_that_are_too_much_are_refused_in_limited_time(schema: Json, reason: str) -> None:
    assert reason in refusal(schema)


def test_a_schema_is_compiled_once_and_so_is_its_refusal(engine: Engine) -> None:
    grammars = engine.grammars
    for schema in ('{"type":"integer"}', '{"type":"integer","minimum":5,"maximum":3}'):
        assert grammars.start(schema) is grammars.start(schema)
        assert grammars.start(schema).result() is grammars.start(schema).result()
    for _ in range(2):
        with pytest.raises(errors.InvalidRequest) as caught:
            grammars.get('{"type":"integer","minimum":5,"maximum":3}')
        assert caught.value.param == "response_format"
        assert "Unsatisfiable" in caught.value.message
