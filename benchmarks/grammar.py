"""What following a JSON schema costs, and what it costs those who don't.

The engine alone (`tunesmith-tiny`, no HTTP), all in one run, in turns: sequences without a grammar,
the same number with one, and half of each. What limits it: a sequence's mask is found while the
model runs, so by the clock a step is longer only by what applies it and by the token's way through
the grammar. Here the processor's time is told, of all threads, which other processes don't disturb
and which shows the masks too.

`near_end` is the same with so little room that each token is looked at for whether an ending still
fits behind it.
"""

import json
import statistics
import time
from typing import Any

from benchmarks.tiny_engine import tiny_engine
from tunesmith.domain.generation import SamplingParams
from tunesmith.inference.engine import Engine, Request

ROUNDS = 7
NUM_STEPS = 64
SEQUENCES = (1, 8, 32)
PERSON = {
    "type": "object",
    "properties": {
        "name": {"type": "string"},
        "age": {"type": "integer", "minimum": 0},
        "tags": {"type": "array", "items": {"enum": ["a", "b", "c"]}},
        "friend": {"anyOf": [{"$ref": "#"}, {"type": "null"}]},
    },
    "required": ["name", "age", "tags", "friend"],
    "additionalProperties": False,
}
# No answer to it ends within the steps that are measured: its shortest has some 250 tokens.
LONG = json.dumps({"type": "array", "items": PERSON, "minItems": 12})
FAR, NEAR = 1200, 400  # max_tokens


def measure() -> dict[str, Any]:
    engine = tiny_engine()
    return {
        "first_compile_ms": compile_ms(engine, PERSON),
        "compile_ms": compile_ms(engine, {"type": "array", "items": PERSON}),
        "sequences": {str(number): compare(engine, number) for number in SEQUENCES},
    }


def compile_ms(engine: Engine, schema: dict[str, Any]) -> float:
    """With the trial, in a process of its own; the first one loads the vocabulary too."""
    started = time.perf_counter()
    engine.grammars.get(json.dumps(schema))
    return round(1000 * (time.perf_counter() - started), 1)


def compare(engine: Engine, number: int) -> dict[str, Any]:
    kinds: dict[str, tuple[list[str | None], int]] = {
        "without": ([None] * number, FAR),
        "with": ([LONG] * number, FAR),
        "near_end": ([LONG] * number, NEAR),
        "half": ([LONG if place % 2 else None for place in range(number)], FAR),
    }
    for kind in kinds:
        step_cpu_ms(engine, *kinds[kind])  # warms up
    # In turns: what else the machine does meets all alike.
    rounds = [{kind: step_cpu_ms(engine, *kinds[kind]) for kind in kinds} for _ in range(ROUNDS)]
    result: dict[str, Any] = {
        "step_cpu_ms": {kind: median([each[kind] for each in rounds]) for kind in kinds}
    }
    for kind in ("with", "near_end", "half"):
        ratios = [each[kind] / each["without"] for each in rounds]
        result[f"ratio_{kind}"] = {
            "median": median(ratios),
            "min": round(min(ratios), 3),
            "max": round(max(ratios), 3),
        }
    return result


def step_cpu_ms(engine: Engine, schemas: list[str | None], max_tokens: int) -> float:
    """Of decoding, the median over steps."""
    sequences = []
    for seed, schema in enumerate(schemas):
        params = SamplingParams(max_tokens, seed=seed, ignore_eos=True, json_schema=schema)
        sequences += engine.submit(Request(list(range(40, 72)), params))
    engine.step()
    times = []
    for _ in range(NUM_STEPS):
        started = time.process_time()
        deltas = engine.step()
        times.append(time.process_time() - started)
        assert deltas is not None, "no answer ends so soon"
        assert len(deltas) == len(schemas), "no answer ends so soon"
    for sequence in sequences:
        engine.cancel(sequence)
    return 1000 * statistics.median(times)


def median(values: list[float]) -> float:
    return round(statistics.median(values), 3)
