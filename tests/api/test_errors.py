"""Whatever a client sends: the envelope with four keys, and never a 5xx (section 17).

The checked transport looks at the envelope and at the request id; the tables say the rest.
"""

import socket
from collections.abc import Iterator
from typing import Any

import httpx2
import pytest

from tests.api import histories
from tests.api.conftest import KEY, LIMITS, LiveApi
from tests.api.wire import head, wire_to
from tunesmith.api.errors import STATUS, status_of
from tunesmith.domain import errors

JOBS, CHAT, FILES = "/v1/fine_tuning/jobs", "/v1/chat/completions", "/v1/files"
COMPLETIONS = "/v1/completions"
HELLO = [{"role": "user", "content": "hello"}]
TEXT_PART, REFUSAL_PART = {"type": "text", "text": "a"}, {"type": "refusal", "refusal": "no"}


def all_errors(root: type[errors.TunesmithError]) -> Iterator[type[errors.TunesmithError]]:
    yield root
    for kind in root.__subclasses__():
        if kind.__module__ == errors.__name__:
            yield from all_errors(kind)


@pytest.mark.parametrize("kind", [*all_errors(errors.TunesmithError)])
def test_every_error_of_the_tree_has_its_own_row_in_the_table(
    kind: type[errors.TunesmithError],
) -> None:
    assert kind in STATUS
    assert 400 <= status_of(kind("no")) < 600


def test_an_error_of_a_part_takes_the_row_of_its_ancestor() -> None:
    class BadSetting(errors.InvalidRequest):
        pass

    assert status_of(BadSetting("no")) == 400


@pytest.mark.parametrize(
    ("method", "path", "status", "message", "code"),
    [
        ("GET", "/v1/x", 404, "Invalid URL (GET /v1/x)", None),
        ("GET", "/", 404, "Invalid URL (GET /)", None),
        ("POST", "/v1/chat/completionsx", 404, "Invalid URL (POST /v1/chat/completionsx)", None),
        ("GET", "/v1/files/", 404, "Invalid URL (GET /v1/files/)", None),
        ("GET", "/v1/models/", 404, "Invalid URL (GET /v1/models/)", None),
        ("GET", "/v1/v1/models", 404, "Invalid URL (GET /v1/v1/models)", None),
        ("GET", f"{JOBS}/", 404, f"Invalid URL (GET {JOBS}/)", None),
        ("GET", f"{JOBS}//events", 404, f"Invalid URL (GET {JOBS}//events)", None),
        ("GET", f"{FILES}/x/", 404, f"Invalid URL (GET {FILES}/x/)", None),
        ("GET", f"{FILES}//content", 404, f"Invalid URL (GET {FILES}//content)", None),
        ("GET", f"{FILES}/a%2Fb", 404, f"Invalid URL (GET {FILES}/a/b)", None),
        ("GET", f"{FILES}/../models", 404, f"Invalid URL (GET {FILES}/../models)", None),
        ("GET", f"{JOBS}/%2e%2e/%2e%2e", 404, f"Invalid URL (GET {JOBS}/../..)", None),
        ("POST", f"{JOBS}/ftjob-1/cancel/", 404, f"Invalid URL (POST {JOBS}/ftjob-1/ca", None),
        ("POST", f"{CHAT}/", 404, f"Invalid URL (POST {CHAT}/)", None),
        ("GET", "//v1/models", 404, "Invalid URL (GET //v1/models)", None),
        ("GET", "/V1/models", 404, "Invalid URL (GET /V1/models)", None),
        ("OPTIONS", FILES, 405, "Not allowed to OPTIONS on /v1/files.", "method_not_supported"),
        ("TRACE", FILES, 405, "Not allowed to TRACE on /v1/files.", "method_not_supported"),
        ("CONNECT", FILES, 405, "Not allowed to CONNECT on", "method_not_supported"),
        ("GET", "/v1/%ff%00", 404, "Invalid URL (GET /v1/\ufffd\0)", None),
        ("PUT", CHAT, 405, "Not allowed to PUT on /v1/chat/completions.", "method_not_supported"),
        ("GET", COMPLETIONS, 405, "Not allowed to GET on /v1/comp", "method_not_supported"),
        ("GET", f"{CHAT}/x/", 404, f"Invalid URL (GET {CHAT}/x/)", None),
        ("GET", "/v1/fine-tunes/ft-1/x", 404, "Invalid URL (GET /v1/fine-tunes/ft-1/x)", None),
        ("DELETE", "/v1/fine-tunes/ft-1/x", 404, "Invalid URL (DELETE /v1/fine-", None),
        ("PUT", "/v1/fine-tunes/ft-1/cancel", 405, "Not allowed to PUT on", "method_not_supported"),
        ("GET", f"{CHAT}//messages", 404, f"Invalid URL (GET {CHAT}//messages)", None),
        ("PUT", FILES, 405, "Not allowed to PUT on /v1/files.", "method_not_supported"),
        ("DELETE", JOBS, 405, f"Not allowed to DELETE on {JOBS}.", "method_not_supported"),
        ("PATCH", "/v1/models/x", 405, "Not allowed to PATCH on", "method_not_supported"),
        ("BREW", FILES, 405, "Not allowed to BREW on /v1/files.", "method_not_supported"),
    ],
)
def test_paths_and_verbs_that_lead_nowhere(
    api: LiveApi, method: str, path: str, status: int, message: str, code: str | None
) -> None:
    """As they are written: a client library would tidy them up."""
    with wire_to(api.url) as wire:
        answer = wire.send(head(f"{method} {path} HTTP/1.1", "Connection: close")).answer()
    assert answer.status == status
    assert answer.is_envelope()
    error = answer.json["error"]
    assert error["message"].startswith(message)
    assert (error["type"], error["code"]) == ("invalid_request_error", code)


