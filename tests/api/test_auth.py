"""Keys, organisations, projects (behaviour reference, sections 17.3 and 18.1)."""

import base64

import httpx2
import openai
import pytest
from openai import OpenAI

from tests.api.conftest import KEY, LiveApi, client_of
from tests.contract.checker import CheckedTransport

ROUTES = [
    ("GET", "/v1/files"),
    ("POST", "/v1/files"),
    ("GET", "/v1/files/x/content"),
    ("POST", "/v1/fine_tuning/jobs"),
    ("GET", "/v1/fine_tuning/jobs/x"),
    ("POST", "/v1/fine_tuning/jobs/x/cancel"),
    ("GET", "/v1/models"),
    ("DELETE", "/v1/models/x"),
    ("POST", "/v1/chat/completions"),
]


@pytest.fixture(scope="module")
def keyless(api: LiveApi, transport: CheckedTransport) -> httpx2.Client:
    return httpx2.Client(transport=transport, base_url=api.url)


@pytest.mark.parametrize(("method", "path"), ROUTES)
def test_no_route_opens_without_a_key(keyless: httpx2.Client, method: str, path: str) -> None:
    answer = keyless.request(method, path)
    assert answer.status_code == 401
    error = answer.json()["error"]
    assert error["message"].startswith("You didn't provide an API key. You need to provide your")
    assert (error["type"], error["param"], error["code"]) == ("invalid_request_error", None, None)


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


def test_answers_carry_openai_s_headers(http: httpx2.Client) -> None:
    first, second = (http.get("/v1/models").headers for _ in range(2))
    assert first["x-request-id"] != second["x-request-id"]
    assert first["openai-organization"] == "local"
    assert int(first["openai-processing-ms"]) >= 0


def test_health_needs_no_key(keyless: httpx2.Client) -> None:
    for path in ("/healthz", "/readyz"):
        answer = keyless.get(path)
        assert (answer.status_code, answer.json()) == (200, {"status": "ok"})
        assert answer.headers["x-request-id"].startswith("req_")
