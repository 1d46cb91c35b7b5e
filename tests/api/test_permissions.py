"""Models that other projects may use, through the official SDK (behaviour reference, 7.2).

The service's first key, `client`, is an admin key of the project `default`, which owns the models.
"""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx2
import openai
import pytest
from openai import OpenAI
from openai.types.chat import ChatCompletionMessageParam

from tests.api import histories
from tests.api.conftest import LiveApi, client_of
from tests.contract.checker import CheckedTransport
from tunesmith.domain.models import TunedModel
from tunesmith.domain.tenancy import Project

HELLO: list[ChatCompletionMessageParam] = [{"role": "user", "content": "hello"}]
CHECKPOINTS = "/v1/fine_tuning/checkpoints"


@pytest.fixture(scope="module")
def tuned(api: LiveApi, base_folder: Path) -> list[TunedModel]:
    """A checkpoint and the final model of one job, with weights that an engine can load."""
    return histories.tuned(api, base_folder, seed=21, num_checkpoints=2)


@pytest.fixture
def model(api: LiveApi, tuned: list[TunedModel]) -> Iterator[TunedModel]:
    """The final one, nobody's but its owner's, before and after."""
    yield tuned[-1]
    for permission in api.store.permissions.page(tuned[-1].name, limit=100).items:
        api.store.permissions.delete(tuned[-1].name, permission.id)


@pytest.fixture(scope="module")
def research(api: LiveApi) -> Project:
    return api.store.tenants.create_project("local", "research")


@pytest.fixture(scope="module")
def sales(api: LiveApi) -> Project:
    return api.store.tenants.create_project("local", "sales")


@pytest.fixture(scope="module")
def user(api: LiveApi, transport: CheckedTransport, research: Project) -> OpenAI:
    """A client of the project `research`."""
    return client_of(api, api.new_key("local", research.name), transport)


@pytest.fixture(scope="module")
def bystander(api: LiveApi, transport: CheckedTransport, sales: Project) -> OpenAI:
    """A client of the project `sales`."""
    return client_of(api, api.new_key("local", sales.name), transport)


def path_of(name: str) -> str:
    return f"{CHECKPOINTS}/{name}/permissions"


def grant(client: OpenAI, model: TunedModel, *projects: Project) -> list[Any]:
    ids = [project.id for project in projects]
    permissions = client.fine_tuning.checkpoints.permissions
    return permissions.create(model.name, project_ids=ids).data


def withdraw(client: OpenAI, model: TunedModel, permission_id: str) -> Any:
    permissions = client.fine_tuning.checkpoints.permissions
    return permissions.delete(permission_id, fine_tuned_model_checkpoint=model.name)


def chat(client: OpenAI, model: str) -> str | None:
    reply = client.chat.completions.create(model=model, messages=HELLO, max_tokens=8, temperature=0)
    return reply.choices[0].message.content


def refusals(client: OpenAI, model: str) -> list[Any]:
    """What is said of a model that isn't there, on every route that talks of models."""
    asked = (
        lambda: chat(client, model),
        lambda: client.completions.create(model=model, prompt="a"),
        lambda: client.models.retrieve(model),
        lambda: client.models.delete(model),
    )
    bodies = []
    for ask in asked:
        with pytest.raises(openai.NotFoundError) as caught:
            ask()
        bodies.append({**caught.value.body, "message": caught.value.message.replace(model, "…")})
    return bodies


def test_granted_project_talks_to_the_model_until_it_is_taken_back(
    client: OpenAI, user: OpenAI, bystander: OpenAI, tuned: list[TunedModel], research: Project
) -> None:
    nothing = refusals(user, "ft:tiny:local::00000000")
    for model in tuned:
        assert refusals(user, model.name) == nothing
        (permission,) = grant(client, model, research)
        assert chat(user, model.name) == chat(client, model.name)
        assert user.completions.create(model=model.name, prompt="a", max_tokens=1).choices
        stream = user.chat.completions.create(
            model=model.name, messages=HELLO, max_tokens=2, stream=True
        )
        assert {chunk.model for chunk in stream} == {model.name}
        assert user.models.retrieve(model.name) == client.models.retrieve(model.name)
        assert [one.id for one in user.models.list() if one.id.startswith("ft:")] == [model.name]
        assert refusals(bystander, model.name) == nothing
        deleted = withdraw(client, model, permission.id)
        assert deleted.to_dict() == {
            "id": permission.id,
            "object": "checkpoint.permission",
            "deleted": True,
        }
        assert refusals(user, model.name) == nothing
        assert chat(client, model.name) is not None


