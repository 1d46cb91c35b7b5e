"""The engine as its callers see it, on small random models, in float32 on the CPU.

Greedy tokens are compared exactly. Sums come out a little differently in other batch shapes (by
about 1e-6), while the two best tokens' logits of these models lie 0.2 apart in the median and less
than 1e-4 in none of 3,000 tokens: chance hardly fails a right engine, and the seeds are fixed.
"""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM

from tests.small_models import END_TOKEN_ID, VOCAB_SIZE, Kind
from tests.unit.inference.builders import (
    CONTEXT,
    a_trained_adapter,
    an_engine,
    greedy,
    load_small,
    make_small,
    random_prompts,
)
from tunesmith.domain import errors
from tunesmith.domain.generation import FinishReason, SamplingParams
from tunesmith.inference.adapter_slots import KnownAdapter
from tunesmith.inference.engine import Delta, Engine, Request
from tunesmith.modeling.attention import RowAttention
from tunesmith.modeling.decoder import Decoder
from tunesmith.modeling.lora import LoraAdapter

KINDS: list[Kind] = ["llama", "qwen2", "qwen3"]


def tokens(answers: list[list[Delta]]) -> list[list[int]]:
    """Of requests with one choice each."""
    return [list(answer[0].token_ids) for answer in answers]


@torch.inference_mode()
def plain_greedy(
    decoder: Decoder, prompt: list[int], num_tokens: int, adapter: LoraAdapter | None = None
) -> list[int]:
    """No cache, no batch: the whole sequence anew for each token."""
    known = list(prompt)
    for _ in range(num_tokens):
        attend = RowAttention([len(known)])
        hidden = decoder(torch.tensor(known), torch.arange(len(known)), attend, adapter)
        known.append(int(decoder.logits(hidden[-1]).argmax()))
    return known[len(prompt) :]


def test_greedy_tokens_vary(decoder: Decoder) -> None:
    """Else comparing them would prove nothing."""
    assert len(set(plain_greedy(decoder, [1, 2, 3], 20))) > 10


@pytest.mark.parametrize("kind", KINDS)
def test_greedy_tokens_are_those_of_transformers(tmp_path: Path, kind: Kind) -> None:
    make_small(tmp_path, kind)
    oracle = AutoModelForCausalLM.from_pretrained(tmp_path, dtype=torch.float32)
    prompts = random_prompts([1, 7, 30])
    answers = an_engine(tmp_path).generate([Request(prompt, greedy(16)) for prompt in prompts])
    for prompt, found in zip(prompts, tokens(answers), strict=True):
        expected = oracle.generate(
            torch.tensor([prompt]),
            attention_mask=torch.ones(1, len(prompt), dtype=torch.long),
            max_new_tokens=16,
            do_sample=False,
            eos_token_id=VOCAB_SIZE,  # never: go on to the end
            pad_token_id=0,
        )
        assert found == expected[0, len(prompt) :].tolist()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "limits",
    [
        {"max_step_tokens": 1024, "block_size": 16, "num_blocks": 64},  # all at once
        {"max_step_tokens": 16, "block_size": 3, "num_blocks": 300},  # prompts in small chunks
        {"max_step_tokens": 40, "block_size": 4, "num_blocks": 128},  # too many for the cache
    ],
)
def test_greedy_tokens_do_not_depend_on_neighbours_chunks_or_blocks(
    tmp_path: Path, kind: Kind, limits: dict[str, int]
) -> None:
    decoder = load_small(make_small(tmp_path, kind))
    prompts = random_prompts([1, 2, 17, 40, 5, 64, 33, 16, 3, 90, 48, 60])
    answers = an_engine(tmp_path, **limits).generate(
        [Request(prompt, greedy(12 + 2 * n)) for n, prompt in enumerate(prompts)]
    )
    for n, (prompt, found) in enumerate(zip(prompts, tokens(answers), strict=True)):
        assert found == plain_greedy(decoder, prompt, 12 + 2 * n)


