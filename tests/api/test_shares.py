"""What tenants share: the engine, the processes for reports, places for jobs.

Who takes more than its share is told so (429); the others hardly notice.
"""

import json
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import openai
import pytest
from openai import OpenAI

from tests.api.conftest import (
    BASE_NAME,
    ENGINE_TOKEN,
    LiveApi,
    LiveEngine,
    client_of,
    live_api,
)
from tests.contract.checker import CheckedTransport
from tests.server import listening, serving, url_of
from tunesmith.inference.process import EngineOptions, build_engine
from tunesmith.inference.server import ServerOptions, create_server

FLOOD: Any = {
    "model": "tiny",
    "messages": [{"role": "user", "content": "hello"}],
    "n": 16,
    "max_tokens": 100,
    "logit_bias": {"5": -100, "0": -100},  # to the very end
}


@pytest.fixture
def small(base_folder: Path, tmp_path: Path) -> Iterator[tuple[LiveApi, LiveEngine]]:
    """An engine that works on four at once, and has room for 64 more."""
    options = EngineOptions(
        base_folder, BASE_NAME, tmp_path / "adapters", device="cpu", max_sequences=4
    )
    thread = build_engine(options)
    engine = thread._engine
    engine.limits = engine._scheduler._limits = replace(engine.limits, max_waiting=64)
    app = create_server(thread, ServerOptions(BASE_NAME, tmp_path / "adapters", ENGINE_TOKEN))
    with (
        closing(listening()) as listener,
        serving(app, listener) as url,
        live_api(base_folder, tmp_path, url) as api,
    ):
        yield api, LiveEngine(url, thread)


def test_a_tenant_that_floods_the_engine_refuses_itself_and_nobody_else(
    small: tuple[LiveApi, LiveEngine], transport: CheckedTransport
) -> None:
    api, engine = small
    flooding = client_of(api, api.new_key("flood"), transport)
    calm = client_of(api, api.new_key("calm"), transport)
    with ThreadPoolExecutor(8) as pool:
        flood = [pool.submit(flooding.chat.completions.create, **FLOOD) for _ in range(8)]
        refused = next(as_completed(flood)).exception()
        assert isinstance(refused, openai.RateLimitError)
        assert refused.code == "rate_limit_exceeded"
        assert "completions of your project are waiting already" in refused.message
        assert refused.response.headers["retry-after"] == "1"
        answer = calm.chat.completions.create(
            model="tiny", messages=[{"role": "user", "content": "hi"}], max_tokens=4
        )
        assert answer.choices[0].finish_reason in ("stop", "length")
        untouched = [one for one in engine.sequences if one.num_sampled == 0]
        assert len(untouched) >= 8, "the flood waits where it waited"
        failures = [one.exception() for one in flood]
    assert 0 < failures.count(None) < 8
    assert {type(failure) for failure in failures} == {type(None), openai.RateLimitError}


def test_an_organization_has_only_so_many_jobs_on_a_model_at_once(
    base_folder: Path, engine: LiveEngine, tmp_path: Path, transport: CheckedTransport
) -> None:
    with live_api(base_folder, tmp_path, engine.url, max_active_jobs=2) as api:
        ours = client_of(api, api.new_key("busy"), transport)
        sibling = client_of(api, api.new_key("busy", "another"), transport)
        theirs = client_of(api, api.new_key("idle"), transport)
        job = create_job(ours, headers={"Idempotency-Key": "a"})
        create_job(sibling)
        with pytest.raises(openai.RateLimitError) as caught:
            create_job(ours)
        error = caught.value
        assert (error.type, error.code, error.param) == (
            "invalid_request_error",
            "rate_limit_exceeded",
            None,
        )
        assert error.body["message"] == (  # type: ignore[index, call-overload]
            "This fine-tune request has been rate-limited. Your organization has reached the "
            "maximum of 2 active requests (0 running, 2 pending) for the model 'tiny'."
        )
        assert "retry-after" not in error.response.headers, "nobody knows when one ends"
        create_job(theirs)
        create_job(ours, model="short")
        ours.fine_tuning.jobs.cancel(job)
        create_job(ours)


def test_a_service_that_has_too_much_to_do_says_when_to_come_again(
    base_folder: Path, tmp_path: Path, transport: CheckedTransport
) -> None:
    """An engine that isn't there at all is the simplest case of it."""
    with closing(listening()) as nobody:
        url = url_of(nobody)
    with live_api(base_folder, tmp_path, url, wait_s=0.1) as api:
        client = client_of(api, api.new_key("early"), transport)
        with pytest.raises(openai.InternalServerError) as caught:
            client.chat.completions.create(**FLOOD)
    assert caught.value.status_code == 503
    headers = caught.value.response.headers
    assert (headers["retry-after"], headers["retry-after-ms"]) == ("1", "1000")


def create_job(client: OpenAI, model: str = "tiny", headers: Any = None) -> str:
    file = client.files.create(file=("data.jsonl", b"{}\n"), purpose="fine-tune")
    return client.fine_tuning.jobs.create(
        model=model, training_file=file.id, extra_headers=headers
    ).id


def test_reports_of_one_organization_keep_no_other_from_theirs(
    api: LiveApi, transport: CheckedTransport
) -> None:
    """Files that take a while: as many as may wait, and one more. Then a stranger's."""
    flooding = client_of(api, api.new_key("reporting"), transport)
    calm = client_of(api, api.new_key("reported"), transport)
    slow = [upload(flooding, [f"{n} {k}" for k in range(150)]) for n in range(6)]
    quick = upload(calm, [str(k) for k in range(12)])
    ended: list[str] = []

    def report(client: OpenAI, file_id: str) -> int:
        try:
            client.get(f"/files/{file_id}/report?model=tiny", cast_to=object)
        except openai.RateLimitError:
            return 429
        ended.append(file_id)
        return 200

    with ThreadPoolExecutor(8) as pool:
        flood = [pool.submit(report, flooding, file_id) for file_id in slow]
        while not any(one.done() for one in flood):  # the fifth and sixth are refused
            threading.Event().wait(0.005)
        assert pool.submit(report, calm, quick).result() == 200
        assert sorted(one.result() for one in flood) == [200] * 4 + [429] * 2
    assert ended.index(quick) < 3, "its turn came next, not last"


def upload(client: OpenAI, questions: list[str]) -> str:
    lines = [
        {
            "messages": [
                {"role": "user", "content": question},
                {"role": "assistant", "content": "Yes. " * 20},
            ]
        }
        for question in questions
    ]
    content = "\n".join(json.dumps(line) for line in lines).encode()
    return client.files.create(file=("data.jsonl", content), purpose="fine-tune").id
