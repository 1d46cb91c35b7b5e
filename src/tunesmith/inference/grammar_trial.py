"""`python -m tunesmith.inference.grammar_trial`: tries out JSON schemas, in a process of their own.

Some schemas, made so or by accident, take minutes or gigabytes to compile, and what compiles them
can't be interrupted. So each is compiled here first, where time and memory are limited; the engine
compiles it only if that went well. A trial takes some tenths of a second, most of which is the
start of Python.

`try_out` is the side that asks, `main` the side that works. Schemas go to stdin, results come from
stdout, both as JSON. No torch here.
"""

import json
import logging
import os
import resource
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from tunesmith.domain import errors
from tunesmith.inference.closing import END_OF_TEXT, Nesting, completes, find_end

if TYPE_CHECKING:
    from llguidance import LLMatcher, LLParserLimits, LLTokenizer

log = logging.getLogger("tunesmith.engine")

CPU_S = 2
WALL_S = 120.0  # on a machine that has other things to do
MEMORY_BYTES = 1024**3
NICENESS = 5  # requests that are under way come first

MAX_ANSWER_BYTES = 32_768
MAX_PLACES = 50_000  # of the search; time is over before

# Blanks are where people write them, one at most. With more, a small model may go on with blanks
# for ever.
SPELLING = {"whitespace_flexible": False, "item_separator": ", ?", "key_separator": ": ?"}


class Unusable(ValueError):
    """Why a schema, the one with this number, or all of them together can't be used."""

    def __init__(self, reason: str, number: int | None = None) -> None:
        super().__init__(reason)
        self.number = number


def try_out(schemas: Sequence[str], grammar: str | None = None) -> list[bytes]:
    """For each schema the shortest answer that follows it, or nearly so. `grammar`: what they are
    parts of.

    Raises Unusable, with a reason for the schemas' author; Unavailable if there was no way to find
    out.
    """
    command = [sys.executable, "-m", __name__]
    asked = json.dumps({"schemas": list(schemas), "grammar": grammar}).encode()
    try:
        done = subprocess.run(
            command, input=asked, capture_output=True, timeout=WALL_S, check=False
        )
    except (subprocess.TimeoutExpired, OSError) as error:
        raise errors.Unavailable(
            "The schema could not be compiled now. Try again later."
        ) from error
    if done.returncode != 0:  # killed, or out of memory
        log.info("trial of a schema: status %d: %r", done.returncode, done.stderr[-500:])
        raise Unusable(
            "it takes too much time or memory to compile. Make it smaller or simpler: fewer "
            "optional properties, smaller bounds, plainer patterns"
        )
    told = json.loads(done.stdout)
    if "error" in told:
        raise Unusable(told["error"], told["number"])
    return [bytes.fromhex(each) for each in told["shortest"]]


def parser_limits() -> "LLParserLimits":
    """What compiling, and one step of one sequence, may take: some tens of milliseconds."""
    from llguidance import LLParserLimits

    return LLParserLimits(
        initial_lexer_fuel=1_000_000,
        step_lexer_fuel=200_000,
        step_max_items=50_000,
        max_lexer_states=20_000,  # 1 or 2 kB each
        max_grammar_size=200_000,
        verbose_errors=False,
    )


def compile_schema(tokenizer: "LLTokenizer", schema: str) -> "LLMatcher":
    """A matcher at the start. Raises ValueError with the compiler's words."""
    from llguidance import LLMatcher

    grammar = LLMatcher.grammar_from_json_schema(schema, overrides=SPELLING)  # type: ignore[arg-type]
    return _compile(tokenizer, grammar)


def compile_lark(tokenizer: "LLTokenizer", lark: str) -> "LLMatcher":
    """The same of a grammar in llguidance's own language."""
    from llguidance import LLMatcher

    return _compile(tokenizer, LLMatcher.grammar_from_lark(lark))


def _compile(tokenizer: "LLTokenizer", grammar: str) -> "LLMatcher":
    from llguidance import LLMatcher

    matcher = LLMatcher(tokenizer, grammar, log_level=0, limits=parser_limits())
    if matcher.is_error():
        raise ValueError(" ".join(matcher.get_error().split()))
    return matcher


class ByteTokens:
    """What the compiler asks of a vocabulary: here each byte is a token, and the end is one."""

    is_tokenizer_wrapper = True
    eos_token_id = END_OF_TEXT
    bos_token_id = None
    tokens = (*(bytes([byte]) for byte in range(256)), b"")
    special_token_ids = (END_OF_TEXT,)

    def __call__(self, text: str | bytes) -> list[int]:
        return list(text.encode() if isinstance(text, str) else text)


def byte_tokenizer() -> "LLTokenizer":
    from llguidance import LLTokenizer

    return LLTokenizer(ByteTokens(), slices=[])  # type: ignore[arg-type]  # it has what is asked


def main() -> None:
    os.nice(NICENESS)
    resource.setrlimit(resource.RLIMIT_CPU, (CPU_S, CPU_S))
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    json.dump(_tried(json.loads(sys.stdin.buffer.read())), sys.stdout)


def _tried(asked: dict[str, Any]) -> dict[str, Any]:
    tokenizer = byte_tokenizer()
    number: int | None = None
    try:
        shortest = []
        for number, schema in enumerate(asked["schemas"]):  # noqa: B007 (told if one fails)
            shortest.append(_shortest(tokenizer, schema).hex())
        number = None
        if asked["grammar"] is not None:
            compile_lark(tokenizer, asked["grammar"])
    except ValueError as error:
        return {"error": str(error), "number": number}
    return {"shortest": shortest}


def _shortest(tokenizer: "LLTokenizer", schema: str) -> bytes:
    """Raises ValueError."""
    matcher = compile_schema(tokenizer, schema)
    shortest = _search(tokenizer, matcher, schema)
    if shortest is None:
        raise ValueError(
            f"no answer of at most {MAX_ANSWER_BYTES} bytes was found for it. It may refer to "
            "itself without an end, or ask for too many items or letters"
        )
    return shortest


def _search(tokenizer: "LLTokenizer", matcher: "LLMatcher", schema: str) -> bytes | None:
    """A pattern may match anywhere in a text, and then the search doesn't see that a letter has
    brought it closer. So it first looks for texts that are nothing but their patterns."""
    narrowed = json.dumps(_narrowed(json.loads(schema)))
    if json.loads(narrowed) != json.loads(schema):
        with suppress(ValueError):
            narrow = compile_schema(tokenizer, narrowed)
            found = find_end(narrow, Nesting(), MAX_PLACES // 10, MAX_ANSWER_BYTES)
            if found is not None and completes(found, matcher):
                return found
    return find_end(matcher, Nesting(), MAX_PLACES, MAX_ANSWER_BYTES)


def _narrowed(schema: Any) -> Any:
    if isinstance(schema, list):
        return [_narrowed(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    narrowed = {key: _narrowed(value) for key, value in schema.items()}
    if isinstance(pattern := schema.get("pattern"), str):
        narrowed["pattern"] = f"^(?:{pattern.removeprefix('^').removesuffix('$')})$"
    return narrowed


if __name__ == "__main__":
    main()
