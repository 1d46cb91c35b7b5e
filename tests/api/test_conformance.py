"""What the table of conformance claims, and every operation through the official SDKs.

Each row of `tests/contract/conformance` is a test here, by the request that it carries. Each works
in a project of its own, so that lists hold what the test made.
"""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import reduce
from itertools import count
from pathlib import Path
from typing import Any

import httpx2
import openai
import pytest
from openai import OpenAI

from tests.api.conftest import LiveApi
from tests.api.probes import Probe
from tests.api.world import ORGANIZATION, Things, World
from tests.clients.node_sdk import printed, sdk_folder
from tests.contract.checker import CheckedTransport, check_answer
from tests.contract.conformance.paths import holds
from tests.contract.conformance.rows import Conformance, Row
from tests.contract.conformance.table import TABLE
from tests.contract.description import Operation, Place, operations

DESCRIBED = {operation.name: operation for operation in operations()}
ROWS = [
    pytest.param(item, row, id=f"{item.operation} {row.fields[0]} {row.status}")
    for item in TABLE
    for row in item.rows
]
STREAMED = {"chat.completions.create", "completions.create"}
CALLS: list[tuple[Conformance, dict[str, Any]]] = [
    *((item, {}) for item in TABLE),
    *((item, {"stream": True}) for item in TABLE if item.python in STREAMED),
]
CALL_IDS = [f"{item.python}{' streamed' if more else ''}" for item, more in CALLS]
NUM_OF_A_LIST = 3
HEADERS = {
    "x-request-id": "req_[0-9a-f]{32}",
    "openai-processing-ms": "[0-9]+",
    "openai-version": "2020-10-01",
}

projects = count()


@dataclass(frozen=True)
class Reached:
    """The service, by an admin key of a project that nobody else uses."""

    url: str
    key: str


@pytest.fixture
def reached(api: LiveApi) -> Reached:
    return reach(api)


@pytest.fixture
def world(api: LiveApi, reached: Reached, transport: CheckedTransport) -> World:
    return world_of(api, reached, transport)


def reach(api: LiveApi) -> Reached:
    return Reached(api.url, api.new_key(ORGANIZATION, f"project-{next(projects)}", is_admin=True))


def world_of(api: LiveApi, reached: Reached, transport: CheckedTransport) -> World:
    headers = {"authorization": f"Bearer {reached.key}"}
    client = httpx2.Client(transport=transport, base_url=api.url, headers=headers)
    return World.of(api, reached.key, client)


def probed(world: World, item: Conformance, sends: Mapping[str, Any]) -> Probe:
    if item.among:
        for _ in range(NUM_OF_A_LIST):
            assert Things(world)[item.among]
    return Probe(world, DESCRIBED[item.operation], item, dict(sends), Things(world))


@pytest.mark.parametrize(("item", "row"), ROWS)
def test_a_field_does_what_the_table_says(world: World, item: Conformance, row: Row) -> None:
    probe = probed(world, item, row.sends)
    assert [path for path in row.fields if not holds(probe.sent, path)] == []
    if row.is_error:
        assert probe.answer.status_code == row.http_status, probe.answer.text
        assert (probe.error["param"], probe.error["code"]) == (row.param, row.code)
        assert probe.error["type"] == "invalid_request_error"
    elif row.sees is not None:
        assert row.sees(probe)
    else:
        assert probe.outcome == probe.without_fields(row.fields).outcome


@pytest.mark.parametrize(("item", "more"), CALLS, ids=CALL_IDS)
def test_an_operation_works_by_pythons_sdk(
    world: World,
    reached: Reached,
    transport: CheckedTransport,
    item: Conformance,
    more: dict[str, Any],
) -> None:
    """The transport holds whatever comes back against the description."""
    answers: list[httpx2.Response] = []
    http = httpx2.Client(transport=transport, event_hooks={"response": [answers.append]})
    client = OpenAI(
        base_url=f"{reached.url}/v1",
        api_key=reached.key,
        admin_api_key=reached.key,
        max_retries=0,
        http_client=http,
    )
    call: Any = reduce(getattr, item.python.split("."), client)
    sent = probed(world, item, more).sent
    kept = {name: as_file(text) for name, text in sent.items() if name in files_of(item)}
    if item.http_status == 200:
        answer = call(**{**sent, **kept})
        assert not more or list(answer)
    else:
        with pytest.raises(openai.NotFoundError):
            call(**{**sent, **kept})
    (response,) = answers
    request = response.request
    check_headers(world, item, response)
    assert is_of(item, request.method, request.url.path)


@pytest.fixture(scope="module")
def node_sdk() -> Path:
    return sdk_folder("openai@7", "node-clients")


@pytest.fixture(scope="module")
def by_node(
    api: LiveApi,
    transport: CheckedTransport,
    node_sdk: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> tuple[World, list[Any]]:
    """What came back for each call; one process makes them all."""
    reached = reach(api)
    world = world_of(api, reached, transport)
    calls = [node_call(item, probed(world, item, more).sent) for item, more in CALLS]
    path = tmp_path_factory.mktemp("walk") / "calls.json"
    path.write_text(json.dumps(calls))
    return world, printed(node_sdk, "walk.mjs", reached, str(path))


@pytest.mark.parametrize("number", range(len(CALLS)), ids=CALL_IDS)
def test_an_operation_works_by_nodes_sdk(by_node: tuple[World, list[Any]], number: int) -> None:
    (item, more), (world, answers) = CALLS[number], by_node
    seen = answers[number]
    body = seen["body"].encode()
    response = httpx2.Response(seen["status"], headers=seen["headers"])
    assert is_of(item, seen["method"], seen["path"])
    assert seen["failure"] == (None if item.http_status == 200 else "NotFoundError")
    check_answer(seen["method"], seen["path"], response, body)
    check_headers(world, item, response)
    assert not more or body.endswith(b"data: [DONE]\n\n")


def node_call(item: Conformance, sent: Mapping[str, Any]) -> Any:
    """The last of the path's parameters goes first, all else into one object behind it."""
    in_path = [field.path for field in operation_of(item).fields if field.place is Place.PATH]
    rest = {name: value for name, value in sent.items() if name not in in_path[-1:]}
    arguments = [sent[name] for name in in_path[-1:]] + ([rest] if rest else [])
    return {"call": item.node, "arguments": arguments, "file": next(files_of(item), None)}


def check_headers(world: World, item: Conformance, response: httpx2.Response) -> None:
    assert response.status_code == item.http_status
    expected = dict(HEADERS)
    if item.http_status == 200:  # otherwise nobody was asked who it is
        expected["openai-organization"] = ORGANIZATION
        expected["openai-project"] = world.api.caller.project.id
    for name, pattern in expected.items():
        assert re.fullmatch(pattern, response.headers.get(name, "")), name


def is_of(item: Conformance, method: str, path: str) -> bool:
    """Whether a request is one of this operation."""
    operation = operation_of(item)
    pattern = "/v1" + re.sub(r"\{[a-z_]+\}", "[^/]+", operation.path)
    return method == operation.method and re.fullmatch(pattern, path) is not None


def files_of(item: Conformance) -> Iterator[str]:
    """The names of those fields of a form that are files."""
    if operation_of(item).content_type == "multipart/form-data":
        yield from (name for name in ("file", "data") if name in item.base)


def as_file(text: str) -> tuple[str, bytes]:
    return "a.jsonl", text.encode()


def operation_of(item: Conformance) -> Operation:
    return DESCRIBED[item.operation]
