"""Requests and tokens per minute of a key (behaviour reference, sections 17.3, 18.2 to 18.4).

The clock is the test's own.
"""

import itertools
import re
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx2
import openai
import pytest
from openai import OpenAI

from tests.api.conftest import LiveApi, LiveEngine, client_of, live_api
from tests.contract.checker import CheckedTransport
from tunesmith.api.rate_limits import Charge, Outcome, Rates, duration
from tunesmith.domain.tenancy import RateLimits

QUESTION: Any = {"model": "tiny", "messages": [{"role": "user", "content": "hello"}]}
REFUSED = re.compile(
    r"Rate limit reached for key_\w+ in organization org-\w+ on (requests per min \(RPM\)|tokens "
    r"per min \(TPM\)): Limit (\d+), Used (\d+), Requested (\d+)\. Please try again in (\S+)\."
)
_names = (f"limited-{n}" for n in itertools.count())


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture(scope="module")
def clock() -> Clock:
    return Clock()


@pytest.fixture(scope="module")
def limited(
    base_folder: Path, engine: LiveEngine, clock: Clock, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[LiveApi]:
    with live_api(
        base_folder, tmp_path_factory.mktemp("limited"), engine.url, rates=Rates(clock=clock)
    ) as api:
        yield api


@pytest.fixture(scope="module")
def defaulted(
    base_folder: Path, engine: LiveEngine, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[LiveApi]:
    """With a limit for keys that have none of their own."""
    rates = Rates(RateLimits(requests=240))
    with live_api(
        base_folder, tmp_path_factory.mktemp("defaulted"), engine.url, rates=rates
    ) as api:
        yield api


def key_with(api: LiveApi, requests: int | None = None, tokens: int | None = None) -> str:
    return api.store.tenants.create_key(next(_names), limits=RateLimits(requests, tokens))


def limited_client(
    api: LiveApi,
    transport: CheckedTransport,
    requests: int | None = None,
    tokens: int | None = None,
) -> OpenAI:
    return client_of(api, key_with(api, requests, tokens), transport)


def ask(client: OpenAI, **more: Any) -> Any:
    return client.chat.completions.with_raw_response.create(**QUESTION, **{"max_tokens": 4, **more})


def left(headers: Any, measure: str) -> tuple[int, int, str]:
    return (
        int(headers[f"x-ratelimit-limit-{measure}"]),
        int(headers[f"x-ratelimit-remaining-{measure}"]),
        headers[f"x-ratelimit-reset-{measure}"],
    )


def test_requests_are_counted_down_refused_and_come_back(
    limited: LiveApi, clock: Clock, transport: CheckedTransport
) -> None:
    client = limited_client(limited, transport, requests=3)
    told = [left(ask(client).headers, "requests") for _ in range(3)]
    assert told == [(3, 2, "20s"), (3, 1, "40s"), (3, 0, "1m0s")]
    with pytest.raises(openai.RateLimitError) as caught:
        ask(client)
    error = caught.value
    assert (error.type, error.code, error.param) == ("requests", "rate_limit_exceeded", None)
    found = REFUSED.fullmatch(error.body["message"])  # type: ignore[index, call-overload]
    assert found is not None, error.message
    assert found.groups() == ("requests per min (RPM)", "3", "3", "1", "20s")
    headers = error.response.headers
    assert (headers["retry-after"], headers["retry-after-ms"]) == ("20", "20000")
    assert left(headers, "requests") == (3, 0, "1m0s")
    assert headers["openai-organization"].startswith("limited-")
    clock.now += 20
    assert left(ask(client).headers, "requests") == (3, 0, "1m0s")
    clock.now += 60
    assert left(ask(client).headers, "requests") == (3, 2, "20s")


def test_polling_takes_nothing_from_completions_nor_they_from_it(
    limited: LiveApi, transport: CheckedTransport
) -> None:
    client = limited_client(limited, transport, requests=2)
    for _ in range(2):
        client.fine_tuning.jobs.list()
    for refused in (client.fine_tuning.jobs.list, client.files.list, client.models.list):
        with pytest.raises(openai.RateLimitError):
            refused()
    assert left(ask(client).headers, "requests") == (2, 1, "30s")


def test_refused_requests_with_a_good_key_count_and_those_without_one_leave_no_trace(
    limited: LiveApi, transport: CheckedTransport
) -> None:
    meters = limited.app.state.services.rates._meters
    before = len(meters)
    for number in range(50):
        with pytest.raises(openai.AuthenticationError):
            client_of(limited, f"sk-guessed-{number}", transport).models.list()
    assert len(meters) == before
    client = limited_client(limited, transport, requests=1)
    with pytest.raises(openai.NotFoundError):
        client.files.retrieve("file-none")
    with pytest.raises(openai.RateLimitError):
        client.files.retrieve("file-none")


def test_every_answer_says_what_is_left_errors_too(
    limited: LiveApi, transport: CheckedTransport
) -> None:
    key = key_with(limited, requests=100)
    with httpx2.Client(transport=transport, base_url=limited.url) as http:
        http.headers["authorization"] = f"Bearer {key}"
        answers = [
            http.get("/v1/models"),
            http.get("/v1/files/none"),
            http.post("/v1/fine_tuning/jobs", content=b"{"),
            http.get("/v1/files", headers={"OpenAI-Project": ""}),
        ]
    assert [left(a.headers, "requests")[1] for a in answers] == [99, 98, 97, 96]
    assert all("x-ratelimit-limit-tokens" not in answer.headers for answer in answers)


def test_without_limits_nothing_is_said_of_them(client: OpenAI) -> None:
    headers = ask(client).headers
    assert not [name for name in headers if name.startswith("x-ratelimit")]


def test_tokens_are_reserved_and_then_put_right(
    limited: LiveApi, clock: Clock, transport: CheckedTransport
) -> None:
    """The answer's headers tell of the reservation, as the answer begins before its end."""
    clock.now += 60
    client = limited_client(limited, transport, tokens=6000)
    answer = ask(client, max_tokens=300, n=2, logit_bias={"5": -100, "0": -100})
    usage = answer.parse().usage
    reserved = usage.prompt_tokens + 600
    assert left(answer.headers, "tokens")[:2] == (6000, 6000 - reserved)
    assert answer.headers["x-ratelimit-reset-tokens"] == duration(reserved / 100)
    used = usage.total_tokens
    answer = ask(client, max_tokens=1)
    second = answer.parse().usage.prompt_tokens + 1
    assert left(answer.headers, "tokens")[1] == 6000 - used - second


def test_a_stream_is_put_right_at_its_end(limited: LiveApi, transport: CheckedTransport) -> None:
    client = limited_client(limited, transport, tokens=6000)
    options: Any = {"include_usage": True}
    stream = client.chat.completions.create(
        **QUESTION, max_tokens=3, n=3, stream=True, stream_options=options
    )
    *_, last = stream
    assert last.usage is not None
    answer = ask(client, max_tokens=1)
    expected = last.usage.total_tokens + answer.parse().usage.prompt_tokens + 1
    assert left(answer.headers, "tokens")[1] == 6000 - expected


def test_an_answer_without_a_bound_is_charged_when_it_is_there(
    limited: LiveApi, transport: CheckedTransport
) -> None:
    """To reserve the whole context for it would refuse nearly all; so it may run over."""
    client = limited_client(limited, transport, tokens=60)
    long = ask(client, max_tokens=None, logit_bias={"5": -100, "0": -100}, stop=None)
    assert long.parse().usage.total_tokens > 60
    with pytest.raises(openai.RateLimitError) as caught:
        ask(client, max_tokens=1)
    assert caught.value.type == "tokens"
    found = REFUSED.fullmatch(caught.value.body["message"])  # type: ignore[index, call-overload]
    assert found is not None
    assert found[1] == "tokens per min (TPM)"
    assert int(found[3]) == long.parse().usage.total_tokens
    assert left(caught.value.response.headers, "tokens")[1] == 0


def test_what_never_fits_is_refused_at_once_and_not_tried_again(
    limited: LiveApi, transport: CheckedTransport
) -> None:
    client = limited_client(limited, transport, tokens=100).with_options(max_retries=5)
    for call in (
        lambda: ask(client, max_tokens=101),
        lambda: client.completions.create(model="tiny", prompt=["a"] * 10, max_tokens=11),
        lambda: next(client.completions.create(model="tiny", prompt="a", stream=True, n=9)),
    ):
        with pytest.raises(openai.RateLimitError) as caught:
            call()
        assert "Request too large for key_" in caught.value.message
        assert "output tokens must be reduced" in caught.value.message
        assert caught.value.response.headers["x-should-retry"] == "false"
    assert ask(client, max_tokens=50).parse().usage, "nothing of it was counted"


def test_text_completions_are_charged_for_all_prompts_and_once_each(
    limited: LiveApi, transport: CheckedTransport
) -> None:
    client = limited_client(limited, transport, tokens=6000)
    create = client.completions.with_raw_response.create
    answer = create(
        model="tiny", prompt=["hello there", "you"], max_tokens=2, echo=True, logprobs=1
    )
    used = answer.parse().usage.total_tokens  # type: ignore[union-attr]
    assert left(answer.headers, "tokens")[1] >= 6000 - used - 4
    scored = create(model="tiny", prompt="hello", max_tokens=0, echo=True, logprobs=1)
    num_prompt = scored.parse().usage.prompt_tokens  # type: ignore[union-attr]
    assert left(scored.headers, "tokens")[1] == 6000 - used - num_prompt


@pytest.mark.parametrize(
    ("outcome", "pieces", "used", "expected"),
    [
        (Outcome.WHOLE, 5, 12, -18),
        (Outcome.WHOLE, 5, 40, 10),
        (Outcome.FAILED, 0, 0, -30),  # the engine was full: nothing was computed
        (Outcome.FAILED, 2, 0, 0),
        (Outcome.LEFT, 0, 0, 0),  # how much was computed isn't known
        (Outcome.LEFT, 40, 0, 20),
    ],
)
def test_what_is_put_right_depends_on_how_it_ended(
    outcome: Outcome, pieces: int, used: int, expected: int
) -> None:
    told: list[int] = []
    charge = Charge(10, 30, told.append, num_pieces=pieces, num_used=used)
    charge.settle(outcome)
    assert told == [expected]


def test_limits_of_a_key_hold_from_its_next_request_on(
    limited: LiveApi, transport: CheckedTransport
) -> None:
    key = key_with(limited)
    caller = limited.store.tenants.find_caller(key)
    assert caller is not None
    client = client_of(limited, key, transport)
    assert "x-ratelimit-limit-requests" not in ask(client).headers
    assert limited.store.tenants.limit_key(caller.key_id, RateLimits(requests=5))
    assert left(ask(client).headers, "requests")[:2] == (5, 4)
    assert limited.store.tenants.limit_key(caller.key_id, RateLimits())
    assert "x-ratelimit-limit-requests" not in ask(client).headers


def test_defaults_hold_for_keys_without_limits_of_their_own(
    defaulted: LiveApi, transport: CheckedTransport
) -> None:
    for own, limit in ((None, 240), (7, 7)):
        headers = ask(limited_client(defaulted, transport, requests=own)).headers
        assert left(headers, "requests")[0] == limit
    unlimited = limited_client(defaulted, transport, requests=0)
    assert "x-ratelimit-limit-requests" not in ask(unlimited).headers


def test_the_sdk_waits_as_long_as_told_and_succeeds(
    limited: LiveApi, clock: Clock, transport: CheckedTransport
) -> None:
    """By its own rule it would come again after half a second, in vain. The service's clock moves
    on by what was told, no more, so that coming in time is enough."""

    def let_pass(answer: httpx2.Response) -> None:
        if answer.status_code == 429:
            clock.now += int(answer.headers["retry-after-ms"]) / 1000

    sdk = OpenAI(
        api_key=key_with(limited, requests=60),
        base_url=f"{limited.url}/v1",
        max_retries=1,
        http_client=httpx2.Client(transport=transport, event_hooks={"response": [let_pass]}),
    )
    for _ in range(60):
        sdk.models.list()
    started = time.monotonic()
    answers = [sdk.models.with_raw_response.list() for _ in range(2)]
    assert [answer.retries_taken for answer in answers] == [1, 1]
    assert time.monotonic() - started >= 2


def test_threads_of_one_key_pass_as_often_as_allowed_and_no_more(
    limited: LiveApi, transport: CheckedTransport
) -> None:
    client = limited_client(limited, transport, requests=20)

    def passes(_: int) -> bool:
        try:
            client.models.list()
        except openai.RateLimitError:
            return False
        return True

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(passes, range(60))) == 20


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0s"),
        (0.0172, "18ms"),
        (0.012, "12ms"),
        (1, "1s"),
        (8.64, "8.64s"),
        (60, "1m0s"),
        (86.4, "1m26.4s"),
        (360, "6m0s"),
        (7201.5, "2h0m1.5s"),
    ],
)
def test_durations_are_written_as_openai_does(seconds: float, text: str) -> None:
    assert duration(seconds) == text