def test_granted_project_may_use_the_model_and_nothing_else(
    client: OpenAI, user: OpenAI, model: TunedModel, research: Project
) -> None:
    grant(client, model, research)
    for delete in (
        lambda: user.models.delete(model.name),
        lambda: user.delete(f"/fine-tunes/{model.name}", cast_to=object),
    ):
        with pytest.raises(openai.PermissionDeniedError) as forbidden:
            delete()
        assert "belongs to another project" in forbidden.value.message
        assert forbidden.value.param == "model"
    job = client.fine_tuning.jobs.retrieve(model.job_id)
    for ask in (
        lambda: user.fine_tuning.jobs.retrieve(job.id),
        lambda: user.fine_tuning.jobs.list_events(job.id),
        lambda: user.fine_tuning.jobs.checkpoints.list(job.id),
        lambda: user.files.retrieve(job.training_file),
        lambda: user.files.content(job.result_files[0]),
    ):
        with pytest.raises(openai.NotFoundError):
            ask()
    assert user.fine_tuning.jobs.list().data == []
    assert client.models.retrieve(model.name).id == model.name


def test_granted_project_can_not_go_on_training_from_the_model(
    client: OpenAI, user: OpenAI, model: TunedModel, research: Project
) -> None:
    """What it would make of the weights could not be taken back."""
    grant(client, model, research)
    file_id = user.files.create(file=("a.jsonl", b"{}\n"), purpose="fine-tune").id
    with pytest.raises(openai.BadRequestError) as job:
        user.fine_tuning.jobs.create(model=model.name, training_file=file_id)
    body = {"model": model.name, "training_file": file_id}
    with pytest.raises(openai.BadRequestError) as fine_tune:
        user.post("/fine-tunes", body=body, cast_to=object)
    with pytest.raises(openai.BadRequestError) as report:
        user.get(f"/files/{file_id}/report?model={model.name}", cast_to=object)
    assert (
        job.value.body
        == fine_tune.value.body
        == report.value.body
        == {
            "message": f"Model {model.name} is not available for fine-tuning here: it belongs to "
            "another project, which shares it with yours for use only.",
            "type": "invalid_request_error",
            "param": "model",
            "code": "model_not_available",
        }
    )


def test_what_one_project_asks_a_shared_model_shows_in_no_other_s_usage(
    client: OpenAI, user: OpenAI, model: TunedModel, research: Project
) -> None:
    """Prompts are computed once for a project, not for an organisation: else the other one could
    find out a prompt by guessing it."""
    grant(client, model, research)
    secret: list[ChatCompletionMessageParam] = [{"role": "user", "content": "whisper " * 60}]

    def cached(one: OpenAI, name: str) -> int:
        usage = one.chat.completions.create(model=name, messages=secret, max_tokens=1).usage
        assert usage is not None
        assert usage.prompt_tokens_details is not None
        return usage.prompt_tokens_details.cached_tokens or 0

    for name in (model.name, "tiny"):
        assert cached(client, name) == 0
        assert cached(user, name) == 0
        assert cached(client, name) > 0
        assert cached(user, name) > 0


def test_deleted_model_takes_its_permissions_along(
    api: LiveApi, client: OpenAI, user: OpenAI, research: Project
) -> None:
    model = histories.callable_model(api)
    (permission,) = grant(client, model, research)
    assert user.models.retrieve(model.name).id == model.name
    client.models.delete(model.name)
    with pytest.raises(openai.NotFoundError):
        user.models.retrieve(model.name)
    for ask in (
        lambda: grant(client, model, research),
        lambda: client.fine_tuning.checkpoints.permissions.list(model.name),
        lambda: withdraw(client, model, permission.id),
    ):
        with pytest.raises(openai.NotFoundError) as caught:
            ask()
        assert caught.value.body == {
            "message": f"The model '{model.name}' does not exist",
            "type": "invalid_request_error",
            "param": "model",
            "code": "model_not_found",
        }


