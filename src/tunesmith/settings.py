"""What the operator chose: one frozen class, read once.

A value comes from the first of: a command-line flag, the environment (`TUNESMITH_NAME`), the
file `<data-dir>/settings.toml`, the default here. Unknown names are refused, so that a typing
mistake is an error and not a default. `tunesmith settings` prints each value and its origin.
"""

import os
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, get_args

from tunesmith.domain.errors import InvalidRequest

ENV_PREFIX = "TUNESMITH_"
SETTINGS_FILE = "settings.toml"


class BadSetting(InvalidRequest):
    """A setting has an unknown name or a value that can't be used."""


def _setting(
    default: Any,  # Any, twice: dataclasses.field types itself so
    help: str,
    *,
    minimum: float | None = None,
    maximum: float = float("inf"),
    choices: tuple[str, ...] = (),
) -> Any:
    bounds = {"minimum": minimum, "maximum": maximum, "choices": choices}
    return field(default=default, metadata={"help": help, **bounds})


@dataclass(frozen=True)
class Settings:
    data_dir: Path = _setting(Path("tunesmith-data"), "Folder that holds everything we keep.")
    host: str = _setting("127.0.0.1", "Address that the API listens on.")
    port: int = _setting(8000, "Port that the API listens on.", minimum=0, maximum=65_535)
    api_key: str | None = _setting(
        None, "First admin key. Unset: made on the first start and kept in DATA_DIR/api-key."
    )
    org_name: str | None = _setting(
        None,
        "Name of the first organisation; a part of `ft:` names. Unset: it keeps the name it has, "
        "at first `local`.",
    )
    default_model: str = _setting(
        "tunesmith-tiny", "Base model whose engine starts with the service."
    )
    device: str = _setting("auto", "Where models run: auto, cpu, cuda, cuda:1 …")
    num_threads: int | None = _setting(
        None, "CPU threads of the engine and of the trainer, each. Unset: torch decides.", minimum=1
    )
    max_upload_bytes: int = _setting(
        512 * 1024**2, "Largest file that can be uploaded in one request.", minimum=1
    )
    max_upload_total_bytes: int = _setting(
        8 * 1024**3, "Largest file that can be uploaded in parts.", minimum=1
    )
    max_upload_part_bytes: int = _setting(
        64 * 1024**2, "Largest part of a file that is uploaded in parts.", minimum=1
    )
    max_body_bytes: int = _setting(32 * 1024**2, "Largest JSON body of a request.", minimum=1024)
    stored_completion_days: int = _setting(
        30,
        "Days that a chat completion is kept which was created with `store`.",
        minimum=1,
        maximum=36_500,
    )
    stored_completion_bytes: int = _setting(
        1024**3,
        "Bytes that a project's stored chat completions take at most; beyond, its oldest go.",
        minimum=1,
    )
    max_connections: int = _setting(
        1000, "Open connections of clients; beyond, the longest idle one is closed.", minimum=1
    )
    head_timeout_s: float = _setting(
        20.0, "Seconds in which a request's line and headers must arrive.", minimum=0.1
    )
    stall_timeout_s: float = _setting(
        60.0,
        "Seconds without a byte after which a request's body or an answer's reader is given up.",
        minimum=0.1,
    )
    keep_alive_s: float = _setting(
        30.0, "Seconds that a connection may be idle between two requests.", minimum=0
    )
    requests_per_minute: int | None = _setting(
        None,
        "Requests a minute of a key that has no limit of its own. Unset: no limit.",
        minimum=1,
    )
    tokens_per_minute: int | None = _setting(
        None,
        "Tokens a minute of a key that has no limit of its own. Unset: no limit.",
        minimum=1,
    )
    max_active_jobs: int | None = _setting(
        None,
        "Jobs of an organisation on one base model that may wait or run. Unset: no limit.",
        minimum=1,
    )
    result_file_format: str = _setting(
        "csv",
        "Content of result files: csv, or base64 as the hosted service sends since 2024. "
        "Those of the first API, `/v1/fine-tunes`, are always csv.",
        choices=("csv", "base64"),
    )
    reported_lines: int = _setting(
        20, "Bad lines of a training file that are reported one by one.", minimum=1
    )
    report_timeout_s: float = _setting(
        1800.0, "Seconds after which a report on a training file is given up.", minimum=1
    )
    lease_s: float = _setting(
        15.0,
        "Seconds without a sign of life after which a worker's job goes to another.",
        minimum=0.5,
    )
    snapshot_interval_s: float = _setting(
        60.0,
        "Seconds between snapshots of a training run: the most that a crash can cost.",
        minimum=0.1,
    )
    idle_unload_s: float = _setting(
        600.0, "Seconds without a job after which the trainer gives its memory back.", minimum=0
    )
    engine_token: str | None = _setting(
        None, "Secret between API and engine. Unset: `serve` makes one at each start."
    )
    engine_max_sequences: int = _setting(
        64, "Completions that an engine works on at once.", minimum=1
    )
    engine_cache_tokens: int = _setting(
        65_536,
        "Tokens that an engine's key-value cache holds, of all sequences together.",
        minimum=1,
    )
    engine_step_tokens: int = _setting(
        1024,
        "Tokens that an engine computes in one step; long prompts are cut into such chunks.",
        minimum=1,
    )
    engine_adapter_slots: int = _setting(
        32, "Adapters that an engine holds ready at once.", minimum=1
    )
    engine_wait_s: float = _setting(
        120.0,
        "Seconds that a request waits for an engine that is starting, or for a base model that is "
        "being downloaded.",
        minimum=0,
    )


