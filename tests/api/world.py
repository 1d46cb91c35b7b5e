"""Things to ask about, for tests that go through every operation: files, jobs in any state, models.

    things = Things(world)
    things.filled({"after": "{file}"})       # → {"after": "file-abc…"}

A text in braces is made when it is asked for, and is the same thing from then on; another `Things`
makes its own. All belong to one project, which nobody else uses.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import httpx2

from tests.api import histories
from tests.api.conftest import IDS, LiveApi

ORGANIZATION = "conformance"
JOB = {"model": "gpt-4o-mini"}
HELLO = [{"role": "user", "content": "hello"}]


@dataclass(frozen=True)
class World:
    api: LiveApi  # whose caller is the project's
    http: httpx2.Client  # with an admin key of it

    @staticmethod
    def of(api: LiveApi, key: str, http: httpx2.Client) -> "World":
        caller = api.store.tenants.find_caller(key)
        assert caller is not None
        return World(replace(api, caller=caller), http)

    def post(self, path: str, **body: Any) -> Any:
        answer = self.http.post(f"/v1{path}", json=body)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def post_form(self, path: str, **parts: str) -> Any:
        answer = self.http.post(f"/v1{path}", files=parts)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def get(self, path: str, **query: Any) -> Any:
        answer = self.http.get(f"/v1{path}", params=query)
        assert answer.status_code == 200, answer.text
        return answer.json()


class Things:
    def __init__(self, world: World) -> None:
        self._world = world
        self._made: dict[str, str] = {}

    def filled(self, value: Any) -> Any:
        """`value` with things in place of texts in braces."""
        if isinstance(value, Mapping):
            return {key: self.filled(item) for key, item in value.items()}
        if isinstance(value, list | tuple):
            return [self.filled(item) for item in value]
        found = re.fullmatch(r"\{([a-z ]+)\}", value) if isinstance(value, str) else None
        return self[found[1]] if found else value

    def __getitem__(self, name: str) -> str:
        if name not in self._made:
            self._made[name] = MAKERS[name](self, self._world)
        return self._made[name]


def _file(_things: Things, world: World) -> str:
    return histories.upload(world.api)


def _job(things: Things, world: World) -> str:
    created = world.post("/fine_tuning/jobs", **JOB, training_file=things["file"])
    return str(created["id"])


def _running_job(things: Things, world: World) -> str:
    job_id = things["job"]
    histories.started(world.api, job_id)
    return job_id


def _paused_job(things: Things, world: World) -> str:
    job_id = things["running job"]
    world.post(f"/fine_tuning/jobs/{job_id}/pause")
    return job_id


def _succeeded_job(things: Things, world: World) -> str:
    job_id = things["job"]
    histories.succeeded(world.api, job_id, [IDS.adapter() for _ in range(3)])
    return job_id


def _newest(what: str) -> Callable[[Things, World], str]:
    def newest(things: Things, world: World) -> str:
        listed = world.get(f"/fine_tuning/jobs/{things['succeeded job']}/{what}", limit=1)
        return str(listed["data"][0]["id"])

    return newest


def _model(_things: Things, world: World) -> str:
    adapter_id = IDS.adapter()
    return histories.callable_model(world.api, f"ft:tiny:{ORGANIZATION}::{adapter_id}").name


def _project(_things: Things, world: World) -> str:
    return world.api.store.tenants.create_project(ORGANIZATION, IDS.job()).id


def _permission(things: Things, world: World) -> str:
    path = f"/fine_tuning/checkpoints/{things['model']}/permissions"
    return str(world.post(path, project_ids=[things["project"]])["data"][0]["id"])


def _lent_model(things: Things, world: World) -> str:
    """To three projects."""
    for _ in range(2):
        other = Things(world)
        path = f"/fine_tuning/checkpoints/{things['model']}/permissions"
        world.post(path, project_ids=[other["project"]])
    assert things["permission"]
    return things["model"]


def _empty_upload(_things: Things, world: World) -> str:
    upload = {"filename": "a.jsonl", "purpose": "fine-tune", "bytes": 3, "mime_type": "text/jsonl"}
    return str(world.post("/uploads", **upload)["id"])


def _part(things: Things, world: World) -> str:
    parts = f"/uploads/{things['empty upload']}/parts"
    return str(world.post_form(parts, data="{}\n")["id"])


def _upload(things: Things, _world: World) -> str:
    assert things["part"]
    return things["empty upload"]


def _completion(_things: Things, world: World) -> str:
    chat = {"model": "tiny", "messages": HELLO * 3, "max_tokens": 1, "store": True}
    return str(world.post("/chat/completions", **chat)["id"])


def _message(things: Things, world: World) -> str:
    listed = world.get(f"/chat/completions/{things['completion']}/messages", limit=1)
    return str(listed["data"][0]["id"])


MAKERS: Mapping[str, Callable[[Things, World], str]] = {
    "file": _file,
    "job": _job,
    "running job": _running_job,
    "paused job": _paused_job,
    "succeeded job": _succeeded_job,
    "event": _newest("events"),
    "checkpoint": _newest("checkpoints"),
    "model": _model,
    "lent model": _lent_model,
    "project": _project,
    "permission": _permission,
    "empty upload": _empty_upload,
    "part": _part,
    "upload": _upload,
    "completion": _completion,
    "message": _message,
}