def test_a_head_request_is_refused_by_its_head_alone(api: LiveApi) -> None:
    answer = httpx2.head(f"{api.url}{FILES}", headers={"authorization": f"Bearer {KEY}"})
    assert (answer.status_code, answer.content) == (405, b"")
    assert answer.headers["x-request-id"].startswith("req_")


@pytest.mark.parametrize(
    "host", ["[", "[::1", "a/b?c#d", "http://[", "\u00ff", "a b", "@:99999999"]
)
@pytest.mark.parametrize("path", ["/v1/nowhere", "/v1/models/", FILES, CHAT])
def test_a_host_that_can_not_be_is_nobody_s_trouble(api: LiveApi, host: str, path: str) -> None:
    lines = ["Authorization: Bearer " + KEY, "Idempotency-Key: one", "Connection: close"]
    request = "\r\n".join([f"GET {path} HTTP/1.1", f"Host: {host}", *lines, "", ""])
    with wire_to(api.url) as wire:
        answer = wire.send(request.encode("latin-1")).answer()
    assert answer.status == {FILES: 200, CHAT: 200}.get(path, 404)
    if answer.status == 404:
        assert answer.json["error"]["message"] == f"Invalid URL (GET {path})"


@pytest.mark.parametrize("path", [JOBS, CHAT, COMPLETIONS])
@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"{'model': 1}",
        b'{"model": "tiny",}',
        b'{"model": NaN}{}',
        b'{"model": "\\ud800"}',
        b'{"model": "tiny\x01"}',
        b"\xff\xfe{}",
        b'{"model": "\xe9"}',
        b"[" * 50_000,
        b'{"seed": ' + b"9" * 50_000 + b"}",
        b'{"seed": 01}',
        b'{"seed": 1}{}',
        b"\xef\xbb\xbf{}",
        b'{"model": "tiny",,}',
        b'{"a":' * 10_000,
        "{}".encode("utf-16"),
    ],
    ids=lambda body: repr(body[:14]),
)
def test_bad_json(http: httpx2.Client, path: str, body: bytes) -> None:
    answer = http.post(path, content=body, headers={"content-type": "application/json"})
    assert answer.status_code == 400
    message = answer.json()["error"]["message"]
    assert message.startswith("We could not parse the JSON body of your request. (HINT: ")


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e999", "-1e999"])
@pytest.mark.parametrize(
    "field",
    [
        '"temperature": {}',
        '"seed": {}',
        '"tools": [{{"type": "function", "function": {{"name": "f", "parameters": {{"a": {}}}}}}}]',
        '"response_format": {{"type": "json_schema", "json_schema": {{"name": "f", '
        '"schema": {{"enum": [{}]}}}}}}',
    ],
)
def test_numbers_that_json_does_not_have_are_refused_wherever_they_are(
    http: httpx2.Client, field: str, number: str
) -> None:
    body = '{"model": "tiny", "messages": [{"role": "user", "content": "a"}], '
    answer = http.post(CHAT, content=body + field.format(number) + "}")
    assert answer.status_code == 400