def test_a_sequence_that_lost_its_blocks_goes_on_with_the_same_tokens(
    folder: Path, decoder: Decoder
) -> None:
    """Four sequences that end at 40 tokens in a cache of 64."""
    engine = an_engine(folder, max_context=64, num_blocks=16, block_size=4)
    prompts = random_prompts([10, 11, 12, 13])
    for prompt in prompts:
        engine.submit(Request(prompt, greedy(40 - len(prompt))))
    has_lost = False
    found: dict[int, list[int]] = {}
    while (deltas := engine.step()) is not None:
        has_lost |= any(s.num_sampled and not s.block_ids for s in engine._scheduler)
        for delta in deltas:
            found.setdefault(delta.sequence.arrival, []).extend(delta.token_ids)
    assert has_lost
    for n, prompt in enumerate(prompts):
        assert found[n] == plain_greedy(decoder, prompt, 40 - len(prompt))


def with_adapters(engine: Engine, decoder: Decoder, num_adapters: int) -> dict[str, LoraAdapter]:
    adapters = {
        f"a{n}": a_trained_adapter(decoder.shape, seed=n, rank=(8, 16)[n % 2])
        for n in range(num_adapters)
    }
    for name, weights in adapters.items():
        engine.add_adapter(KnownAdapter(name, Path(name)), weights)
    return adapters


def test_each_sequence_has_its_own_adapter_in_a_mixed_batch(folder: Path, decoder: Decoder) -> None:
    engine = an_engine(folder, max_step_tokens=32)
    adapters = with_adapters(engine, decoder, 3)
    names = [None, "a2", "a0", "a1", None, "a0", "a2", "a2"]
    prompts = random_prompts([20, 3, 31, 8, 2, 9, 40, 1])
    answers = engine.generate(
        [Request(p, greedy(), adapter=name) for p, name in zip(prompts, names, strict=True)]
    )
    for prompt, name, found in zip(prompts, names, tokens(answers), strict=True):
        assert found == plain_greedy(decoder, prompt, 20, adapters[name] if name else None)


def test_the_adapters_do_make_a_difference(folder: Path, decoder: Decoder) -> None:
    """Else the test before would prove nothing."""
    engine = an_engine(folder)
    with_adapters(engine, decoder, 3)
    prompt = random_prompts([20])[0]
    answers = engine.generate(
        [Request(prompt, greedy(), adapter=name) for name in (None, "a0", "a1", "a2")]
    )
    assert len({tuple(found) for found in tokens(answers)}) == 4


def test_an_adapter_without_a_slot_is_asked_for_when_it_is_needed(
    folder: Path, decoder: Decoder
) -> None:
    engine = an_engine(folder, num_adapter_slots=1)
    adapters = with_adapters(engine, decoder, 2)
    prompt = random_prompts([10])[0]
    engine.submit(Request(prompt, greedy(3), adapter="a0"))
    [sequence] = engine.submit(Request(prompt, greedy(3), adapter="a1"))
    found: list[int] = []
    for _ in range(20):
        for delta in engine.step() or ():
            found += delta.token_ids if delta.sequence is sequence else ()
        for adapter in engine.missing_adapters():
            engine.place_adapter(adapter, adapters[adapter.name])
    assert found == plain_greedy(decoder, prompt, 3, adapters["a1"])


def test_an_adapter_that_can_not_be_read_any_more_fails_its_sequences_only(
    folder: Path, decoder: Decoder
) -> None:
    engine = an_engine(folder, num_adapter_slots=1)
    with_adapters(engine, decoder, 2)  # the second has the slot
    [lost] = engine.submit(Request([1, 2], greedy(3), adapter="a0"))
    [other] = engine.submit(Request([1, 2], greedy(3)))
    engine.step()
    engine.step()
    [missing] = engine.missing_adapters()
    [failure] = engine.fail_adapter(missing, errors.NotFound("gone"))
    assert failure.sequence is lost
    assert isinstance(failure.error, errors.NotFound)
    assert [adapter.name for adapter in engine.adapters] == ["a1"]
    [delta] = engine.step() or []
    assert (delta.sequence, delta.finish_reason) == (other, FinishReason.LENGTH)
    assert engine.step() is None


