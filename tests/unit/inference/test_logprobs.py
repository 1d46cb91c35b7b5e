"""What is told about tokens, against transformers and against loops written down plainly."""

from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import AutoModelForCausalLM

from tests.small_models import VOCAB_SIZE
from tests.unit.inference.builders import (
    a_trained_adapter,
    an_engine,
    greedy,
    random_prompts,
)
from tunesmith.domain import errors
from tunesmith.domain.generation import SamplingParams, TokenLogprobs
from tunesmith.inference.adapter_slots import KnownAdapter
from tunesmith.inference.engine import Delta, Engine, Request
from tunesmith.inference.logprobs import HOPELESS, tell
from tunesmith.modeling.attention import RowAttention
from tunesmith.modeling.decoder import Decoder
from tunesmith.modeling.lora import LoraAdapter

TOLERANCE = 1e-4  # of a log-probability; float32 sums in other orders differ by about 1e-6
PROMPT = random_prompts([21])[0]


@torch.inference_mode()
def plain_logits(
    decoder: Decoder, token_ids: list[int], adapter: LoraAdapter | None = None
) -> Tensor:
    """[T, V], as training computes them: one row, no cache."""
    length = len(token_ids)
    attend = RowAttention([length])
    hidden = decoder(torch.tensor(token_ids), torch.arange(length), attend, adapter)
    return decoder.logits(hidden)


def answer(engine: Engine, prompt: list[int], **params: Any) -> Delta:
    [[delta]] = engine.generate([Request(prompt, greedy(**params))])
    return delta


def check(told: TokenLogprobs, token_id: int, logprobs: Tensor, num_top: int) -> None:
    """Against all logprobs [V] at that place."""
    assert told.token_id == token_id
    assert told.logprob == pytest.approx(float(logprobs[token_id]), abs=TOLERANCE)
    assert told.rank == 1 + int((logprobs > logprobs[token_id]).sum())
    values, token_ids = logprobs.topk(num_top)
    assert [i for i, _ in told.top] == token_ids.tolist()
    assert [p for _, p in told.top] == pytest.approx(values.tolist(), abs=TOLERANCE)


def test_logprobs_are_those_of_transformers(folder: Path) -> None:
    oracle = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    engine = an_engine(folder, max_step_tokens=16, block_size=8)
    found = answer(engine, PROMPT, max_tokens=8, logprobs=3, prompt_logprobs=2)
    known = [*PROMPT, *found.token_ids]
    with torch.inference_mode():
        logprobs = oracle(torch.tensor([known])).logits[0].log_softmax(-1)
    assert found.prompt_logprobs is not None
    assert len(found.prompt_logprobs) == len(PROMPT) - 1
    for position, told in enumerate(found.prompt_logprobs, start=1):
        check(told, known[position], logprobs[position - 1], 2)
    assert len(found.shown) == 8
    for position, token in enumerate(found.shown, start=len(PROMPT)):
        assert token.logprobs is not None
        check(token.logprobs, known[position], logprobs[position - 1], 3)


def test_logprobs_with_an_adapter_are_the_trainings(folder: Path, decoder: Decoder) -> None:
    """The mean of what the engine tells of a text is the loss that a trainer computes for it."""
    engine, weights = an_engine(folder), a_trained_adapter(decoder.shape, seed=3)
    engine.add_adapter(KnownAdapter("a", Path("a")), weights)
    [[found]] = engine.generate([Request(PROMPT, greedy(1, prompt_logprobs=0), adapter="a")])
    logits = plain_logits(decoder, PROMPT, weights)
    loss = torch.nn.functional.cross_entropy(logits[:-1], torch.tensor(PROMPT[1:]))
    told = [token.logprob for token in found.prompt_logprobs or ()]
    assert -sum(told) / len(told) == pytest.approx(float(loss), abs=TOLERANCE)


def test_logprobs_are_raw_whatever_bends_the_sampling(folder: Path, decoder: Decoder) -> None:
    bent = {"logit_bias": {9: 100.0}, "presence_penalty": 2.0, "logprobs": 1}
    params = SamplingParams(6, 0.5, top_p=0.9, seed=1, ignore_eos=True, **bent)  # type: ignore[arg-type]
    [[found]] = an_engine(folder).generate([Request(PROMPT, params)])
    logprobs = plain_logits(decoder, [*PROMPT, *found.token_ids]).log_softmax(-1)
    for position, token in enumerate(found.shown, start=len(PROMPT)):
        assert token.token_id == 9
        assert token.logprobs is not None
        check(token.logprobs, 9, logprobs[position - 1], 1)


def test_prompt_logprobs_do_not_depend_on_chunks_cache_or_preemption(folder: Path) -> None:
    """They need every token computed, and fill the cache for others all the same; the head is
    applied to parts of the prompt."""
    expected = answer(an_engine(folder), PROMPT, max_tokens=1, prompt_logprobs=1).prompt_logprobs
    small = {"max_context": 64, "num_blocks": 16, "block_size": 4, "max_step_tokens": 16}
    engine = an_engine(folder, **small, max_logits=3 * VOCAB_SIZE)
    for _ in range(2):
        found = answer(engine, PROMPT, max_tokens=1, prompt_logprobs=1)
        assert found.sequence.num_cached_tokens == 0
        close(found.prompt_logprobs, expected)
    assert answer(engine, PROMPT, max_tokens=1).sequence.num_cached_tokens == 20
    crowd = [Request(p, greedy(30)) for p in random_prompts([20, 21, 22])]
    *_, [crowded] = engine.generate([*crowd, Request(PROMPT, greedy(30, prompt_logprobs=1))])
    close(crowded.prompt_logprobs, expected)