@pytest.mark.parametrize("path", [JOBS, CHAT, COMPLETIONS])
@pytest.mark.parametrize("body", [b"[]", b"1", b"null", b'"text"'])
def test_json_that_is_no_object(http: httpx2.Client, path: str, body: bytes) -> None:
    answer = http.post(path, content=body)
    assert answer.status_code == 400
    assert answer.json()["error"]["message"].startswith("Invalid type for 'body': expected an obj")


@pytest.mark.parametrize(
    ("path", "body", "key"),
    [
        (JOBS, '{"model": "tiny", "training_file": "a", "model": "b"}', "model"),
        (JOBS, '{"model": "a", "training_file": "b", "metadata": {"k": "1", "k": "2"}}', "k"),
        (JOBS, '{"model": "a", "training_file": "b", "\\u006dodel": "tiny"}', "model"),
        (CHAT, '{"model": "tiny", "messages": [{"role": "user", "role": "user"}]}', None),
        (
            CHAT,
            '{"model": "a", "messages": [{"role": "user", "content": "a", "content": "b"}]}',
            "content",
        ),
        (
            CHAT,
            '{"model": "a", "messages": [{"role": "user", "content": "a"}], "n": 1, "n": 1}',
            "n",
        ),
    ],
)
def test_a_key_sent_twice_is_refused_by_name(
    http: httpx2.Client, path: str, body: str, key: str | None
) -> None:
    """Which of the two is meant? Readers differ, and that has been used to get past checks."""
    answer = http.post(path, content=body)
    assert answer.status_code == 400
    error = answer.json()["error"]
    if key is None:  # something else is wrong as well
        assert error["param"] == "messages[0].content"
    else:
        assert error["message"].startswith(f"The JSON body has the key '{key}' more than once")
        assert (error["param"], error["code"]) == (key, "duplicate_key")


@pytest.mark.parametrize(
    "content_type", ["", "text/plain", "application/x-www-form-urlencoded", "\x7f"]
)
def test_json_is_json_whatever_it_is_called(http: httpx2.Client, content_type: str) -> None:
    """As the hosted service has it: clients forget the header, or curl sets its own."""
    body = '{"model": "tiny", "messages": [{"role": "user", "content": "a"}], "max_tokens": 1}'
    answer = http.post(CHAT, content=body, headers={"content-type": content_type})
    assert answer.status_code == 200


@pytest.mark.parametrize("path", [JOBS, CHAT])
def test_a_body_with_thousands_of_errors_is_only_counted(http: httpx2.Client, path: str) -> None:
    answer = http.post(path, json={f"key{n}": 1 for n in range(2000)})
    assert answer.status_code == 400
    assert "The request has 2002 errors." in answer.json()["error"]["message"]


@pytest.mark.parametrize(
    ("path", "status", "param"),
    [
        (f"{JOBS}?limit=-1", 400, "limit"),
        (f"{JOBS}?limit=0", 400, "limit"),
        (f"{JOBS}?limit=abc", 400, "limit"),
        (f"{JOBS}?limit=1.5", 400, "limit"),
        (f"{JOBS}?limit=" + "9" * 5000, 400, "limit"),
        (f"{JOBS}?limit=", 400, "limit"),
        (f"{JOBS}?limit=5&limit=0", 400, "limit"),
        (f"{JOBS}?limit=%00", 400, "limit"),
        (f"{JOBS}?limit=%F0%9F%98%80", 400, "limit"),
        (f"{JOBS}?limit=1'%20OR%201=1", 400, "limit"),
        (f"{JOBS}?after=%00", 400, "after"),
        (f"{JOBS}?after=%ff%fe", 400, "after"),
        (f"{JOBS}?after=x'%20OR%20'1'='1", 400, "after"),
        (f"{JOBS}?after={'a' * 4000}", 400, "after"),
        (f"{JOBS}?after=ftjob-none&after=ftjob-other", 400, "after"),
        (f"{JOBS}/ftjob-x'%3B%20DROP%20TABLE%20jobs", 404, "fine_tune_id"),
        (f"{JOBS}/%F0%9F%98%80", 404, "fine_tune_id"),
        (f"{JOBS}/%2e%2e", 404, "fine_tune_id"),
        (f"{FILES}/%25", 404, "id"),
        (f"{FILES}/{'a' * 4000}", 404, "id"),
        (f"{FILES}/*", 404, "id"),
        (f"{JOBS}?after=ftjob-none", 400, "after"),
        (f"{JOBS}?after=", 400, "after"),
        (f"{JOBS}?metadata=x", 400, "metadata"),
        (f"{JOBS}/ftjob-none", 404, "fine_tune_id"),
        (f"{JOBS}/ftjob-none/events", 404, "fine_tune_id"),
        (f"{JOBS}/ftjob-none/checkpoints", 404, "fine_tune_id"),
        (f"{FILES}?limit=10001", 400, "limit"),
        (f"{FILES}?order=descending", 400, "order"),
        (f"{FILES}?purpose=fun", 400, "purpose"),
        (f"{FILES}?after=file-none", 400, "after"),
        (f"{FILES}/file-none", 404, "id"),
        (f"{FILES}/file-none/content", 404, "id"),
        (f"{FILES}/%00", 404, "id"),
        ("/v1/models/none", 404, "model"),
        ("/v1/models/ft:none:local::12345678", 404, "model"),
    ],
)
def test_queries_and_ids_that_mean_nothing(
    http: httpx2.Client, path: str, status: int, param: str
) -> None:
    answer = http.get(path)
    assert (answer.status_code, answer.json()["error"]["param"]) == (status, param)


