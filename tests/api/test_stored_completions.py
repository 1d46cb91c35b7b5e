"""Stored chat completions, through the official SDK (behaviour reference, section 15.4)."""

import fcntl
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx2
import openai
import pytest
from openai import OpenAI
from openai.types.chat import ChatCompletion, ChatCompletionChunk, ChatCompletionMessageParam
from sqlalchemy import event

from tests.api.conftest import KEY, LIMITS, LiveApi, LiveEngine, client_of, live_api
from tests.contract.checker import CheckedTransport
from tests.unit.store.builders import FixedClock

CHAT = "/v1/chat/completions"
HELLO: list[ChatCompletionMessageParam] = [{"role": "user", "content": "hello"}]
CALL = {"id": "call_1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
# To store, not to read: the template doesn't show names.
LONG: Any = [{"role": "user", "content": "", "name": "x" * 64}] * 20
ENDLESS = {"0": -100, "5": -100}  # both end tokens are banned


@pytest.fixture
def own(api: LiveApi, transport: CheckedTransport) -> OpenAI:
    """A project of its own, which nobody else has stored anything in."""
    return client_of(api, new_key(api), transport)


def new_key(api: LiveApi) -> str:
    return api.new_key("archive", f"project-{time.monotonic_ns()}")


def say(client: OpenAI, model: str = "tiny", **options: Any) -> ChatCompletion:
    options = {"messages": HELLO, "max_tokens": 4, "store": True, **options}
    reply: ChatCompletion = client.chat.completions.create(model=model, **options)
    return reply


def ids(client: OpenAI, **options: Any) -> list[str]:
    """Of all pages."""
    return [one.id for one in client.chat.completions.list(**options)]


def test_a_stored_completion_is_the_reply_and_what_was_asked_for(own: OpenAI) -> None:
    answer = own.chat.completions.with_raw_response.create(
        model="gpt-4o-mini",
        messages=HELLO,
        max_tokens=5,
        n=2,
        seed=7,
        temperature=0.5,
        top_p=0.75,
        presence_penalty=0.25,
        logprobs=True,
        top_logprobs=2,
        user="somebody",
        metadata={"team": "blue"},
        store=True,
    )
    reply = answer.parse().to_dict()
    assert "metadata" not in reply
    stored = own.chat.completions.retrieve(answer.parse().id).to_dict()
    assert stored == {
        **reply,
        "request_id": answer.headers["x-request-id"],
        "input_user": "somebody",
        "seed": 7,
        "temperature": 0.5,
        "top_p": 0.75,
        "presence_penalty": 0.25,
        "frequency_penalty": 0.0,
        "response_format": None,
        "tools": None,
        "tool_choice": None,
        "metadata": {"team": "blue"},
    }
    assert [choice["index"] for choice in reply["choices"]] == [0, 1]  # type: ignore[attr-defined,index]


def test_what_was_not_asked_for_is_told_with_its_default(own: OpenAI) -> None:
    stored = own.chat.completions.retrieve(say(own).id).to_dict()
    asked = ("seed", "temperature", "top_p", "input_user", "response_format", "metadata")
    assert [stored[name] for name in asked] == [None, 1.0, 1.0, None, None, {}]


def test_a_stream_is_stored_as_the_reply_that_it_is_in_pieces(own: OpenAI) -> None:
    options: dict[str, Any] = {"max_tokens": 12, "n": 2, "seed": 7, "logprobs": True}
    whole = say(own, **options)
    chunks = list(stream(own, **options))
    stored = own.chat.completions.retrieve(chunks[0].id)
    assert [choice.to_dict() for choice in stored.choices] == [
        choice.to_dict() for choice in whole.choices
    ]
    assert stored.usage is not None
    assert whole.usage is not None
    assert stored.usage.completion_tokens == whole.usage.completion_tokens
    assert stored.created == chunks[0].created
    assert stored.system_fingerprint == chunks[0].system_fingerprint


def test_a_stream_that_is_stored_looks_like_any_other(own: OpenAI) -> None:
    """How a text is cut into chunks is chance, and how choices are mixed. The rest is not."""
    options = {"n": 2, "seed": 7, "max_tokens": 6, "stream_options": {"include_usage": True}}

    def seen(store: bool) -> object:
        chunks = list(stream(own, store=store, **options))
        choices: Any = [[], []]
        for chunk in chunks[:-1]:
            choices[chunk.choices[0].index].append(chunk.choices[0])
        return (
            {tuple(sorted(chunk.to_dict())) for chunk in chunks},
            [(choice[0].to_dict(), choice[-1].to_dict()) for choice in choices],
            ["".join(part.delta.content or "" for part in choice) for choice in choices],
            (chunks[-1].choices, chunks[-1].usage and chunks[-1].usage.completion_tokens),
        )

    assert seen(store=True) == seen(store=False)


def test_who_has_seen_the_last_chunk_of_a_stream_can_read_the_whole(own: OpenAI) -> None:
    """Some clients go no further, and hang up."""
    with own.chat.completions.create(
        model="tiny", messages=HELLO, max_tokens=3, store=True, stream=True
    ) as chunks:
        last = next(chunk for chunk in chunks if chunk.choices[0].finish_reason)
        assert own.chat.completions.retrieve(last.id).choices[0].finish_reason == "length"


def test_only_what_asks_for_it_is_stored(own: OpenAI) -> None:
    for options in ({"store": False}, {"store": None}, {"store": openai.omit}):
        say(own, **options)
    with pytest.raises(openai.BadRequestError):
        say(own, temperature=3)
    assert ids(own) == []


def test_a_stream_that_its_reader_leaves_is_not_stored(engine: LiveEngine, own: OpenAI) -> None:
    with own.chat.completions.create(
        model="tiny", messages=HELLO, max_tokens=480, logit_bias=ENDLESS, store=True, stream=True
    ) as chunks:
        next(iter(chunks))
    deadline = time.monotonic() + 60
    while engine.sequences:
        assert time.monotonic() < deadline, "the engine goes on for nobody"
        time.sleep(0.005)
    assert ids(own) == []


def test_a_stream_that_is_kept_has_the_bound_on_log_probabilities(own: OpenAI) -> None:
    options: dict[str, Any] = {"logprobs": True, "n": 128, "max_tokens": 100}
    with pytest.raises(openai.BadRequestError) as caught:
        list(stream(own, **options))
    assert caught.value.param == "logprobs"


def test_messages_are_kept_as_they_were_sent(own: OpenAI) -> None:
    parts = [{"type": "text", "text": "be "}, {"type": "text", "text": "kind"}]
    messages: list[Any] = [
        {"role": "developer", "content": parts},
        {"role": "user", "content": "hello", "name": "me"},
        {"role": "assistant", "content": None, "tool_calls": [CALL]},
        {"role": "tool", "content": "42", "tool_call_id": "call_1"},
        {"role": "assistant", "content": [{"type": "refusal", "refusal": "no"}]},
        {"role": "assistant", "content": None, "refusal": "never"},
        {"role": "user", "content": ""},
    ]
    completion_id = say(own, messages=messages).id
    page = own.chat.completions.messages.list(completion_id)
    shared = {"refusal": None, "name": None, "content_parts": None}
    expected: list[dict[str, Any]] = [
        {"role": "developer", "content": "be kind", "content_parts": parts},
        {"role": "user", "content": "hello", "name": "me"},
        {"role": "assistant", "content": None, "tool_calls": [CALL]},
        {"role": "tool", "content": "42", "tool_call_id": "call_1"},
        {"role": "assistant", "content": None, "refusal": "no"},
        {"role": "assistant", "content": None, "refusal": "never"},
        {"role": "user", "content": ""},
    ]
    assert [message.to_dict() for message in page.data] == [
        {**shared, "id": f"{completion_id}-{number}", **message}
        for number, message in enumerate(expected)
    ]
    assert not page.has_more


@pytest.mark.parametrize("order", ["asc", "desc"])
def test_messages_come_in_pages(own: OpenAI, order: Any) -> None:
    messages: list[Any] = [{"role": "user", "content": str(number)} for number in range(5)]
    completion_id = say(own, messages=messages).id
    pages = own.chat.completions.messages.list(completion_id, limit=2, order=order).iter_pages()
    found = [[message.content for message in page.data] for page in pages]
    expected = (
        [["0", "1"], ["2", "3"], ["4"]] if order == "asc" else [["4", "3"], ["2", "1"], ["0"]]
    )
    assert found == expected


def test_a_list_is_in_the_order_of_storing_unless_told_otherwise(own: OpenAI) -> None:
    made = [say(own).id for _ in range(5)]
    assert ids(own) == made
    assert ids(own, limit=2) == made
    assert ids(own, limit=2, order="desc") == made[::-1]
    assert ids(own, after=made[1]) == made[2:]
    assert ids(own, after=made[1], order="desc", limit=1) == made[:1]
    assert ids(own, after=made[-1]) == []


def test_a_page_names_its_ends(own: OpenAI) -> None:
    made = [say(own).id for _ in range(3)]
    page = own.chat.completions.list(limit=2).to_dict()
    data: Any = page.pop("data")
    assert page == {
        "object": "list",
        "first_id": made[0],
        "last_id": made[1],
        "has_more": True,
    }
    assert data == [own.chat.completions.retrieve(id).to_dict() for id in made[:2]]
    empty = own.chat.completions.list(after=made[2]).to_dict()
    assert empty == {
        "object": "list",
        "data": [],
        "first_id": None,
        "last_id": None,
        "has_more": False,
    }


def test_a_list_is_filtered_by_model_and_metadata(own: OpenAI) -> None:
    blue = say(own, metadata={"team": "blue", "env": "a]b"}).id
    red = say(own, metadata={"team": "red"}).id
    bare = say(own, model="gpt-4o-mini").id
    assert ids(own, model="tiny") == [blue, red]
    assert ids(own, model="gpt-4o-mini") == [bare]
    assert ids(own, model="gpt-4o-mini-2024-07-18") == [bare]
    assert ids(own, model="no such model") == []
    assert ids(own, metadata={"team": "blue"}) == [blue]
    assert ids(own, metadata={"team": "blue", "env": "a]b"}) == [blue]
    assert ids(own, metadata={"team": "red", "env": "a]b"}) == []
    assert ids(own, metadata={"team": "red"}, model="gpt-4o-mini") == []
    assert ids(own, metadata={"team": "blue"}, after=blue) == []
    assert ids(own, metadata={"team": "red"}, after=blue, limit=1) == [red]
    assert ids(own, extra_query={"metadata": "null"}) == [bare]


def test_metadata_is_replaced_as_a_whole_and_nothing_else_changes(own: OpenAI) -> None:
    made = say(own, metadata={"team": "blue", "a": "1"})
    before = own.chat.completions.retrieve(made.id).to_dict()
    changed = own.chat.completions.update(made.id, metadata={"team": "red"})
    assert changed.to_dict() == {**before, "metadata": {"team": "red"}}
    assert own.chat.completions.retrieve(made.id).to_dict() == changed.to_dict()
    assert ids(own, metadata={"team": "red"}) == [made.id]
    assert ids(own, metadata={"team": "blue"}) == ids(own, metadata={"a": "1"}) == []
    assert own.chat.completions.update(made.id, metadata=None).to_dict() == {
        **before,
        "metadata": {},
    }
    assert ids(own, metadata={"team": "red"}) == []


def test_a_deleted_completion_is_gone_with_its_messages(own: OpenAI) -> None:
    kept, gone = (say(own, metadata={"a": "1"}).id for _ in range(2))
    deleted = own.chat.completions.delete(gone)
    assert deleted.to_dict() == {"id": gone, "object": "chat.completion.deleted", "deleted": True}
    assert ids(own) == ids(own, metadata={"a": "1"}) == [kept]
    for ask in questions(own):
        with pytest.raises((openai.NotFoundError, openai.BadRequestError)):
            ask(gone)


def test_a_key_of_another_project_finds_nothing(own: OpenAI, stranger: OpenAI) -> None:
    """`test_tenancy.py` tells of each route that a stranger can't tell the two apart."""
    made = say(own, metadata={"only": "ours"}).id
    assert ids(stranger, metadata={"only": "ours"}) == []
    with pytest.raises(openai.NotFoundError):
        stranger.chat.completions.retrieve(made)


@pytest.mark.parametrize(
    ("path", "status", "param"),
    [
        ("?limit=0", 400, "limit"),
        ("?limit=-1", 400, "limit"),
        ("?limit=10001", 400, "limit"),
        ("?limit=abc", 400, "limit"),
        ("?limit=" + "9" * 5000, 400, "limit"),
        ("?order=descending", 400, "order"),
        ("?order=", 400, "order"),
        ("?after=", 400, "after"),
        ("?after=chatcmpl-none", 400, "after"),
        ("?after=%00", 400, "after"),
        ("?after=x'%20OR%20'1'='1", 400, "after"),
        ("?metadata=x", 400, "metadata"),
        ("?" + "&".join(f"metadata[{n}]=" for n in range(17)), 400, "metadata"),
        ("?" + "&".join(f"metadata[{n}]=" for n in range(500)), 400, "metadata"),
        ("/chatcmpl-none", 404, "completion_id"),
        ("/%00", 404, "completion_id"),
        ("/%F0%9F%98%80", 404, "completion_id"),
        ("/x'%3B%20DROP%20TABLE%20stored_completions", 404, "completion_id"),
        (f"/{'a' * 4000}", 404, "completion_id"),
        ("/chatcmpl-none/messages", 404, "completion_id"),
        ("/chatcmpl-none/messages?limit=0", 400, "limit"),
        ("/chatcmpl-none/messages?order=up", 400, "order"),
    ],
)
def test_queries_and_ids_that_mean_nothing(
    http: httpx2.Client, path: str, status: int, param: str
) -> None:
    answer = http.get(CHAT + path)
    assert (answer.status_code, answer.json()["error"]["param"]) == (status, param)


def test_after_a_message_of_another_completion_is_refused(own: OpenAI) -> None:
    first, second = (say(own).id for _ in range(2))
    for after in (f"{second}-0", f"{first}-1", first, ""):
        with pytest.raises(openai.BadRequestError) as caught:
            own.chat.completions.messages.list(first, after=after)
        assert caught.value.param == "after"
    with pytest.raises(openai.BadRequestError):
        own.chat.completions.list(after=f"{first}-0")


MANY = {str(number): "" for number in range(17)}


@pytest.mark.parametrize(
    ("body", "param", "code"),
    [
        ({}, "metadata", "missing_required_parameter"),
        ({"metadata": {}, "store": True}, "store", "unknown_parameter"),
        ({"metadata": []}, "metadata", "invalid_type"),
        ({"metadata": "a"}, "metadata", "invalid_type"),
        ({"metadata": {"a": 1}}, "metadata.a", "invalid_type"),
        ({"metadata": {"a": None}}, "metadata.a", "invalid_type"),
        ({"metadata": MANY}, "metadata", "object_above_max_length"),
        ({"metadata": {"a": "b" * 513}}, "metadata.a", "string_above_max_length"),
        ({"metadata": {"a" * 65: "b"}}, "metadata." + "a" * 65, "string_above_max_length"),
    ],
)
def test_an_update_that_can_not_be(
    http: httpx2.Client, client: OpenAI, body: Any, param: str, code: str
) -> None:
    made = say(client, metadata={"as": "before"}).id
    answer = http.post(f"{CHAT}/{made}", json=body)
    error = answer.json()["error"]
    assert (answer.status_code, error["param"], error["code"]) == (400, param, code)
    if body.get("metadata"):
        created = {"model": "tiny", "messages": HELLO, "store": True, **body}
        refused = http.post(CHAT, json=created)
        error = refused.json()["error"]
        assert (refused.status_code, error["param"], error["code"]) == (400, param, code)
    assert http.get(f"{CHAT}/{made}").json()["metadata"] == {"as": "before"}


def test_metadata_may_be_as_large_as_it_may(own: OpenAI) -> None:
    largest = {f"{number:064}": "\U0001f600" * 512 for number in range(16)}
    made = say(own, metadata=largest).id
    assert own.chat.completions.retrieve(made).to_dict()["metadata"] == largest
    assert ids(own, metadata={"0" * 63 + "7": "\U0001f600" * 512}) == [made]


def test_a_filter_may_name_all_pairs_that_there_may_be(own: OpenAI) -> None:
    pairs = {str(number): "" for number in range(16)}
    made = say(own, metadata=pairs).id
    say(own, metadata={**pairs, "7": "another"})
    assert ids(own, metadata=pairs) == [made]


def test_a_completion_expires(
    base_folder: Path, engine: LiveEngine, transport: CheckedTransport, tmp_path: Path
) -> None:
    """Then it is to nobody there any more, swept up or not; and swept up by the trainer."""
    clock = FixedClock()
    with live_api(base_folder, tmp_path, engine.url, clock=clock) as api:
        own = client_of(api, KEY, transport)
        made = say(own, metadata={"a": "1"}).id
        clock.advance(60)
        later = say(own).id
        clock.advance(LIMITS.completions_stored_for.total_seconds() - 60)
        for _ in range(2):
            assert ids(own) == [later]
            assert ids(own, metadata={"a": "1"}) == []
            for ask in questions(own):
                with pytest.raises((openai.NotFoundError, openai.BadRequestError)):
                    ask(made)
            api.store.stored_completions.sweep()
        clock.advance(60)
        assert ids(own) == []


def test_a_project_s_oldest_make_room_for_its_newest(
    base_folder: Path,
    engine: LiveEngine,
    transport: CheckedTransport,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    limits = replace(LIMITS, max_stored_bytes=15_000)  # about ten of these
    with live_api(base_folder, tmp_path, engine.url, limits=limits) as api:
        own = client_of(api, KEY, transport)
        other = client_of(api, api.new_key("elsewhere"), transport)
        foreign = say(other).id
        made = [say(own).id for _ in range(15)]
        kept = ids(own)
        assert 5 < len(kept) < 15
        assert kept == made[-len(kept) :]
        assert ids(other) == [foreign]
        assert f"the project {api.caller.project.id} holds as many" in caplog.text
        own.chat.completions.delete(kept[-1])
        last = say(own).id
        assert ids(own) == [*kept[:-1], last], "what was deleted is room again"


def test_what_is_too_large_to_be_stored_is_answered_all_the_same(
    base_folder: Path,
    engine: LiveEngine,
    transport: CheckedTransport,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    limits = replace(LIMITS, max_stored_bytes=3000)
    with live_api(base_folder, tmp_path, engine.url, limits=limits) as api:
        own = client_of(api, KEY, transport)
        kept = say(own).id
        reply = say(own, messages=LONG)
        assert ids(own) == [kept]
        assert f"{reply.id} was answered and is not stored" in caplog.text


@pytest.mark.parametrize("streams", [False, True])
def test_a_full_disk_spoils_no_answer(
    base_folder: Path,
    engine: LiveEngine,
    transport: CheckedTransport,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    streams: bool,
) -> None:
    """SQLite itself says so: its file may not grow."""
    with live_api(base_folder, tmp_path, engine.url) as api:
        own = client_of(api, KEY, transport)
        kept = say(own).id
        cap = "PRAGMA max_page_count = 1"  # it takes this for as many as there are
        event.listen(api.store._database._engine, "begin", lambda begun: begun.exec_driver_sql(cap))
        options: Any = {"messages": LONG * 10, "max_tokens": 4}
        id = list(stream(own, **options))[-1].id if streams else say(own, **options).id
        assert ids(own) == [kept]
        assert f"{id} was answered and is not stored" in caplog.text


def test_an_answer_does_not_wait_long_for_being_stored(
    base_folder: Path,
    engine: LiveEngine,
    transport: CheckedTransport,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Another process writes, and writes; when it is done, so is this."""
    limits = replace(LIMITS, store_completion_s=0.01)
    with live_api(base_folder, tmp_path, engine.url, limits=limits) as api:
        own = client_of(api, KEY, transport)
        with open(f"{tmp_path}/tunesmith.db.lock", "w") as turn:
            fcntl.flock(turn, fcntl.LOCK_EX)
            made = say(own).id
            assert ids(own) == []
        assert f"is answered before {made} is stored" in caplog.text
        deadline = time.monotonic() + 60
        while ids(own) != [made]:
            assert time.monotonic() < deadline, "it was never stored"
            time.sleep(0.005)


def questions(client: OpenAI) -> list[Callable[[str], object]]:
    """All that can be asked about a completion."""
    completions = client.chat.completions
    return [
        completions.retrieve,
        completions.delete,
        completions.messages.list,
        lambda id: completions.update(id, metadata={}),
        lambda id: completions.list(after=id),
    ]


def stream(client: OpenAI, **options: Any) -> Iterator[ChatCompletionChunk]:
    options = {"model": "tiny", "messages": HELLO, "store": True, **options}
    chunks: Iterator[ChatCompletionChunk] = client.chat.completions.create(stream=True, **options)
    return chunks
