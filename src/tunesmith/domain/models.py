"""Base models, tuned models, and their names (behaviour reference, section 13)."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import NamedTuple

from tunesmith.domain import errors
from tunesmith.domain.examples import SUPERVISED_FORMATS, Format
from tunesmith.domain.tenancy import Scope

MAX_SUFFIX_LENGTH = 64  # of jobs
MAX_FINE_TUNE_SUFFIX_LENGTH = 40  # of the first era


class Mode(StrEnum):
    """The two ways to talk to a model: whole conversations, or a text that it goes on with."""

    CHAT = "chat"
    COMPLETIONS = "completions"


EVERY_MODE = (Mode.CHAT, Mode.COMPLETIONS)


@dataclass(frozen=True)
class HubRepository:
    """A model of a hub, at one of its branches, tags or commits."""

    id: str  # organisation/name
    revision: str


@dataclass(frozen=True)
class RemoteEngine:
    """An engine that is not ours to start, and that speaks vLLM's HTTP."""

    url: str
    model: str = "base"  # what it calls the bare base model
    adapters_path: str | None = None  # where it sees our adapters; None: where we do
    api_key_env: str | None = None  # the environment variable with its key, if it asks for one


class EnginePlace(NamedTuple):
    """Which engine answers: a remote one, or our own for the weights in `source`."""

    source: str
    remote: RemoteEngine | None = None


@dataclass(frozen=True)
class Prices:
    """What a model's tokens cost, in USD per million of them."""

    training: float = 0.0
    input: float = 0.0
    cached_input: float = 0.0
    output: float = 0.0


@dataclass(frozen=True)
class BaseModel:
    """A catalogue entry: a name that jobs and chats can ask for, and where its weights are.

    Several entries may share one `source`; such models share one engine, unless one names another.
    """

    name: str
    source: str  # a folder; one that comes from a hub may not be there yet
    hub: HubRepository | None = None  # what `source` is downloaded from when it is first needed
    aliases: tuple[str, ...] = ()
    training_context: int | None = None  # tokens per example; None: what the weights allow
    inference_context: int | None = None  # prompt and completion together; None: the same
    routes: tuple[Mode, ...] = EVERY_MODE  # that answer for it and for what is tuned from it
    formats: tuple[Format, ...] = SUPERVISED_FORMATS  # of training files that it takes
    prices: Prices = Prices()
    engine: RemoteEngine | None = None  # None: one of our own

    @property
    def engine_place(self) -> EnginePlace:
        return EnginePlace(self.source, self.engine)

    @property
    def takes_preferences(self) -> bool:
        """Whether the method `dpo` can train it, which compares answers in conversations."""
        return Format.CHAT in self.formats

    def training_limit(self, max_positions: int) -> int:
        """Tokens of an example: what the entry says, within what the weights allow."""
        return min(self.training_context or max_positions, max_positions)

    def inference_limit(self, max_positions: int) -> int:
        """Tokens of prompt and completion together, likewise."""
        return min(self.inference_context or max_positions, max_positions)


@dataclass(frozen=True)
class TunedModel:
    """What a job made: a name in front of an adapter."""

    name: str
    organization_id: str
    project_id: str
    base_model: str  # catalogue name
    adapter_id: str
    job_id: str
    created_at: datetime

    def is_of(self, scope: Scope) -> bool:
        """Whether it is the scope's own: others may only use it, if they have a permission."""
        return scope == Scope(self.organization_id, self.project_id)


class Catalog:
    """The base models that this installation knows, by name and by alias."""

    def __init__(self, entries: Iterable[BaseModel]) -> None:
        self.entries: Mapping[str, BaseModel] = {entry.name: entry for entry in entries}
        self._aliases = {
            alias: entry.name for entry in self.entries.values() for alias in entry.aliases
        }

    def find(self, name: str) -> BaseModel | None:
        """The entry called `name`, or that `name` is an alias of."""
        return self.entries.get(self._aliases.get(name, name))

    def of_source(self, source: str) -> BaseModel | None:
        """One of the entries whose weights are in the folder `source`."""
        return next((entry for entry in self.entries.values() if entry.source == source), None)

    def sources(self) -> tuple[str, ...]:
        """Each distinct source once, in the catalogue's order."""
        return tuple(dict.fromkeys(entry.source for entry in self.entries.values()))

    def engine_places(self) -> tuple[EnginePlace, ...]:
        """Each distinct one once, in the catalogue's order."""
        return tuple(dict.fromkeys(entry.engine_place for entry in self.entries.values()))


def clean_suffix(suffix: str) -> str:
    """`suffix` as it appears in a model name: other characters than letters, digits, `-` and
    `_` become `-`.

    Raises InvalidRequest if it is empty, too long, or holds a `:`.
    """
    if not 1 <= len(suffix) <= MAX_SUFFIX_LENGTH:
        bound = "at least 1 character" if not suffix else f"at most {MAX_SUFFIX_LENGTH} characters"
        raise errors.InvalidRequest(
            f"invalid suffix: {suffix}, ensure this value has {bound}", param="suffix"
        )
    if ":" in suffix:
        raise errors.InvalidRequest(
            f"invalid suffix: {suffix}, ':' separates the parts of a model name and can't be used",
            param="suffix",
        )
    return re.sub(r"[^A-Za-z0-9_-]", "-", suffix)


def tuned_name(base_model: str, organization: str, suffix: str | None, adapter_id: str) -> str:
    """`ft:{base}:{organisation}:{suffix}:{id}`; without a suffix two colons meet."""
    return f"ft:{base_model}:{organization}:{clean_suffix(suffix) if suffix else ''}:{adapter_id}"


def fine_tune_name(
    base_model: str, organization: str, suffix: str | None, made_at: datetime
) -> str:
    """The first era's `{base}:ft-{organisation}:{suffix}-{YYYY-MM-DD-HH-MM-SS}`, in UTC; without a
    suffix the time follows the organisation."""
    owner = f"{organization}:{clean_suffix(suffix)}" if suffix else organization
    return f"{base_model}:ft-{owner}-{made_at.astimezone(UTC):%Y-%m-%d-%H-%M-%S}"


def checkpoint_name(model_name: str, step: int | None) -> str:
    """The name of the checkpoint at `step` of a job whose model would be called `model_name`;
    without a step, that of the model."""
    return model_name if step is None else f"{model_name}:ckpt-step-{step}"