def test_after_an_item_of_another_list_is_refused(api: LiveApi, http: httpx2.Client) -> None:
    file_id = histories.upload(api)
    body = {"model": "tiny", "training_file": file_id}
    first, second = (http.post(JOBS, json=body).json()["id"] for _ in range(2))
    event = http.get(f"{JOBS}/{first}/events").json()["data"][0]["id"]
    assert http.get(f"{JOBS}/{second}/events?after={event}").status_code == 400
    assert http.get(f"{JOBS}?after={file_id}").status_code == 400


@pytest.mark.parametrize(
    ("changes", "message", "param", "code"),
    [
        (
            {"messages": None},
            "Invalid type for 'messages': expected an array, but got null instead.",
            "messages",
            "invalid_type",
        ),
        (
            {"messages": []},
            "Invalid 'messages': array too short. Expected an array with minimum length 1, "
            "but got an empty array instead.",
            "messages",
            "empty_array",
        ),
        (
            {"messages": [{"role": "boss", "content": "do"}]},
            "Invalid value: 'boss'. Supported values are: 'developer', 'system', 'user', "
            "'assistant', 'tool', 'function'.",
            "messages[0].role",
            "invalid_value",
        ),
        (
            {"messages": [{"content": "do"}]},
            "Missing required parameter: 'messages[0].role'.",
            "messages[0].role",
            "missing_required_parameter",
        ),
        (
            {"messages": [*HELLO, {"role": "user"}]},
            "Missing required parameter: 'messages[1].content'.",
            "messages[1].content",
            "missing_required_parameter",
        ),
        (
            {"messages": [{"role": "user", "content": 5}]},
            "Invalid type for 'messages[0].content': expected one of a string or an array, "
            "but got an integer instead.",
            "messages[0].content",
            "invalid_type",
        ),
        (
            {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {}}]}]},
            "Invalid 'messages[0].content[0]': the models of this service read text only, and a "
            "part of type 'image_url' holds an image. Send what it says as text.",
            "messages[0].content[0]",
            "invalid_value",
        ),
        (
            {"messages": [{"role": "user", "content": [TEXT_PART, {"type": "input_audio"}]}]},
            "Invalid 'messages[0].content[1]': the models of this service read text only, and a "
            "part of type 'input_audio' holds a recording. Send what it says as text.",
            "messages[0].content[1]",
            "invalid_value",
        ),
        (
            {"messages": [{"role": "user", "content": [{"type": "file", "file": {}}]}]},
            "Invalid 'messages[0].content[0]': the models of this service read text only, and a "
            "part of type 'file' holds a file. Send what it says as text.",
            "messages[0].content[0]",
            "invalid_value",
        ),
        (
            {"messages": [{"role": "user", "content": [{"type": "smell"}]}]},
            "Invalid value: 'smell'. Supported values are: 'text'.",
            "messages[0].content[0].type",
            "invalid_value",
        ),
        (
            {"messages": [{"role": "user", "content": []}]},
            "Invalid 'messages[0].content': array too short. Expected an array with minimum "
            "length 1, but got an empty array instead.",
            "messages[0].content",
            "empty_array",
        ),
        (
            {"messages": [{"role": "user", "content": [REFUSAL_PART]}]},
            "Invalid value: 'refusal'. Supported values are: 'text'.",
            "messages[0].content[0].type",
            "invalid_value",
        ),
        (
            {"messages": [{"role": "assistant", "content": [REFUSAL_PART, TEXT_PART]}]},
            "The content of an assistant message is either one part of type 'refusal', or parts "
            "of type 'text'.",
            "messages[0].content",
            None,
        ),
        (
            {"messages": [{"role": "assistant", "content": "yes", "refusal": "no"}]},
            "An assistant message has either 'content' or a 'refusal'. Leave one of them out.",
            "messages[0].refusal",
            None,
        ),
        (
            {"messages": [{"role": "assistant", "content": None, "audio": {"id": "audio_1"}}]},
            "Unsupported parameter: the 'audio' of an earlier answer can't be heard by the models "
            "of this service. Send its transcript as 'content'.",
            "messages[0].audio",
            "unsupported_parameter",
        ),
        (
            {"messages": [{"role": "user", "content": "a", "name": "two words"}]},
            "Invalid 'messages[0].name': string does not match pattern. Expected a string that "
            "matches the pattern '^[^\\s<|\\\\/>]+$'.",
            "messages[0].name",
            "invalid_value",
        ),
        (
            {"messages": [{"role": "user", "content": "a", "name": "a" * 65}]},
            "Invalid 'messages[0].name': string too long. Expected a string with maximum length "
            "64, but got a string with length 65 instead.",
            "messages[0].name",
            "string_above_max_length",
        ),
        (
            {"messages": [{"role": "assistant", "content": None}]},
            "Invalid value for 'content': expected a string, got null.",
            "messages[0].content",
            None,
        ),
        (
            {"messages": [{"role": "user", "content": "a", "weight": 1}]},
            "Unknown parameter: 'messages[0].weight'.",
            "messages[0].weight",
            "unknown_parameter",
        ),
        (
            {"messages": [{"role": "tool", "content": "a", "tool_call_id": "call_1"}]},
            "Invalid parameter: messages with role 'tool' must be a response to a preceding "
            "message with 'tool_calls'.",
            "messages[0].role",
            None,
        ),
        (
            {
                "messages": [
                    {
                        "role": "assistant",
                        "content": None,
                        "tool_calls": [
                            {
                                "id": "call_1",
                                "type": "function",
                                "function": {"name": "f", "arguments": "{}"},
                            }
                        ],
                    },
                    *HELLO,
                ]
            },
            "An assistant message with 'tool_calls' must be followed by tool messages responding "
            "to each 'tool_call_id'. The following tool_call_ids did not have response messages: "
            "call_1",
            "messages",
            None,
        ),
        ({"foo": 1}, "Unknown parameter: 'foo'.", "foo", "unknown_parameter"),
        (
            {"temperature": 2.5},
            "Invalid 'temperature': decimal above maximum value. "
            "Expected a value <= 2.0, but got 2.5 instead.",
            "temperature",
            "decimal_above_max_value",
        ),
        (
            {"n": 0},
            "Invalid 'n': integer below minimum value. Expected a value >= 1, but got 0 instead.",
            "n",
            "integer_below_min_value",
        ),
        (
            {"n": 200},
            "Invalid 'n': integer above maximum value. "
            "Expected a value <= 128, but got 200 instead.",
            "n",
            "integer_above_max_value",
        ),
        (
            {"temperature": "hot"},
            "Invalid type for 'temperature': expected a decimal, but got a string instead.",
            "temperature",
            "invalid_type",
        ),
        (
            {"stream": "yes"},
            "Invalid type for 'stream': expected a boolean, but got a string instead.",
            "stream",
            "invalid_type",
        ),
        (
            {"stop": ["a"] * 5},
            "Invalid 'stop': array too long. Expected an array with maximum length 4, "
            "but got an array with length 5 instead.",
            "stop",
            "array_above_max_length",
        ),
        (
            {"messages": [{"role": "user"}] * 2049},
            "Invalid 'messages': array too long. Expected an array with maximum length 2048, "
            "but got an array with length 2049 instead.",
            "messages",
            "array_above_max_length",
        ),
        (
            {"messages": [{"role": "user", "content": [{"type": "text"}] * 2049}]},
            "Invalid 'messages[0].content': array too long. Expected an array with maximum length "
            "2048, but got an array with length 2049 instead.",
            "messages[0].content",
            "array_above_max_length",
        ),
        (
            {"stop": 5},
            "Invalid type for 'stop': expected one of a string or an array, "
            "but got an integer instead.",
            "stop",
            "invalid_type",
        ),
        (
            {"service_tier": "gold"},
            "Invalid value: 'gold'. Supported values are: "
            "'auto', 'default', 'flex', 'scale', 'priority' or 'fast'.",
            "service_tier",
            "invalid_value",
        ),
        (
            {"metadata": {"a": "b"}},
            "The 'metadata' parameter is only allowed when 'store' is enabled.",
            "metadata",
            None,
        ),
        (
            {"modalities": ["text", "audio"]},
            "Unsupported value: 'modalities' can't hold 'audio' here: the models of this service "
            'write text only. Send ["text"], or leave it out.',
            "modalities",
            "unsupported_value",
        ),
        (
            {"modalities": []},
            "Invalid 'modalities': array too short. Expected an array with minimum length 1, but "
            "got an empty array instead.",
            "modalities",
            "empty_array",
        ),
        (
            {"reasoning_effort": "some"},
            "Invalid value: 'some'. Supported values are: 'none', 'minimal', 'low', 'medium', "
            "'high', 'xhigh' or 'max'.",
            "reasoning_effort",
            "invalid_value",
        ),
        (
            {"verbosity": "none"},
            "Invalid value: 'none'. Supported values are: 'low', 'medium' or 'high'.",
            "verbosity",
            "invalid_value",
        ),
        (
            {"prediction": {"type": "content"}},
            "Missing required parameter: 'prediction.content'.",
            "prediction.content",
            "missing_required_parameter",
        ),
        (
            {"prompt_cache_options": {"ttl": "24h"}},
            "Invalid value: '24h'. Supported values are: '30m'.",
            "prompt_cache_options.ttl",
            "invalid_value",
        ),
        (
            {"safety_identifier": "a" * 65},
            "Invalid 'safety_identifier': string too long. Expected a string with maximum length "
            "64, but got a string with length 65 instead.",
            "safety_identifier",
            "string_above_max_length",
        ),
        (
            {"store": "yes"},
            "Invalid type for 'store': expected a boolean, but got a string instead.",
            "store",
            "invalid_type",
        ),
        (
            {"max_tokens": 5, "max_completion_tokens": 5},
            "Setting 'max_tokens' and 'max_completion_tokens' at the same time is not supported.",
            "max_tokens",
            "invalid_parameter_combination",
        ),
        (
            {"stream_options": {"include_usage": True}},
            "The 'stream_options' parameter is only allowed when 'stream' is enabled.",
            "stream_options",
            None,
        ),
        (
            {"top_logprobs": 2},
            "The 'top_logprobs' parameter is only allowed when 'logprobs' is enabled.",
            "top_logprobs",
            None,
        ),
        (
            {"top_logprobs": 21, "logprobs": True},
            "Invalid 'top_logprobs': integer above maximum value. "
            "Expected a value <= 20, but got 21 instead.",
            "top_logprobs",
            "integer_above_max_value",
        ),
        (
            {"logprobs": 2},
            "Invalid type for 'logprobs': expected a boolean, but got an integer instead.",
            "logprobs",
            "invalid_type",
        ),
        (
            {"logprobs": True, "n": 128, "max_tokens": 100},
            "The answer could hold 12800 log-probabilities, and this service sends at most 4096 in "
            "one. Lower the bound of tokens, 'n', or the number of log-probabilities.",
            "logprobs",
            None,
        ),
        (
            {"frequency_penalty": 2.5},
            "Invalid 'frequency_penalty': decimal above maximum value. "
            "Expected a value <= 2.0, but got 2.5 instead.",
            "frequency_penalty",
            "decimal_above_max_value",
        ),
        (
            {"presence_penalty": -3},
            "Invalid 'presence_penalty': decimal below minimum value. "
            "Expected a value >= -2.0, but got -3 instead.",
            "presence_penalty",
            "decimal_below_min_value",
        ),
        (
            {"logit_bias": {"50256": -100}},
            "Invalid key in 'logit_bias': 50256. Keys are ids of tokens, from 0 to 263 for this "
            "model.",
            "logit_bias",
            "invalid_value",
        ),
        (
            {"logit_bias": {"5": "no"}},
            "Invalid type for 'logit_bias.5': expected a decimal, but got a string instead.",
            "logit_bias.5",
            "invalid_type",
        ),
    ],
)
def test_a_chat_request_that_can_not_be(
    http: httpx2.Client, changes: dict[str, Any], message: str, param: str, code: str | None
) -> None:
    answer = http.post(CHAT, json={"model": "tiny", "messages": HELLO, **changes})
    assert answer.status_code == 400
    assert answer.json()["error"] == {
        "message": message,
        "type": "invalid_request_error",
        "param": param,
        "code": code,
    }