def test_an_adapter_of_the_same_name_is_new_only_to_new_sequences(
    folder: Path, decoder: Decoder
) -> None:
    engine = an_engine(folder)
    old, new = (a_trained_adapter(decoder.shape, seed=seed) for seed in (1, 2))
    prompt = random_prompts([10])[0]
    engine.add_adapter(KnownAdapter("a", Path("old")), old)
    engine.submit(Request(prompt, greedy(), adapter="a"))
    first = engine.step() or []
    engine.remove_adapter("a")
    engine.add_adapter(KnownAdapter("a", Path("new")), new)
    engine.submit(Request(prompt, greedy(), adapter="a"))
    found: dict[int, list[int]] = {0: list(first[0].token_ids), 1: []}
    while (deltas := engine.step()) is not None:
        for delta in deltas:
            found[delta.sequence.arrival] += delta.token_ids
    assert found[0] == plain_greedy(decoder, prompt, 20, old)
    assert found[1] == plain_greedy(decoder, prompt, 20, new)


def test_a_damaged_adapter_fails_its_own_requests_calmly(folder: Path, decoder: Decoder) -> None:
    """Numbers that are none must not spread: not to neighbours, nor to who gets its blocks."""
    engine = an_engine(folder, num_blocks=32)
    broken = a_trained_adapter(decoder.shape, seed=0)
    with torch.no_grad():
        for _, b in broken.weights.values():
            b.fill_(float("nan"))
    engine.add_adapter(KnownAdapter("broken", Path("broken")), broken)
    prompts = random_prompts([40, 40, 40])
    answers = engine.generate(
        [Request(prompts[0], greedy(), adapter="broken"), Request(prompts[1], greedy())]
    )
    assert isinstance(answers[0][0].error, errors.Unavailable)
    assert tokens(answers)[1] == plain_greedy(decoder, prompts[1], 20)
    again = engine.generate([Request(prompt, greedy()) for prompt in prompts])
    assert tokens(again)[2] == plain_greedy(decoder, prompts[2], 20)


def test_a_step_that_fails_ends_its_sequences_and_the_engine_goes_on(folder: Path) -> None:
    """Some fault of ours, here a decoder that hands its caller an error."""
    engine = an_engine(folder)
    engine.submit(Request([1, 2, 3], greedy(3)))
    decoder = engine._runner._decoder
    norm, decoder.norm = decoder.norm, torch.nn.Parameter(torch.ones(3))
    [failure] = engine.step() or []
    decoder.norm = norm
    assert isinstance(failure.error, errors.Unavailable)
    assert engine.num_free_blocks == 64
    assert tokens(engine.generate([Request([1, 2, 3], greedy(3))])) == [
        plain_greedy(decoder, [1, 2, 3], 3)
    ]


def sampled(max_tokens: int = 20, **others: object) -> SamplingParams:
    return SamplingParams(max_tokens, ignore_eos=True, **others)  # type: ignore[arg-type]


def test_a_seed_repeats_whatever_else_is_going_on(folder: Path) -> None:
    request = Request(random_prompts([12])[0], sampled(seed=5))
    others = [Request(prompt, sampled(30)) for prompt in random_prompts([40, 9, 25], seed=1)]
    alone = tokens(an_engine(folder).generate([request]))[0]
    crowded = tokens(an_engine(folder, max_step_tokens=16).generate([*others, request]))[-1]
    assert alone == crowded


def test_without_a_seed_each_request_goes_its_own_way(folder: Path) -> None:
    request = Request([1, 2, 3], sampled())
    first, second = tokens(an_engine(folder).generate([request, request]))
    assert first != second