def test_admin_key_of_another_project_does_as_well(
    api: LiveApi,
    transport: CheckedTransport,
    user: OpenAI,
    model: TunedModel,
    research: Project,
    sales: Project,
) -> None:
    """Even one that can't use the model itself."""
    admin = client_of(api, api.new_key("local", sales.name, is_admin=True), transport)
    (permission,) = grant(admin, model, research)
    assert chat(user, model.name) is not None
    with pytest.raises(openai.NotFoundError):
        admin.models.retrieve(model.name)
    withdraw(admin, model, permission.id)
    with pytest.raises(openai.NotFoundError):
        chat(user, model.name)


def test_admin_of_another_organization_finds_neither_model_nor_projects(
    api: LiveApi,
    client: OpenAI,
    transport: CheckedTransport,
    model: TunedModel,
    research: Project,
) -> None:
    (permission,) = grant(client, model, research)
    stranger = client_of(api, api.new_key("elsewhere", is_admin=True), transport)
    own = api.store.tenants.create_project("elsewhere", "default")
    for ask in (
        lambda: grant(stranger, model, own),
        lambda: grant(stranger, model, research),
        lambda: stranger.fine_tuning.checkpoints.permissions.list(model.name),
        lambda: withdraw(stranger, model, permission.id),
    ):
        with pytest.raises(openai.NotFoundError):
            ask()
    assert [one.id for one in listed(client, model)] == [permission.id]


def listed(client: OpenAI, model: TunedModel, **options: Any) -> list[Any]:
    return [*client.fine_tuning.checkpoints.permissions.list(model.name, **options)]


def test_unknown_and_foreign_projects_are_refused_alike_and_nothing_is_granted(
    api: LiveApi, http: httpx2.Client, client: OpenAI, model: TunedModel, research: Project
) -> None:
    foreign = api.store.tenants.create_project("elsewhere", "research").id
    answers = {}
    for id in (foreign, "proj_" + "0" * 24, "research", "proj_' OR 1=1", "\0"):
        answer = http.post(path_of(model.name), json={"project_ids": [research.id, id, "x"]})
        assert answer.status_code == 400
        error = answer.json()["error"]
        assert f"{id!r}, 'x'" in error["message"]
        assert research.id not in error["message"]
        assert (error["param"], error["code"]) == ("project_ids", "project_not_found")
        answers[id] = error["message"].replace(repr(id), "…")
    assert len({*answers.values()}) == 1
    assert listed(client, model) == []


def test_granting_twice_is_granting_once(
    client: OpenAI, model: TunedModel, research: Project, sales: Project
) -> None:
    first = grant(client, model, sales, research, sales)
    assert [one.project_id for one in first] == [sales.id, research.id]
    again = grant(client, model, research, sales)
    assert again == first[::-1]
    assert [one.id for one in listed(client, model)] == [one.id for one in again], "newest first"


def test_the_owner_s_own_project_may_be_among_them_and_loses_nothing(
    api: LiveApi, client: OpenAI, model: TunedModel
) -> None:
    (permission,) = grant(client, model, api.caller.project)
    withdraw(client, model, permission.id)
    assert client.models.retrieve(model.name).id == model.name


def test_a_grant_is_answered_with_a_whole_list(
    http: httpx2.Client, model: TunedModel, research: Project, sales: Project
) -> None:
    answer = http.post(path_of(model.name), json={"project_ids": [research.id, sales.id]})
    body = answer.json()
    ids = [one["id"] for one in body["data"]]
    created_at = body["data"][0]["created_at"]
    assert body == {
        "object": "list",
        "data": [
            {
                "id": id,
                "object": "checkpoint.permission",
                "created_at": created_at,
                "project_id": project.id,
            }
            for id, project in zip(ids, (research, sales), strict=True)
        ],
        "has_more": False,
        "first_id": ids[0],
        "last_id": ids[1],
    }