@pytest.mark.parametrize(
    ("name", "value", "why"),
    [
        (
            "audio",
            {"voice": "alloy", "format": "mp3"},
            "the models of this service write text only",
        ),
        ("web_search_options", {}, "this service doesn't search the web"),
        ("moderation", {"model": "m"}, "this service has no moderation models"),
    ],
)
def test_what_makes_no_sense_here_is_refused_with_a_reason(
    http: httpx2.Client, name: str, value: Any, why: str
) -> None:
    answer = http.post(CHAT, json={"model": "tiny", "messages": HELLO, name: value})
    assert answer.status_code == 400
    error = answer.json()["error"]
    assert (error["param"], error["code"]) == (name, "unsupported_parameter")
    assert error["message"].startswith(f"Unsupported parameter: '{name}' can't be used here: {why}")


def test_a_model_that_does_not_exist(http: httpx2.Client) -> None:
    answer = http.post(CHAT, json={"model": "gpt-9", "messages": HELLO})
    assert answer.status_code == 404
    assert answer.json()["error"] == {
        "message": "The model 'gpt-9' does not exist or you do not have access to it.",
        "type": "invalid_request_error",
        "param": None,
        "code": "model_not_found",
    }


MULTIPART = {"content-type": "multipart/form-data; boundary=x"}
FILE_PART = b'--x\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\nabc\r\n'
PURPOSE_PART = b'--x\r\nContent-Disposition: form-data; name="purpose"\r\n\r\nfine-tune\r\n'