def close(
    found: tuple[TokenLogprobs, ...] | None, expected: tuple[TokenLogprobs, ...] | None
) -> None:
    assert found is not None
    assert expected is not None
    assert [(t.token_id, t.rank) for t in found] == [(t.token_id, t.rank) for t in expected]
    assert [t.logprob for t in found] == pytest.approx([t.logprob for t in expected], abs=TOLERANCE)


def test_of_several_choices_the_first_tells_of_the_prompt(folder: Path) -> None:
    params = SamplingParams(2, prompt_logprobs=0)
    [choices] = an_engine(folder).generate([Request(PROMPT, params, n=3)])
    assert [choice.prompt_logprobs is None for choice in choices] == [False, True, True]


def test_hopeless_tokens_have_a_number() -> None:
    [told] = tell(torch.tensor([[0.0, -torch.inf, -20_000.0]]), [1], [3])
    assert (told.logprob, told.rank) == (HOPELESS, 3)
    assert [logprob for _, logprob in told.top] == [0.0, HOPELESS, HOPELESS]


def test_more_than_the_vocabulary_can_not_be_told() -> None:
    [told] = tell(torch.zeros(1, 3), [1], [20])
    assert len(told.top) == 3


@pytest.mark.parametrize("asked", [{"logprobs": 2}, {"prompt_logprobs": 2}, {"logit_bias": {1: 1}}])
def test_what_is_no_number_fails_only_its_own_request(
    folder: Path, decoder: Decoder, asked: dict[str, Any]
) -> None:
    engine = an_engine(folder)
    broken = a_trained_adapter(decoder.shape, seed=0)
    with torch.no_grad():
        for _, b in broken.weights.values():
            b.fill_(float("nan"))
    engine.add_adapter(KnownAdapter("broken", Path("broken")), broken)
    bad, good = (Request(PROMPT, greedy(4, **asked), adapter=name) for name in ("broken", None))
    for _ in range(2):
        [[failed], [fine]] = engine.generate([bad, good])
        assert isinstance(failed.error, errors.Unavailable)
        assert len(fine.token_ids) == 4
    assert not [key for key in engine._cache._shared if key[0] is not None]


@torch.inference_mode()
def penalised_greedy(
    decoder: Decoder, num_tokens: int, frequency: float, presence: float, bias: dict[int, float]
) -> list[int]:
    """OpenAI's formula, token by token."""
    found: list[int] = []
    for _ in range(num_tokens):
        logits = plain_logits(decoder, [*PROMPT, *found])[-1].tolist()
        counts = Counter(found)
        for token_id in range(VOCAB_SIZE):
            logits[token_id] += bias.get(token_id, 0.0)
            logits[token_id] -= counts[token_id] * frequency
            logits[token_id] -= (counts[token_id] > 0) * presence
        found.append(max(range(VOCAB_SIZE), key=logits.__getitem__))
    return found


BENT = [
    {"frequency": 0.7, "presence": 0.0, "bias": {5: 8.0}},
    {"frequency": 0.0, "presence": 1.5, "bias": {5: 9.0, 7: 8.8, 11: 8.5}},
    {"frequency": -1.0, "presence": -1.0, "bias": {}},
    {"frequency": 2.0, "presence": 2.0, "bias": {5: 100.0}},
    {"frequency": 0.0, "presence": 0.0, "bias": {}},
]


def test_penalties_and_biases_follow_the_formula_and_touch_no_neighbour(
    folder: Path, decoder: Decoder
) -> None:
    """All at once, greedy; the biases make tokens repeat, so that penalties have work to do."""
    requests = [
        Request(
            PROMPT,
            greedy(
                24,
                frequency_penalty=bent["frequency"],
                presence_penalty=bent["presence"],
                logit_bias=bent["bias"],
            ),
        )
        for bent in BENT
    ]
    answers = an_engine(folder).generate(requests)
    found = [list(choice.token_ids) for [choice] in answers]
    assert found == [penalised_greedy(decoder, 24, **bent) for bent in BENT]
    assert len({tuple(one) for one in found}) == len(BENT)


def test_a_penalty_changes_what_is_drawn(folder: Path) -> None:
    """The token that has a bias of 100 comes until its penalties outweigh that of its rival."""
    params = SamplingParams(
        8, 1.0, seed=1, logit_bias={5: 100.0, 6: 97.0}, frequency_penalty=2.0, ignore_eos=True
    )
    [[found]] = an_engine(folder).generate([Request(PROMPT, params)])
    assert set(found.token_ids) == {5, 6}


@pytest.mark.parametrize("token_id", [-1, VOCAB_SIZE])
def test_a_bias_for_no_token_is_refused(folder: Path, token_id: int) -> None:
    with pytest.raises(errors.InvalidRequest) as refusal:
        an_engine(folder).submit(Request([1], greedy(logit_bias={token_id: 1.0})))
    assert refusal.value.param == "logit_bias"