@pytest.fixture(scope="module")
def shared(api: LiveApi, client: OpenAI) -> tuple[TunedModel, list[Project]]:
    """A model with five permissions, in the order of the projects."""
    model = histories.callable_model(api)
    projects = [api.store.tenants.create_project("local", f"shared-{n}") for n in range(5)]
    grant(client, model, *projects)
    return model, projects


def test_the_sdk_pages_to_the_end_in_either_order(
    client: OpenAI, shared: tuple[TunedModel, list[Project]]
) -> None:
    model, projects = shared
    ids = [project.id for project in projects]
    for limit in (1, 2, 5, 10):
        pages = {
            order: [one.project_id for one in listed(client, model, limit=limit, order=order)]
            for order in ("ascending", "descending")
        }
        assert pages == {"ascending": ids, "descending": ids[::-1]}
    assert [one.project_id for one in listed(client, model)] == ids[::-1]


def test_a_list_of_one_project_has_its_permission_alone(
    api: LiveApi, client: OpenAI, shared: tuple[TunedModel, list[Project]], research: Project
) -> None:
    model, projects = shared
    foreign = api.store.tenants.create_project("elsewhere", "default")
    (one,) = listed(client, model, project_id=projects[2].id)
    assert one.project_id == projects[2].id
    newest = listed(client, model)[0]
    assert listed(client, model, project_id=projects[2].id, after=newest.id) == [one]
    for none in (research.id, foreign.id, "", "x"):
        assert listed(client, model, project_id=none) == []


def test_the_deprecated_retrieve_is_the_same_list(
    client: OpenAI, shared: tuple[TunedModel, list[Project]]
) -> None:
    model, _ = shared
    permissions = client.fine_tuning.checkpoints.permissions
    with pytest.warns(DeprecationWarning, match="paginated list"):
        page = permissions.retrieve(model.name, limit=2)
    ids = [one.id for one in page.data]
    assert ids == [one.id for one in listed(client, model)[:2]]
    assert (page.first_id, page.last_id, page.has_more) == (ids[0], ids[1], True)


def test_an_empty_list_has_no_ends(http: httpx2.Client, model: TunedModel) -> None:
    assert http.get(path_of(model.name)).json() == {
        "object": "list",
        "data": [],
        "has_more": False,
        "first_id": None,
        "last_id": None,
    }


def test_a_permission_is_deleted_once_and_by_its_own_model_s_name(
    api: LiveApi, client: OpenAI, model: TunedModel, research: Project
) -> None:
    other = histories.callable_model(api)
    (permission,) = grant(client, model, research)
    for name, id in ((other, permission.id), (model, "cp_none"), (model, research.id)):
        with pytest.raises(openai.NotFoundError) as caught:
            withdraw(client, name, id)
        assert caught.value.body == {
            "message": f"No such Permission object: {id}",
            "type": "invalid_request_error",
            "param": "permission_id",
            "code": "permission_not_found",
        }
    assert withdraw(client, model, permission.id).deleted
    with pytest.raises(openai.NotFoundError):
        withdraw(client, model, permission.id)