def field(name: bytes, value: bytes) -> bytes:
    return b'--x\r\nContent-Disposition: form-data; name="%b"\r\n\r\n%b\r\n' % (name, value)


@pytest.mark.parametrize(
    ("body", "headers", "message"),
    [
        (b"", MULTIPART, "The multipart body ends before its last boundary."),
        (b"--x--\r\n", MULTIPART, "'file' is a required property"),
        (b"nonsense", MULTIPART, "The multipart body can't be read"),
        (FILE_PART, MULTIPART, "The multipart body ends before its last boundary."),
        (FILE_PART[:-8], MULTIPART, "The multipart body ends before its last boundary."),
        (FILE_PART + b"--x--", MULTIPART, "'purpose' is a required property"),
        (PURPOSE_PART + b"--x--", MULTIPART, "'file' is a required property"),
        (
            FILE_PART + field(b"purpose", b"fun") + b"--x--",
            MULTIPART,
            "'fun' is not one of ['assistants', 'batch', 'fine-tune', 'vision', 'user_data', "
            "'evals'] - 'purpose'",
        ),
        (
            FILE_PART + field(b"purpose", b"fine-tune-results") + b"--x--",
            MULTIPART,
            "'fine-tune-results' is not one of",
        ),
        (
            FILE_PART + PURPOSE_PART + field(b"colour", b"red") + b"--x--",
            MULTIPART,
            "Additional properties are not allowed ('colour' was unexpected)",
        ),
        (
            FILE_PART + PURPOSE_PART + field(b"expires_after[seconds]", b"7200") + b"--x--",
            MULTIPART,
            "Invalid 'expires_after[anchor]'",
        ),
        (
            FILE_PART
            + PURPOSE_PART
            + field(b"expires_after[anchor]", b"created_at")
            + field(b"expires_after[seconds]", b"3599")
            + b"--x--",
            MULTIPART,
            "Invalid 'expires_after[seconds]'",
        ),
        (PURPOSE_PART + field(b"file", b"y" * 70_000)[:40], MULTIPART, "The multipart body"),
        (FILE_PART + field(b"purpose", b"y" * 70_000), MULTIPART, "The field 'purpose' is too l"),
        (b"".join(field(b"f%d" % n, b"") for n in range(40)), MULTIPART, "The form has too many"),
        (b"--x\r\n" + b"a: b\r\n" * 100, MULTIPART, "The multipart body can't be read"),
        (b"abc", {"content-type": "multipart/form-data"}, "Send the file as multipart/form-data"),
        (b"{}", {"content-type": "application/json"}, "Send the file as multipart/form-data"),
        (b"", {}, "Send the file as multipart/form-data"),
        (
            b"",
            {"content-type": "multipart/form-data; boundary=" + "x" * 5000},
            "The multipart body can't be read",
        ),
    ],
)
def test_a_form_that_can_not_be(
    http: httpx2.Client, body: bytes, headers: dict[str, str], message: str
) -> None:
    answer = http.post(FILES, content=body, headers=headers)
    assert answer.status_code == 400
    assert answer.json()["error"]["message"].startswith(message)