def test_choices_of_one_request_differ_and_repeat(folder: Path) -> None:
    request = Request([1, 2, 3], sampled(seed=1), n=3)
    [choices] = an_engine(folder).generate([request])
    assert [choice.sequence.index for choice in choices] == [0, 1, 2]
    assert len({choice.token_ids for choice in choices}) == 3
    [again] = an_engine(folder).generate([request])
    assert [choice.token_ids for choice in again] == [choice.token_ids for choice in choices]


def test_max_tokens_ends_a_sequence(folder: Path) -> None:
    [[answer]] = an_engine(folder).generate([Request([1, 2], greedy(5))])
    assert (len(answer.token_ids), answer.finish_reason) == (5, FinishReason.LENGTH)


def test_a_sequence_may_fill_the_context_to_its_end(folder: Path, decoder: Decoder) -> None:
    engine = an_engine(folder, max_context=64, num_blocks=4)
    prompt = random_prompts([50])[0]
    [[answer]] = engine.generate([Request(prompt, greedy(14))])
    assert list(answer.token_ids) == plain_greedy(decoder, prompt, 14)
    assert answer.finish_reason is FinishReason.LENGTH


@pytest.mark.parametrize("found_by", ["model", "request"])
def test_an_end_token_ends_a_sequence_and_is_no_text(
    folder: Path, decoder: Decoder, found_by: str
) -> None:
    """Once as the model's own end token, made likely by force, once as the request's."""
    prompt = random_prompts([6])[0]
    continuation = plain_greedy(decoder, prompt, 8)
    engine = an_engine(folder)
    if found_by == "model":
        engine._tokens.end_token_ids = (continuation[4],)  # type: ignore[misc]
        params = SamplingParams(20, temperature=0)
    else:
        params = SamplingParams(20, temperature=0, stop_token_ids=(continuation[4],))
    assert continuation.index(continuation[4]) == 4, "another seed is needed"
    [[answer]] = engine.generate([Request(prompt, params)])
    assert answer.finish_reason is FinishReason.STOP
    assert list(answer.token_ids) == continuation[:5]
    assert answer.text == engine._tokens.decode(continuation[:4])


class Telling:
    """A renderer whose tokens read as one wants them to."""

    end_token_ids = (END_TOKEN_ID,)

    def __init__(self, words: dict[int, bytes]) -> None:
        self._words = words

    def decode(self, token_ids: object) -> str:
        assert isinstance(token_ids, list)
        return b"".join(self._words[token_id] for token_id in token_ids).decode(errors="replace")


@pytest.fixture
def telling(folder: Path, decoder: Decoder) -> Callable[[list[bytes]], tuple[Engine, list[int]]]:
    """An engine and a prompt whose greedy continuation reads as given, token by token."""

    def tell(words: list[bytes]) -> tuple[Engine, list[int]]:
        for seed in range(1000):
            prompt = random_prompts([8], seed)[0]
            continuation = plain_greedy(decoder, prompt, len(words))
            if len(set(continuation)) == len(words):
                break
        engine = an_engine(folder)
        engine._tokens = Telling(dict(zip(continuation, words, strict=True)))
        return engine, prompt

    return tell


def shown(engine: Engine, request: Request) -> tuple[list[str], FinishReason | None]:
    """The text of each step, and the end."""
    engine.submit(request)
    texts, reason = [], None
    while (deltas := engine.step()) is not None:
        texts += [delta.text for delta in deltas]
        reason = deltas[-1].finish_reason
    return texts, reason


def test_a_stop_string_over_token_boundaries_is_found_and_not_shown(telling) -> None:
    engine, prompt = telling([b"Hi th", b"ere. E", b"N", b"D of", b"it"])
    params = SamplingParams(5, temperature=0, stop=("END",), ignore_eos=True)
    texts, reason = shown(engine, Request(prompt, params))
    assert texts == ["Hi th", "ere. ", "", ""]
    assert reason is FinishReason.STOP