@dataclass(frozen=True)
class Origin:
    """Where a value came from: "flag", "environment", "file" or "default"."""

    value: Any
    source: str


def read_settings(
    flags: Mapping[str, Any], environ: Mapping[str, str] = os.environ
) -> tuple[Settings, Mapping[str, Origin]]:
    """The settings in force and where each came from; flags that are None don't count.

    Raises BadSetting for unknown names and for values of the wrong type.
    """
    given = {name: value for name, value in flags.items() if value is not None}
    from_env = _from_environment(environ)
    data_dir = Path(given.get("data_dir") or from_env.get("data_dir") or Settings.data_dir)
    from_file = _from_file(data_dir / SETTINGS_FILE)
    origins = {}
    for item in fields(Settings):
        for source, values in (("flag", given), ("environment", from_env), ("file", from_file)):
            if item.name in values:
                origins[item.name] = Origin(_convert(item.name, values[item.name]), source)
                break
        else:
            origins[item.name] = Origin(item.default, "default")
    return Settings(**{name: origin.value for name, origin in origins.items()}), origins


def help_text(name: str) -> str:
    """The sentence that explains a setting."""
    return str(Settings.__dataclass_fields__[name].metadata["help"])


def _from_environment(environ: Mapping[str, str]) -> dict[str, Any]:
    names = {name for name in environ if name.startswith(ENV_PREFIX)}
    values = {name.removeprefix(ENV_PREFIX).lower(): environ[name] for name in names}
    _refuse_unknown(values, "environment variable", lambda name: ENV_PREFIX + name.upper())
    return {name: value for name, value in values.items() if value != ""}


def _from_file(path: Path) -> dict[str, Any]:
    if not path.is_file():
        return {}
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise BadSetting(f"{path} can't be read: {error}") from error
    _refuse_unknown(values, f"setting in {path}", str)
    if "data_dir" in values:
        raise BadSetting(f"{path} is inside of the data folder and can't move it: use --data-dir.")
    return values


def _refuse_unknown(values: Mapping[str, Any], kind: str, spelled: Any) -> None:
    known = {item.name for item in fields(Settings)}
    for name in values:
        if name not in known:
            raise BadSetting(
                f"Unknown {kind}: {spelled(name)}. `tunesmith settings` lists those that exist."
            )


def _convert(name: str, value: Any) -> Any:
    """`value` as the setting's own type and within its bounds. Raises BadSetting."""
    converted = _typed(name, value)
    bounds = Settings.__dataclass_fields__[name].metadata
    minimum, maximum, choices = bounds["minimum"], bounds["maximum"], bounds["choices"]
    if minimum is not None and not minimum <= converted <= maximum:
        upper = "" if maximum == float("inf") else f" and at most {maximum}"
        raise BadSetting(f"{name} must be at least {minimum}{upper}, not {converted}.", param=name)
    if choices and converted not in choices:
        raise BadSetting(f"{name} must be {' or '.join(choices)}, not {converted!r}.", param=name)
    return converted


def _typed(name: str, value: Any) -> Any:
    """`value` (text from the environment, or a TOML value) as the setting's own type."""
    declared = Settings.__dataclass_fields__[name].type
    kinds = get_args(declared) if isinstance(declared, UnionType) else (declared,)
    kind = next(candidate for candidate in kinds if candidate is not NoneType)
    if isinstance(value, kind) and not isinstance(value, bool):
        return value
    if isinstance(value, str) or (kind in (float, Path) and isinstance(value, int)):
        try:
            return kind(value)
        except ValueError:
            pass
    raise BadSetting(f"{name} must be of type {kind.__name__}, not {value!r}.", param=name)