def test_forms_that_can_not_be_read_leave_nothing_in_the_log(
    http: httpx2.Client, caplog: pytest.LogCaptureFixture
) -> None:
    """Or anybody could fill the disk."""
    assert http.post(FILES, content=b"garbage", headers=MULTIPART).status_code == 400
    assert caplog.records == []


def test_a_refused_upload_leaves_nothing_behind(api: LiveApi, http: httpx2.Client) -> None:
    before = set(api.store.blobs.written_before(histories.now()))
    for body in (FILE_PART + b"--x--", FILE_PART + b"x" * 2_000_000):
        assert http.post(FILES, content=body, headers=MULTIPART).status_code >= 400
    assert set(api.store.blobs.written_before(histories.now())) == before


@pytest.mark.parametrize("path", [JOBS, CHAT])
def test_a_body_beyond_the_limit_is_refused(http: httpx2.Client, path: str) -> None:
    answer = http.post(path, content=b" " * (LIMITS.max_body_bytes + 1))
    assert answer.status_code == 413


@pytest.mark.parametrize("path", [JOBS, CHAT, COMPLETIONS])
def test_a_body_of_too_many_values_is_refused(http: httpx2.Client, path: str) -> None:
    """However few bytes they take."""
    body = b'{"prompt":[' + b"1," * (LIMITS.max_commas + 1) + b"1]}"
    assert len(body) < LIMITS.max_body_bytes
    answer = http.post(path, content=body)
    assert answer.status_code == 400
    assert answer.json()["error"]["message"].startswith("The JSON body has too many values")