@pytest.mark.parametrize(
    "name",
    [
        "ft:tiny:local:custom_suffix:abcdEFGH:ckpt-step-200",
        "curie:ft-local-2023-04-18-09-48-38",
        "ada:ft-local:custom-model-name-2022-02-15-04-21-04",
        "Qwen/Qwen3-0.6B:ft-local-2023-04-18-09-48-38",
        "ft:a/permissions/b:local::12345678",
    ],
)
def test_names_of_all_eras_come_raw_or_escaped(
    api: LiveApi, http: httpx2.Client, research: Project, name: str
) -> None:
    histories.callable_model(api, name)
    for spelled in (name, quote(name, safe=""), quote(name, safe=":")):
        granted = http.post(path_of(spelled), json={"project_ids": [research.id]})
        assert granted.status_code == 200
        (permission,) = http.get(path_of(spelled)).json()["data"]
        assert granted.json()["data"] == [permission]
        deleted = http.delete(f"{path_of(spelled)}/{permission['id']}")
        assert (deleted.status_code, deleted.json()["id"]) == (200, permission["id"])


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("GET", "{model}", None),
        ("POST", "{model}", {"project_ids": ["proj_x"]}),
        ("DELETE", "{model}/cp_none", None),
        ("GET", "none", None),
        ("GET", "tiny", None),
        ("GET", "{model}?limit=0", None),
        ("POST", "{model}", {"project": 1}),
        ("POST", "{model}", None),
    ],
)
def test_an_ordinary_key_may_not_and_learns_nothing(
    http: httpx2.Client, user: OpenAI, model: TunedModel, method: str, path: str, body: Any
) -> None:
    """Not even of the owner's project; the refusal comes before any look at the request."""
    name, _, rest = path.format(model=quote(model.name)).partition("/")
    name, _, query = name.partition("?")
    url = path_of(name) + ("/" + rest if rest else "") + ("?" + query if query else "")
    headers = {"authorization": f"Bearer {user.api_key}"}
    answer = http.request(method, url, json=body, headers=headers)
    assert answer.status_code == 403
    assert answer.json()["error"] == {
        "message": "You have insufficient permissions for this operation: it takes an admin key of "
        "your organization. The operator of this service can make one: `tunesmith keys create "
        "--admin`.",
        "type": "invalid_request_error",
        "param": None,
        "code": "insufficient_permissions",
    }


@pytest.mark.parametrize(
    ("body", "message", "param", "code"),
    [
        (
            {},
            "Missing required parameter: 'project_ids'.",
            "project_ids",
            "missing_required_parameter",
        ),
        (
            {"project_ids": None},
            "Invalid type for 'project_ids': expected an array, but got null instead.",
            "project_ids",
            "invalid_type",
        ),
        (
            {"project_ids": "proj_a"},
            "Invalid type for 'project_ids': expected an array, but got a string instead.",
            "project_ids",
            "invalid_type",
        ),
        (
            {"project_ids": {"a": "b"}},
            "Invalid type for 'project_ids': expected an array, but got an object instead.",
            "project_ids",
            "invalid_type",
        ),
        (
            {"project_ids": []},
            "Invalid 'project_ids': array too short. Expected an array with minimum length 1, "
            "but got an empty array instead.",
            "project_ids",
            "empty_array",
        ),
        (
            {"project_ids": ["a"] * 101},
            "Invalid 'project_ids': array too long. Expected an array with maximum length 100, "
            "but got an array with length 101 instead.",
            "project_ids",
            "array_above_max_length",
        ),
        (
            {"project_ids": ["proj_a", 5]},
            "Invalid type for 'project_ids[1]': expected a string, but got an integer instead.",
            "project_ids[1]",
            "invalid_type",
        ),
        (
            {"project_ids": [None]},
            "Invalid type for 'project_ids[0]': expected a string, but got null instead.",
            "project_ids[0]",
            "invalid_type",
        ),
        (
            {"project_ids": [""]},
            "Invalid 'project_ids[0]': string too short. Expected a string with minimum length 1, "
            "but got an empty string instead.",
            "project_ids[0]",
            "empty_string",
        ),
        (
            {"project_ids": ["p" * 65]},
            "Invalid 'project_ids[0]': string too long. Expected a string with maximum length 64, "
            "but got a string with length 65 instead.",
            "project_ids[0]",
            "string_above_max_length",
        ),
        (
            {"project_ids": ["proj_a"], "role": "user"},
            "Unknown parameter: 'role'.",
            "role",
            "unknown_parameter",
        ),
    ],
)
def test_a_grant_that_can_not_be(
    http: httpx2.Client,
    model: TunedModel,
    body: Any,
    message: str,
    param: str,
    code: str,
) -> None:
    answer = http.post(path_of(model.name), json=body)
    assert answer.status_code == 400
    assert answer.json()["error"] == {
        "message": message,
        "type": "invalid_request_error",
        "param": param,
        "code": code,
    }


