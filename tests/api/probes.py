"""Sends the requests of the conformance table's rows, and looks at what they do."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import httpx2

from tests.api.world import Things, World
from tests.contract.conformance.paths import removed
from tests.contract.conformance.rows import Conformance
from tests.contract.description import Operation, Place

Json = dict[str, Any]
KEYS_OF_ITS_OWN = ("id", "created", "created_at", "request_id")  # of each answer


@dataclass(frozen=True)
class Probe:
    """A request of one operation. `fields` are over the operation's own."""

    world: World
    operation: Operation
    conformance: Conformance
    fields: Json
    things: Things = field(hash=False)

    @cached_property
    def sent(self) -> Json:
        """With things in place of braces; path parameters as well."""
        asked = {**self.conformance.path, **self.conformance.base, **self.fields}
        filled: Json = self.things.filled(asked)
        return filled

    @cached_property
    def answer(self) -> httpx2.Response:
        return send(self.world, self.operation, self.sent)

    @cached_property
    def reply(self) -> Any:
        assert self.answer.status_code == 200, self.answer.text
        if not self.answer.headers["content-type"].startswith("text/event-stream"):
            return self.answer.json()
        events = self.answer.text.split("\n\n")[:-2]
        data = [event.removeprefix("data: ") for event in events if event.startswith("data: ")]
        return [json.loads(each) for each in data]

    @property
    def error(self) -> Json:
        assert self.answer.status_code >= 400, self.answer.text
        found: Json = self.answer.json()["error"]
        return found

    @property
    def text(self) -> str:
        choice = self.reply["choices"][0]
        return str(choice["text"] if "text" in choice else choice["message"]["content"])

    def without(self, *names: str) -> "Probe":
        fields = {name: value for name, value in self.fields.items() if name not in names}
        return Probe(self.world, self.operation, self.conformance, fields, self.things)

    def without_fields(self, paths: Sequence[str]) -> "Probe":
        fields = self.fields
        for path in paths:
            fields = removed(fields, path)
        return Probe(self.world, self.operation, self.conformance, fields, self.things)

    def with_(self, **changes: Any) -> "Probe":
        fields = {**self.fields, **changes}
        return Probe(self.world, self.operation, self.conformance, fields, self.things)

    def is_refused(self, param: str | None, **changes: Any) -> bool:
        fields = {**self.fields, **changes}
        other = Probe(self.world, self.operation, self.conformance, fields, Things(self.world))
        return other.answer.status_code == 400 and other.error["param"] == param

    def get(self, path: str, **query: Any) -> Any:
        return self.world.get(path, **query)

    def post(self, path: str, **body: Any) -> Any:
        return self.world.post(path, **body)

    def post_form(self, path: str, **parts: str) -> Any:
        return self.world.post_form(path, **parts)

    @property
    def outcome(self) -> Any:
        """The answer without what every answer has of its own, be it that it came second: then
        its prompt is in the cache."""
        reply = {name: value for name, value in self.reply.items() if name not in KEYS_OF_ITS_OWN}
        if "usage" in reply:
            reply["usage"] = {**reply["usage"], "prompt_tokens_details": None}
        return reply


def send(world: World, operation: Operation, sent: Json) -> httpx2.Response:
    """The fields where the operation has them: in the path, the query, a form or JSON. Those that
    it doesn't have go into the body, too."""
    places = {item.path: item.place for item in operation.fields}
    in_path = {name for name in sent if places.get(name) is Place.PATH}
    in_query = {name for name in sent if places.get(name) is Place.QUERY}
    path = operation.path.format(**{name: sent[name] for name in in_path})
    body = {name: value for name, value in sent.items() if name not in in_path | in_query}
    query = _flat({name: sent[name] for name in in_query})
    content: Json = {}
    if operation.content_type == "multipart/form-data":
        content["files"] = _parts(body)
    elif operation.content_type is not None:
        content["json"] = body
    return world.http.request(operation.method, f"/v1{path}", params=query, **content)


def _parts(body: Json) -> dict[str, tuple[str | None, str]]:
    """Of a form. Only files have a filename."""
    return {
        name: ("a.jsonl" if name in ("file", "data") else None, text)
        for name, text in _flat(body).items()
    }


def _flat(fields: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    """`expires_after[seconds]`, as the SDKs write what is nested in forms and queries."""
    flat: dict[str, str] = {}
    for name, value in fields.items():
        spelled = f"{prefix}[{name}]" if prefix else name
        if isinstance(value, Mapping):
            flat |= _flat(value, spelled)
        else:
            flat[spelled] = "null" if value is None else str(value)
    return flat