@pytest.mark.parametrize(
    ("path", "content_type"), [(CHAT, "application/json"), (FILES, MULTIPART["content-type"])]
)
def test_a_body_without_end_is_answered_before_it_ends(
    api: LiveApi, path: str, content_type: str
) -> None:
    """Its length is not declared: only counting helps."""
    host, port = api.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=10) as wire:
        wire.sendall(
            f"POST {path} HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {KEY}\r\n"
            f"Content-Type: {content_type}\r\nTransfer-Encoding: chunked\r\n\r\n".encode()
        )
        piece = FILE_PART[:-5] if path == FILES else b""
        wire.setblocking(False)
        answer = b""
        for _ in range(100_000):
            piece = piece or b"a" * 65_536
            try:
                wire.setblocking(True)
                wire.sendall(b"%x\r\n%b\r\n" % (len(piece), piece))
                piece = b""
                wire.setblocking(False)
                answer = wire.recv(65_536)
            except BlockingIOError:
                continue
            break
    assert answer.startswith(b"HTTP/1.1 413 ")


def test_a_crash_is_a_500_with_the_envelope_and_a_request_id(
    api: LiveApi, http: httpx2.Client, caplog: pytest.LogCaptureFixture
) -> None:
    """A file whose blob key is not one of ours: our own mistake, however it came about."""
    file_id = histories.upload(api)
    broken = histories.stored(api, "file-broken", blob_key="somewhere else")
    api.store.files.add(broken)
    answer = http.get(f"{FILES}/file-broken/content")
    assert answer.status_code == 500
    error = answer.json()["error"]
    assert (error["type"], error["param"], error["code"]) == ("server_error", None, None)
    assert answer.headers["x-request-id"] in error["message"]
    assert answer.headers["x-request-id"] in caplog.text
    assert http.get(f"{FILES}/{file_id}").status_code == 200