def test_what_only_looked_like_a_stop_string_is_shown_at_the_end(telling) -> None:
    engine, prompt = telling([b"Hi", b" E", b"N"])
    params = SamplingParams(3, temperature=0, stop=("END",), ignore_eos=True)
    texts, reason = shown(engine, Request(prompt, params))
    assert texts == ["Hi", " ", "EN"]
    assert reason is FinishReason.LENGTH


def test_an_emoji_split_over_tokens_is_shown_whole(telling) -> None:
    smile = "🙂".encode()
    engine, prompt = telling([b"a", smile[:1], smile[1:3], smile[3:] + b"b"])
    texts, _ = shown(engine, Request(prompt, greedy(4)))
    assert texts == ["a", "", "", "🙂b"]


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ([b"Hi", b" t", b"ime"], [("Hi", [0]), (" t", [2]), ("ime", [4])]),
        # Held back for what might be the stop string, and shown with what proves it isn't.
        ([b"a", b"E", b"N", b"x"], [("a", [0]), ("", []), ("", []), ("ENx", [1, 2, 3])]),
        # Of a stop string's tokens only that which begins with other text.
        ([b"a", b"b E", b"N", b"D!"], [("a", [0]), ("b ", [1]), ("", []), ("", [])]),
        # What is still held back at the end.
        ([b"a", b" E", b"N"], [("a", [0]), (" ", [1]), ("EN", [3])]),
        # The tokens of one character come with it, all at its place.
        (
            [b"a", b"\xf0", b"\x9f\x99", b"\x82b"],
            [("a", [0]), ("", []), ("", []), ("🙂b", [1] * 3)],
        ),
        # A character that is never whole.
        ([b"a", b"\xf0", b"\x9f"], [("a", [0]), ("", []), ("\ufffd", [1, 1])]),
        # A token without text comes with the next one's, or the end.
        ([b"a", b"", b"b", b""], [("a", [0]), ("", []), ("b", [1, 1]), ("", [2])]),
    ],
)
def test_a_token_is_told_of_with_the_piece_that_shows_it(
    telling, words: list[bytes], expected: list[tuple[str, list[int]]]
) -> None:
    """Never later and none is lost; and each with its place in the text."""
    engine, prompt = telling(words)
    params = SamplingParams(len(words), temperature=0, stop=("END",), ignore_eos=True, logprobs=0)
    [sequence] = engine.submit(Request(prompt, params))
    found, shown = [], []
    while (deltas := engine.step()) is not None:
        [delta] = deltas
        found.append((delta.text, [token.text_offset for token in delta.shown]))
        shown += delta.shown
    assert found == expected
    sampled = sequence.token_ids[sequence.num_prompt_tokens :]
    assert [token.token_id for token in shown] == sampled[: len(shown)]
    for token in shown:
        assert token.logprobs is not None
        assert token.logprobs.token_id == token.token_id


def test_an_end_token_is_not_told_of(folder: Path, decoder: Decoder) -> None:
    prompt = random_prompts([6])[0]
    continuation = plain_greedy(decoder, prompt, 8)
    params = SamplingParams(20, temperature=0, stop_token_ids=(continuation[4],), logprobs=1)
    [[answer]] = an_engine(folder).generate([Request(prompt, params)])
    assert [token.token_id for token in answer.shown] == continuation[:4]


def test_an_end_token_is_told_of_where_that_is_asked_for(folder: Path, decoder: Decoder) -> None:
    """Its place is behind the text. Also where it is the first token and the text empty."""
    prompt = random_prompts([6])[0]
    continuation = plain_greedy(decoder, prompt, 8)
    for place in (4, 0):
        params = SamplingParams(
            20, temperature=0, stop_token_ids=(continuation[place],), logprobs=1, tells_ends=True
        )
        [[answer]] = an_engine(folder).generate([Request(prompt, params)])
        assert [token.token_id for token in answer.shown] == continuation[: place + 1]
        *_, end = answer.shown
        assert end.text_offset == len(answer.text)
        assert end.logprobs is not None
        assert end.logprobs.token_id == continuation[place]


