"""Keys, organisations, projects (behaviour reference, sections 17.3 and 18.1)."""

import base64
from datetime import timedelta

import httpx2
import openai
import pytest
from openai import OpenAI

from tests.api.conftest import KEY, LiveApi, client_of
from tests.contract.checker import CheckedTransport


@pytest.fixture(scope="module")
def keyless(api: LiveApi, transport: CheckedTransport) -> httpx2.Client:
    return httpx2.Client(transport=transport, base_url=api.url)


@pytest.mark.parametrize(
    ("header", "shown"),
    [
        ("Bearer sk-abcdefghijklmnopqrstuvWXYZ", "sk-ab****WXYZ"),
        ("Bearer short", "****"),
        ("Basic " + base64.b64encode(b":sk-abcdefghijklmnopqrstuvWXYZ").decode(), "sk-ab****WXYZ"),
        (f"Bearer {KEY[:-1]}", f"{KEY[:5]}****{KEY[-5:-1]}"),
    ],
)
def test_a_wrong_key_is_shown_masked(keyless: httpx2.Client, header: str, shown: str) -> None:
    answer = keyless.get("/v1/models", headers={"authorization": header})
    assert answer.status_code == 401
    error = answer.json()["error"]
    assert error["message"].startswith(f"Incorrect API key provided: {shown}. ")
    assert error["code"] == "invalid_api_key"


@pytest.mark.parametrize(
    "header",
    [
        f"Bearer {KEY}",
        f"bearer {KEY}",
        f"BEARER   {KEY}",
        "Basic " + base64.b64encode(f":{KEY}".encode()).decode(),
        "basic " + base64.b64encode(f"somebody:{KEY}".encode()).decode(),
    ],
)
def test_a_key_is_taken_in_any_of_its_forms(keyless: httpx2.Client, header: str) -> None:
    assert keyless.get("/v1/models", headers={"authorization": header}).status_code == 200


@pytest.mark.parametrize("header", ["", "Bearer", f"Token {KEY}", KEY, "Basic !", "Basic /w=="])
def test_what_is_no_key_counts_as_none(keyless: httpx2.Client, header: str) -> None:
    answer = keyless.get("/v1/models", headers={"authorization": header})
    assert answer.status_code == 401
    assert answer.json()["error"]["code"] is None


def test_a_revoked_key_opens_nothing(api: LiveApi, transport: CheckedTransport) -> None:
    key = api.new_key("fired")
    client = client_of(api, key, transport)
    client.models.list()
    rows = api.store.tenants.list_keys()
    row = next(row for row in rows if row.organization_name == "fired")
    api.store.tenants.revoke_key(row.key.id)
    with pytest.raises(openai.AuthenticationError):
        client.models.list()


def test_a_key_opens_nothing_from_its_last_moment_on(
    api: LiveApi, transport: CheckedTransport
) -> None:
    """The refusal is the same as for a key that never was."""
    tenants = api.store.tenants
    lasting = tenants.create_key("timely", lifetime=timedelta(days=1))
    fleeting = tenants.create_key("timely", lifetime=timedelta(microseconds=1))
    assert client_of(api, lasting, transport).models.list().data
    with pytest.raises(openai.AuthenticationError) as caught:
        client_of(api, fleeting, transport).models.list()
    assert caught.value.code == "invalid_api_key"


def test_a_stream_outlives_its_key_and_no_request_does(
    api: LiveApi, transport: CheckedTransport
) -> None:
    key = api.new_key("passing")
    client = client_of(api, key, transport)
    stream = client.chat.completions.create(
        model="tiny", messages=[{"role": "user", "content": "hello"}], stream=True, max_tokens=200
    )
    first = next(iter(stream))
    caller = api.store.tenants.find_caller(key)
    assert caller is not None
    assert api.store.tenants.revoke_key(caller.key_id)
    *_, last = [first, *stream]
    assert last.choices[0].finish_reason in ("stop", "length")
    with pytest.raises(openai.AuthenticationError):
        client.models.list()


def test_own_organization_and_project_may_be_named(api: LiveApi, client: OpenAI) -> None:
    organization, project = api.caller.organization, api.caller.project
    for headers in (
        {"OpenAI-Organization": organization.id, "OpenAI-Project": project.id},
        {"OpenAI-Organization": organization.name, "OpenAI-Project": project.name},
        {"OpenAI-Organization": "", "OpenAI-Project": ""},
    ):
        assert client.models.list(extra_headers=headers).data


@pytest.mark.parametrize(
    ("header", "code"),
    [
        ("OpenAI-Organization", "mismatched_organization"),
        ("OpenAI-Project", "mismatched_project"),
    ],
)
def test_foreign_ones_may_not(client: OpenAI, header: str, code: str) -> None:
    with pytest.raises(openai.AuthenticationError) as caught:
        client.models.list(extra_headers={header: "org-of-somebody-else"})
    assert caught.value.code == code


def test_projects_of_one_organization_see_only_their_own(
    api: LiveApi, client: OpenAI, transport: CheckedTransport
) -> None:
    other = client_of(api, api.new_key("local", project="other"), transport)
    file = client.files.create(file=("a", b"a"), purpose="fine-tune")
    with pytest.raises(openai.NotFoundError):
        other.files.retrieve(file.id)


def test_answers_carry_openai_s_headers(api: LiveApi, http: httpx2.Client) -> None:
    first, second = (http.get("/v1/models").headers for _ in range(2))
    assert first["x-request-id"] != second["x-request-id"]
    assert first["openai-organization"] == "local"
    assert first["openai-project"] == api.caller.project.id
    assert first["cache-control"] == "no-cache, must-revalidate"
    assert first["x-content-type-options"] == "nosniff"
    assert int(first["openai-processing-ms"]) >= 0
    assert "openai-model" not in first


def test_a_stream_carries_them_too(http: httpx2.Client) -> None:
    body = {"model": "tiny", "messages": [{"role": "user", "content": "a"}], "stream": True}
    headers = http.post("/v1/chat/completions", json=body | {"max_tokens": 1}).headers
    assert headers["openai-model"] == "tiny"
    assert headers["content-type"].startswith("text/event-stream")
    assert headers["x-request-id"].startswith("req_")
    assert headers["openai-organization"] == "local"
    assert headers["openai-version"] == "2020-10-01"
    assert int(headers["openai-processing-ms"]) >= 0


def test_health_needs_no_key(keyless: httpx2.Client) -> None:
    for path in ("/healthz", "/readyz"):
        answer = keyless.get(path)
        assert (answer.status_code, answer.json()) == (200, {"status": "ok"})
        assert answer.headers["x-request-id"].startswith("req_")
