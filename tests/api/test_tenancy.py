"""Tenants apart, on every route there is.

The app's own OpenAPI document says which routes exist. Each has its row in `PROBES`: requests
that name somebody's objects, in every place of the route where an object can be named. A stranger
sends them twice: with the ids of objects that are there, and with ids that nobody ever had. If
the two answers differ in anything but those ids, the stranger has learnt something.

A route without a row fails the first test: add it, and think of each place where its requests
hold an id.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tests.api import histories
from tests.api.conftest import KEY, LiveApi
from tests.contract.checker import CheckedTransport
from tests.contract.own_document import OwnDocument
from tunesmith.domain.eras import fine_tune_id_of

FILES, JOBS, MODELS = "/v1/files", "/v1/fine_tuning/jobs", "/v1/models"
FINE_TUNES = "/v1/fine-tunes"
CHECKPOINTS = "/v1/fine_tuning/checkpoints"
CHAT, COMPLETIONS, UPLOADS = "/v1/chat/completions", "/v1/completions", "/v1/uploads"
PUBLIC = {("GET", "/healthz"), ("GET", "/readyz")}
PART = {"files": {"data": ("part", b"a")}}
HELLO = [{"role": "user", "content": "hello"}]


@dataclass(frozen=True)
class Named:
    """One id of everything that has one."""

    file_id: str
    upload_id: str
    part_id: str
    result_file_id: str
    job_id: str
    queued_job_id: str
    running_job_id: str
    paused_job_id: str
    event_id: str
    checkpoint_id: str
    completion_id: str
    message_id: str
    model: str
    checkpoint_model: str
    permission_id: str
    project_id: str

    @property
    def fine_tune_id(self) -> str:
        return fine_tune_id_of(self.job_id)

    def hidden_in(self, text: str) -> str:
        """`text` without these ids."""
        # The longest first: one name may be the beginning of another.
        ids = {**asdict(self), "fine_tune_id": self.fine_tune_id}
        for noun, value in sorted(ids.items(), key=lambda item: -len(item[1])):
            text = text.replace(value, f"<{noun}>")
        return text


@dataclass(frozen=True)
class Sent:
    method: str
    path: str
    json: Any = None
    form: Any = None

    def by(self, client: httpx2.Client) -> httpx2.Response:
        return client.request(self.method, self.path, json=self.json, **(self.form or {}))


Probe = Callable[[Named], Sent]


def job(**fields: Any) -> Sent:
    return Sent("POST", JOBS, {"model": "tiny", **fields})


def fine_tune(**fields: Any) -> Sent:
    return Sent("POST", FINE_TUNES, {"model": "tiny", **fields})


def completion(upload_id: str, part_id: str) -> Sent:
    return Sent("POST", f"{UPLOADS}/{upload_id}/complete", {"part_ids": [part_id]})


def permissions(named: Named, rest: str = "") -> str:
    return f"{CHECKPOINTS}/{named.model}/permissions{rest}"


# Route → requests that name objects. None of them, where a route takes no id of anything.
PROBES: Mapping[tuple[str, str], Sequence[Probe]] = {
    ("POST", FILES): [],
    ("GET", FILES): [
        lambda named: Sent("GET", f"{FILES}?after={named.file_id}"),
        lambda named: Sent("GET", f"{FILES}?purpose=fine-tune&after={named.result_file_id}"),
    ],
    ("GET", FILES + "/{file_id}"): [
        lambda named: Sent("GET", f"{FILES}/{named.file_id}"),
        lambda named: Sent("GET", f"{FILES}/{named.result_file_id}"),
    ],
    ("DELETE", FILES + "/{file_id}"): [lambda named: Sent("DELETE", f"{FILES}/{named.file_id}")],
    ("GET", FILES + "/{file_id}/content"): [
        lambda named: Sent("GET", f"{FILES}/{named.file_id}/content"),
        lambda named: Sent("GET", f"{FILES}/{named.result_file_id}/content"),
    ],
    ("GET", FILES + "/{file_id}/report"): [
        lambda named: Sent("GET", f"{FILES}/{named.file_id}/report?model=tiny"),
        lambda named: Sent("GET", f"{FILES}/{named.file_id}/report?model={named.model}"),
    ],
    ("GET", FILES + "/{file_id}/report/examples"): [
        lambda named: Sent("GET", f"{FILES}/{named.file_id}/report/examples?model=tiny"),
    ],
    ("POST", UPLOADS): [],
    ("POST", UPLOADS + "/{upload_id}/parts"): [
        lambda named: Sent("POST", f"{UPLOADS}/{named.upload_id}/parts", form=PART),
    ],
    ("POST", UPLOADS + "/{upload_id}/complete"): [
        lambda named: completion(named.upload_id, named.part_id),
    ],
    ("POST", UPLOADS + "/{upload_id}/cancel"): [
        lambda named: Sent("POST", f"{UPLOADS}/{named.upload_id}/cancel"),
    ],
    ("POST", JOBS): [
        lambda named: job(training_file=named.file_id),
        lambda named: job(training_file=named.file_id, model=named.model),
        lambda named: job(training_file=named.file_id, validation_file=named.file_id),
    ],
    ("GET", JOBS): [lambda named: Sent("GET", f"{JOBS}?after={named.job_id}")],
    ("GET", JOBS + "/{job_id}"): [lambda named: Sent("GET", f"{JOBS}/{named.job_id}")],
    ("POST", JOBS + "/{job_id}/cancel"): [
        lambda named: Sent("POST", f"{JOBS}/{named.queued_job_id}/cancel"),
    ],
    ("POST", JOBS + "/{job_id}/pause"): [
        lambda named: Sent("POST", f"{JOBS}/{named.running_job_id}/pause"),
    ],
    ("POST", JOBS + "/{job_id}/resume"): [
        lambda named: Sent("POST", f"{JOBS}/{named.paused_job_id}/resume"),
    ],
    ("GET", JOBS + "/{job_id}/events"): [
        lambda named: Sent("GET", f"{JOBS}/{named.job_id}/events"),
        lambda named: Sent("GET", f"{JOBS}/{named.job_id}/events?after={named.event_id}"),
    ],
    ("GET", JOBS + "/{job_id}/checkpoints"): [
        lambda named: Sent("GET", f"{JOBS}/{named.job_id}/checkpoints"),
        lambda named: Sent("GET", f"{JOBS}/{named.job_id}/checkpoints?after={named.checkpoint_id}"),
    ],
    ("POST", FINE_TUNES): [
        lambda named: fine_tune(training_file=named.file_id),
        lambda named: fine_tune(training_file=named.file_id, model=named.model),
        lambda named: fine_tune(training_file=named.file_id, validation_file=named.file_id),
    ],
    ("GET", FINE_TUNES): [],
    ("GET", FINE_TUNES + "/{fine_tune_id}"): [
        lambda named: Sent("GET", f"{FINE_TUNES}/{named.job_id}"),
        lambda named: Sent("GET", f"{FINE_TUNES}/{named.fine_tune_id}"),
    ],
    ("POST", FINE_TUNES + "/{fine_tune_id}/cancel"): [
        lambda named: Sent("POST", f"{FINE_TUNES}/{named.queued_job_id}/cancel"),
    ],
    ("GET", FINE_TUNES + "/{fine_tune_id}/events"): [
        lambda named: Sent("GET", f"{FINE_TUNES}/{named.fine_tune_id}/events"),
        lambda named: Sent("GET", f"{FINE_TUNES}/{named.fine_tune_id}/events?stream=true"),
    ],
    ("DELETE", FINE_TUNES + "/{fine_tune_id}"): [
        lambda named: Sent("DELETE", f"{FINE_TUNES}/{named.fine_tune_id}"),
        lambda named: Sent("DELETE", f"{FINE_TUNES}/{named.job_id}"),
        lambda named: Sent("DELETE", f"{FINE_TUNES}/{named.model}"),
        lambda named: Sent("DELETE", f"{FINE_TUNES}/{named.checkpoint_model}"),
    ],
    ("POST", CHECKPOINTS + "/{fine_tuned_model_checkpoint}/permissions"): [
        lambda named: Sent("POST", permissions(named), {"project_ids": [named.project_id]}),
    ],
    ("GET", CHECKPOINTS + "/{fine_tuned_model_checkpoint}/permissions"): [
        lambda named: Sent("GET", permissions(named)),
        lambda named: Sent("GET", permissions(named, f"?after={named.permission_id}")),
        lambda named: Sent("GET", permissions(named, f"?project_id={named.project_id}")),
    ],
    ("DELETE", CHECKPOINTS + "/{fine_tuned_model_checkpoint}/permissions/{permission_id}"): [
        lambda named: Sent("DELETE", permissions(named, f"/{named.permission_id}")),
    ],
    ("GET", MODELS): [],
    ("GET", MODELS + "/{name}"): [
        lambda named: Sent("GET", f"{MODELS}/{named.model}"),
        lambda named: Sent("GET", f"{MODELS}/{named.checkpoint_model}"),
    ],
    ("DELETE", MODELS + "/{name}"): [
        lambda named: Sent("DELETE", f"{MODELS}/{named.model}"),
        lambda named: Sent("DELETE", f"{MODELS}/{named.checkpoint_model}"),
    ],
    ("POST", CHAT): [
        lambda named: Sent("POST", CHAT, {"model": named.model, "messages": HELLO}),
        lambda named: Sent("POST", CHAT, {"model": named.checkpoint_model, "messages": HELLO}),
        lambda named: Sent("POST", CHAT, {"model": named.model, "messages": HELLO, "stream": True}),
        lambda named: Sent("POST", CHAT, {"model": named.model, "messages": HELLO, "store": True}),
    ],
    ("GET", CHAT): [lambda named: Sent("GET", f"{CHAT}?after={named.completion_id}")],
    ("GET", CHAT + "/{completion_id}"): [
        lambda named: Sent("GET", f"{CHAT}/{named.completion_id}"),
    ],
    ("POST", CHAT + "/{completion_id}"): [
        lambda named: Sent("POST", f"{CHAT}/{named.completion_id}", {"metadata": {"a": "b"}}),
    ],
    ("DELETE", CHAT + "/{completion_id}"): [
        lambda named: Sent("DELETE", f"{CHAT}/{named.completion_id}"),
    ],
    ("GET", CHAT + "/{completion_id}/messages"): [
        lambda named: Sent("GET", f"{CHAT}/{named.completion_id}/messages"),
        lambda named: Sent(
            "GET", f"{CHAT}/{named.completion_id}/messages?after={named.message_id}"
        ),
    ],
    ("POST", COMPLETIONS): [
        lambda named: Sent("POST", COMPLETIONS, {"model": named.model, "prompt": "hello"}),
        lambda named: Sent("POST", COMPLETIONS, {"model": named.checkpoint_model, "prompt": "a"}),
    ],
}
CASES = [
    pytest.param(probe, id=f"{method} {path} {number}")
    for (method, path), probes in PROBES.items()
    for number, probe in enumerate(probes)
]
NOBODY_S = Named(
    file_id="file-000000000000000000000000",
    upload_id="upload_000000000000000000000000",
    part_id="part_000000000000000000000000",
    result_file_id="file-000000000000000000000001",
    job_id="ftjob-000000000000000000000000",
    queued_job_id="ftjob-000000000000000000000001",
    running_job_id="ftjob-000000000000000000000002",
    paused_job_id="ftjob-000000000000000000000003",
    event_id="ftevent-000000000000000000000000",
    checkpoint_id="ftckpt_000000000000000000000000",
    completion_id="chatcmpl-00000000000000000000000000000",
    message_id="chatcmpl-00000000000000000000000000000-0",
    model="ft:tiny:local::00000000",
    checkpoint_model="ft:tiny:local::00000000:ckpt-step-1",
    permission_id="cp_000000000000000000000000",
    project_id="proj_000000000000000000000000",
)


@pytest.fixture(scope="module")
def operations(api: LiveApi) -> dict[tuple[str, str], Any]:
    return OwnDocument(httpx2.get(f"{api.url}/openapi.json").json()).operations()


@pytest.fixture
def ours(api: LiveApi, http: httpx2.Client, base_folder: Path) -> Named:
    """A finished job with all that it leaves behind, one each that waits, trains and is paused,
    an upload that is complete but for the word, an answer that is stored, and the model lent to a
    third project."""
    last = histories.tuned(api, base_folder, seed=1, num_checkpoints=2)[-1]
    done = api.store.jobs.find(api.caller.scope, last.job_id)
    assert done is not None
    assert done.result_file_id is not None
    queued = histories.new_job(api)
    running, paused = histories.new_job(api), histories.new_job(api)
    for job in (queued, running, paused):
        api.store.jobs.create(job, [])
    for job in (running, paused):
        histories.started(api, job.id)
    api.store.jobs.pause(api.caller.scope, paused.id)
    upload_id, part_id = new_upload(http)
    stored = {"model": "tiny", "messages": HELLO, "max_tokens": 1, "store": True}
    completion_id = http.post(CHAT, json=stored).json()["id"]
    checkpoint = api.store.checkpoints.page(done.id, limit=10).items[-1]
    assert checkpoint.model_name != last.name
    friends = api.store.tenants.create_project("local", "friends")
    (permission,) = api.store.permissions.grant(last, [friends.id]) or []
    return Named(
        file_id=done.training_file_id,
        upload_id=upload_id,
        part_id=part_id,
        result_file_id=done.result_file_id,
        job_id=done.id,
        queued_job_id=queued.id,
        running_job_id=running.id,
        paused_job_id=paused.id,
        event_id=api.store.events.page(done.id, limit=1).items[0].id,
        checkpoint_id=checkpoint.id,
        completion_id=completion_id,
        message_id=f"{completion_id}-0",
        model=last.name,
        checkpoint_model=checkpoint.model_name,
        permission_id=permission.id,
        project_id=friends.id,
    )


@pytest.fixture(scope="module", params=["another organisation", "another project of ours"])
def stranger(
    request: pytest.FixtureRequest, api: LiveApi, transport: CheckedTransport
) -> httpx2.Client:
    """In its own organisation, one that may do everything; in ours, that would be no stranger."""
    is_foreign = request.param == "another organisation"
    organization = "elsewhere" if is_foreign else "local"
    key = api.new_key(organization, project="strangers", is_admin=is_foreign)
    return client_with(api, transport, key)


def new_upload(client: httpx2.Client) -> tuple[str, str]:
    announced = {"filename": "a", "purpose": "fine-tune", "bytes": 1, "mime_type": "text/jsonl"}
    upload_id = client.post(UPLOADS, json=announced).json()["id"]
    part: Any = {"files": {"data": ("part", b"a")}}
    return upload_id, client.post(f"{UPLOADS}/{upload_id}/parts", **part).json()["id"]


def client_with(
    api: LiveApi, transport: CheckedTransport, key: str, **headers: str
) -> httpx2.Client:
    headers = {"authorization": f"Bearer {key}", **headers}
    return httpx2.Client(transport=transport, base_url=api.url, headers=headers, timeout=60)


def test_every_route_is_probed_in_every_part_of_its_path(
    operations: dict[tuple[str, str], Any],
) -> None:
    assert PROBES.keys() | PUBLIC == operations.keys()
    for (method, path), probes in PROBES.items():
        assert probes or "{" not in path, f"{method} {path} names an object"
        for sent in (probe(NOBODY_S) for probe in probes):
            assert sent.method == method
            assert sent.path.partition("?")[0].count("/") == path.count("/")


@pytest.mark.parametrize("probe", CASES)
def test_a_stranger_learns_nothing_and_changes_nothing(
    api: LiveApi, http: httpx2.Client, stranger: httpx2.Client, ours: Named, probe: Probe
) -> None:
    before = all_of_ours(api, ours)
    told = probe(ours).by(stranger)
    assert 400 <= told.status_code < 500
    of_nobody_s = probe(NOBODY_S).by(stranger)
    assert told.status_code == of_nobody_s.status_code
    assert ours.hidden_in(told.text) == NOBODY_S.hidden_in(of_nobody_s.text)
    assert all_of_ours(api, ours) == before
    assert probe(ours).by(http).status_code == 200, "else the probe asks for nothing"


def test_a_stranger_tunes_nobody_else_s_model(stranger: httpx2.Client, ours: Named) -> None:
    """With a file of its own, so that the model is the only mistake."""
    form: Any = {"data": {"purpose": "fine-tune"}, "files": {"file": ("a", b"{}")}}
    own_file = stranger.post(FILES, **form).json()["id"]
    for field, ids in {
        "model": ("model", "checkpoint_model"),
        "validation_file": ("file_id", "result_file_id"),
    }.items():
        for name in ids:
            answers = [
                job(**{"training_file": own_file, field: getattr(named, name)}).by(stranger)
                for named in (ours, NOBODY_S)
            ]
            assert [answer.status_code for answer in answers] == [400, 400]
            texts = (ours.hidden_in(answers[0].text), NOBODY_S.hidden_in(answers[1].text))
            assert texts[0] == texts[1]


def test_a_stranger_completes_no_upload_with_our_parts(
    stranger: httpx2.Client, ours: Named
) -> None:
    upload_id, own_part_id = new_upload(stranger)
    texts = []
    for named in (ours, NOBODY_S):
        answer = completion(upload_id, named.part_id).by(stranger)
        assert answer.status_code == 400
        texts.append(named.hidden_in(answer.text))
    assert texts[0] == texts[1]
    assert completion(upload_id, own_part_id).by(stranger).status_code == 200


def test_lists_of_a_stranger_hold_nothing_of_ours(stranger: httpx2.Client, ours: Named) -> None:
    """Every list that can be asked for without an id, also those that a test elsewhere forgot."""
    lists = [path for method, path in PROBES if method == "GET" and "{" not in path]
    assert FILES in lists
    for path in lists:
        answer = stranger.get(path)
        assert answer.status_code == 200
        assert ours.hidden_in(answer.text) == answer.text
        assert "ft:" not in answer.text


ROUTES = [pytest.param(*route, id=" ".join(route)) for route in PROBES]


@pytest.mark.parametrize(("method", "path"), ROUTES)
def test_no_route_opens_without_a_key(
    api: LiveApi, transport: CheckedTransport, method: str, path: str
) -> None:
    with httpx2.Client(transport=transport, base_url=api.url) as keyless:
        answer = keyless.request(method, path)
    assert answer.status_code == 401
    assert answer.json()["error"]["message"].startswith("You didn't provide an API key.")


@pytest.mark.parametrize(("method", "path"), ROUTES)
@pytest.mark.parametrize(
    ("header", "code"),
    [
        ("openai-organization", "mismatched_organization"),
        ("openai-project", "mismatched_project"),
    ],
)
def test_a_foreign_organization_or_project_is_refused_never_ignored(
    api: LiveApi, transport: CheckedTransport, method: str, path: str, header: str, code: str
) -> None:
    """Also if it is somebody's, and whether it is named by id or name."""
    other = api.store.tenants.find_caller(api.new_key("elsewhere", "strangers"))
    assert other is not None
    tenant = other.organization if code == "mismatched_organization" else other.project
    for named in (tenant.id, tenant.name, "org-none"):
        client = client_with(api, transport, KEY, **{header: named})
        answer = client.request(method, path)
        assert answer.status_code == 401
        assert answer.json()["error"]["code"] == code


@pytest.mark.parametrize(("method", "path"), ROUTES)
def test_every_answer_of_a_route_has_openai_s_headers(
    http: httpx2.Client, method: str, path: str
) -> None:
    """Whatever it is: here mostly refusals."""
    headers = http.request(method, path.replace("{", "").replace("}", "")).headers
    assert headers["openai-organization"] == "local"
    assert headers["openai-version"] == "2020-10-01"
    assert headers["openai-processing-ms"].isdecimal()
    assert headers["x-request-id"].startswith("req_")
    assert "server" not in headers


def all_of_ours(api: LiveApi, named: Named) -> object:
    scope = api.caller.scope
    return (
        api.store.files.page(scope, limit=10_000),
        api.store.jobs.page(scope, limit=10_000),
        api.store.tuned_models.all(scope),
        api.store.uploads.find(scope, named.upload_id),
        api.store.stored_completions.page(scope, limit=10_000),
        api.store.permissions.page(named.model, limit=100),
    )