def test_what_a_stop_string_cut_off_is_told_of_where_that_is_asked_for(telling) -> None:
    engine, prompt = telling([b"a", b"E", b"N", b"D"])
    params = SamplingParams(
        4, temperature=0, stop=("END",), ignore_eos=True, logprobs=0, tells_ends=True
    )
    [[answer]] = engine.generate([Request(prompt, params)])
    assert (answer.text, answer.finish_reason) == ("a", FinishReason.STOP)
    assert [token.text_offset for token in answer.shown] == [0, 1, 2, 3]


def test_more_choices_than_can_run_at_once_all_finish(folder: Path) -> None:
    engine = an_engine(folder, max_sequences=64)
    [choices] = engine.generate([Request(random_prompts([40])[0], sampled(3), n=128)])
    assert [choice.finish_reason for choice in choices] == [FinishReason.LENGTH] * 128
    assert engine.num_free_blocks == 64
    assert len({choice.token_ids for choice in choices}) > 100


def test_a_cancelled_sequence_frees_its_blocks_and_says_nothing_more(folder: Path) -> None:
    engine = an_engine(folder)
    [cancelled] = engine.submit(Request(random_prompts([100])[0], greedy()))
    [other] = engine.submit(Request([1], greedy(3)))
    engine.step()
    engine.cancel(cancelled)
    assert engine.num_free_blocks == 63
    assert {d.sequence for d in engine.step() or ()} == {other}
    engine.cancel(other)
    assert engine.num_free_blocks == 64
    assert engine.step() is None


@pytest.mark.parametrize(
    ("request_", "param", "code"),
    [
        (Request([], greedy()), "prompt", None),
        (Request([VOCAB_SIZE], greedy()), "prompt", None),
        (Request([-1], greedy()), "prompt", None),
        (Request([1] * CONTEXT, greedy(1)), "prompt", "context_length_exceeded"),
        (Request([1], greedy(CONTEXT)), "prompt", "context_length_exceeded"),
    ],
)
def test_what_can_never_be_run_is_refused(
    folder: Path, request_: Request, param: str, code: str | None
) -> None:
    with pytest.raises(errors.InvalidRequest) as refusal:
        an_engine(folder).submit(request_)
    assert (refusal.value.param, refusal.value.code) == (param, code)


def test_an_adapter_that_is_not_loaded_is_not_found(folder: Path) -> None:
    engine = an_engine(folder)
    with pytest.raises(errors.NotFound) as refusal:
        engine.submit(Request([1], greedy(), adapter="nobody"))
    assert refusal.value.code == "model_not_found"
    with pytest.raises(errors.NotFound):
        engine.remove_adapter("nobody")


def test_an_adapter_is_loaded_once(folder: Path, decoder: Decoder) -> None:
    engine = an_engine(folder)
    with_adapters(engine, decoder, 1)
    with pytest.raises(errors.InvalidRequest, match="already"):
        with_adapters(engine, decoder, 1)


def test_a_full_queue_turns_requests_away(folder: Path) -> None:
    engine = an_engine(folder, max_waiting=3)
    engine.submit(Request([1], greedy(), n=3, cache_salt="a"))
    with pytest.raises(errors.RateLimited):  # who filled it
        engine.submit(Request([1], greedy(), cache_salt="a"))
    with pytest.raises(errors.Unavailable):  # who finds it full
        engine.submit(Request([1], greedy(), cache_salt="b"))


def test_a_queue_is_never_filled_by_one_tenant_alone(folder: Path) -> None:
    engine = an_engine(folder, max_waiting=12)
    for salt, most, refusal in (
        ("a", 6, errors.RateLimited),
        ("b", 3, errors.Unavailable),  # it would get a fourth if the first had not taken six
        ("c", 1, errors.Unavailable),
    ):
        for _ in range(most):
            engine.submit(Request([1], greedy(), cache_salt=salt))
        with pytest.raises(refusal):
            engine.submit(Request([1], greedy(), cache_salt=salt))
    assert engine.num_sequences == 10, "and there is room left for who comes next"