@pytest.mark.parametrize(
    "body", [b"", b"{", b"[]", b"null", b"\xff", b'{"project_ids": ["a"], "project_ids": ["b"]}']
)
def test_a_grant_that_is_no_object(http: httpx2.Client, model: TunedModel, body: bytes) -> None:
    assert http.post(path_of(model.name), content=body).status_code == 400


@pytest.mark.parametrize(
    ("query", "param"),
    [
        ("limit=0", "limit"),
        ("limit=-1", "limit"),
        ("limit=10001", "limit"),
        ("limit=ten", "limit"),
        ("limit=", "limit"),
        ("order=desc", "order"),
        ("order=", "order"),
        ("after=cp_none", "after"),
        ("after=", "after"),
        ("after=%00", "after"),
    ],
)
def test_a_query_that_can_not_be(
    http: httpx2.Client, model: TunedModel, query: str, param: str
) -> None:
    answer = http.get(f"{path_of(model.name)}?{query}")
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, param)


@pytest.mark.parametrize(
    ("method", "path", "status", "param"),
    [
        ("GET", path_of("ft:tiny:local::00000000"), 404, "model"),
        ("POST", path_of("ft:tiny:local::00000000"), 404, "model"),
        ("DELETE", path_of("ft:tiny:local::00000000") + "/cp_none", 404, "model"),
        ("GET", path_of("%00"), 404, "model"),
        ("GET", path_of("x'%20OR%201=1"), 404, "model"),
        ("GET", path_of("a" * 4000), 404, "model"),
        ("GET", path_of("tiny"), 400, "fine_tuned_model_checkpoint"),
        ("POST", path_of("gpt-4o-mini"), 400, "fine_tuned_model_checkpoint"),
        ("DELETE", path_of("tiny") + "/cp_none", 400, "fine_tuned_model_checkpoint"),
        ("GET", path_of(""), 404, None),
        ("GET", CHECKPOINTS, 404, None),
        ("GET", f"{CHECKPOINTS}/x", 404, None),
        ("GET", path_of("x") + "/", 404, None),
        ("GET", path_of("x") + "/cp_none", 405, None),
        ("PUT", path_of("x"), 405, None),
        ("DELETE", path_of("x"), 405, None),
    ],
)
def test_paths_that_name_no_tuned_model(
    http: httpx2.Client, method: str, path: str, status: int, param: str | None
) -> None:
    body = {"project_ids": ["proj_x"]} if method == "POST" else None
    answer = http.request(method, path, json=body)
    assert (answer.status_code, answer.json()["error"]["param"]) == (status, param)


def test_grants_and_withdrawals_at_once_end_in_one_or_the_other(
    http: httpx2.Client, api: LiveApi, research: Project, sales: Project
) -> None:
    """Nobody waits for ever or fails, and no permission is there twice."""
    model = histories.callable_model(api)
    ids = [research.id, sales.id]

    def turn(number: int) -> set[int]:
        granted = http.post(path_of(model.name), json={"project_ids": ids})
        statuses = {granted.status_code}
        if number % 2:
            id = granted.json()["data"][0]["id"]
            statuses.add(http.delete(f"{path_of(model.name)}/{id}").status_code)
        return statuses

    with ThreadPoolExecutor(8) as pool:
        statuses = set().union(*pool.map(turn, range(40)))
    assert statuses <= {200, 404}
    granted = http.get(path_of(model.name)).json()["data"]
    assert sorted(one["project_id"] for one in granted) in (sorted(ids), [sales.id])


def test_a_model_deleted_while_it_is_granted_leaves_no_permission(
    http: httpx2.Client, api: LiveApi, research: Project
) -> None:
    for _ in range(5):
        model = histories.callable_model(api)

        def turn(number: int, name: str = model.name) -> int:
            if number == 3:
                return http.delete(f"/v1/models/{name}").status_code
            body = {"project_ids": [research.id]}
            return http.post(path_of(name), json=body).status_code

        with ThreadPoolExecutor(8) as pool:
            assert set(pool.map(turn, range(8))) <= {200, 404}
        assert api.store.permissions.page(model.name, limit=1).items == ()
