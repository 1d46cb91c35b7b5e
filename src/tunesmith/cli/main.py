"""The `tunesmith` command.

Results go to stdout, everything else to stderr. Commands import what they need when they run:
`--help` and the supervisor must not pay for a web framework, nor the API for torch.
"""

import json
import logging
import sys
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Annotated, Any, ParamSpec, TypeVar

import typer

from tunesmith import __version__
from tunesmith.domain.errors import TunesmithError
from tunesmith.settings import Settings, help_text, read_settings

app = typer.Typer(
    name="tunesmith",
    help="Self-hosted fine-tuning behind OpenAI's API: keep your code, change base_url.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
keys = typer.Typer(no_args_is_help=True, help="API keys: create, list, limit, revoke.")
app.add_typer(keys, name="keys")
projects = typer.Typer(no_args_is_help=True, help="Projects of organisations: create, list.")
app.add_typer(projects, name="projects")
models = typer.Typer(no_args_is_help=True, help="Base models: list, download.")
app.add_typer(models, name="models")


P = ParamSpec("P")
R = TypeVar("R")


def _option(name: str, *flags: str) -> Any:  # typer's own helper returns Any
    return typer.Option(
        *flags, help=help_text(name), show_default=str(getattr(Settings, name) or "unset")
    )


DataDir = Annotated[Path | None, _option("data_dir", "--data-dir")]
Host = Annotated[str | None, _option("host", "--host")]
Port = Annotated[int | None, _option("port", "--port")]
OrgName = Annotated[str | None, _option("org_name", "--org-name")]
Device = Annotated[str | None, _option("device", "--device")]
NumThreads = Annotated[int | None, _option("num_threads", "--num-threads")]
Lifeline = Annotated[int | None, typer.Option("--lifeline", hidden=True)]
Rpm = Annotated[
    str | None,
    typer.Option("--rpm", help="Requests per minute: a number, unlimited, or default."),
]
Tpm = Annotated[
    str | None, typer.Option("--tpm", help="Tokens per minute: a number, unlimited, or default.")
]
ListenFd = Annotated[int | None, typer.Option("--fd", hidden=True)]


LOOPBACK = ("127.0.0.1", "::1", "localhost")  # what only this machine can reach


def _calmly(command: Callable[P, R]) -> Callable[P, R]:
    """Errors that we have a sentence for are one line on stderr and exit code 1."""

    @wraps(command)
    def wrapped(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return command(*args, **kwargs)
        except TunesmithError as error:
            typer.echo(f"Error: {error.message}", err=True)
            raise typer.Exit(1) from error

    return wrapped


@app.command()
@_calmly
def serve(
    host: Host = None,
    port: Port = None,
    data_dir: DataDir = None,
    org_name: OrgName = None,
    device: Device = None,
    num_threads: NumThreads = None,
) -> None:
    """Run everything: API, engine and trainer. Ctrl-C stops all of it."""
    from tunesmith.cli import serve as serving

    flags = {
        "host": host,
        "port": port,
        "data_dir": data_dir,
        "org_name": org_name,
        "device": device,
        "num_threads": num_threads,
    }
    _log("supervisor")
    serving.serve(flags, read_settings(flags)[0])


@app.command()
@_calmly
def api(
    host: Host = None,
    port: Port = None,
    data_dir: DataDir = None,
    org_name: OrgName = None,
    engine: Annotated[
        list[str] | None,
        typer.Option(help="FOLDER=URL: where the engine of a base model's folder listens."),
    ] = None,
    fd: ListenFd = None,
    lifeline: Lifeline = None,
) -> None:
    """Run the API process alone."""
    from tunesmith import app as parts
    from tunesmith.cli import supervisor

    _begin_part("api", lifeline)
    settings, _ = read_settings(
        {"host": host, "port": port, "data_dir": data_dir, "org_name": org_name}
    )
    urls = dict(_engine_url(pair) for pair in engine or ())
    listener = _listener(fd, supervisor.listen, settings.host, settings.port)
    parts.serve_api(settings, listener, urls)


@app.command()
@_calmly
def engine(
    source: Annotated[
        str | None, typer.Option(help="Folder of the base model; unset: the default model's.")
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(help="Base model by its name in the catalogue, in place of --source."),
    ] = None,
    host: Annotated[
        str, typer.Option(help="Address that the engine listens on; keep it from users.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port that the engine listens on.")] = 8001,
    data_dir: DataDir = None,
    device: Device = None,
    num_threads: NumThreads = None,
    fd: ListenFd = None,
    lifeline: Lifeline = None,
) -> None:
    """Run an engine process alone: one base model and its adapters."""
    from tunesmith import app as parts
    from tunesmith.cli import supervisor

    _begin_part("engine", lifeline)
    if source is not None and model is not None:
        raise TunesmithError("--source and --model both name the base model; give one of them.")
    settings, _ = read_settings(
        {"data_dir": data_dir, "device": device, "num_threads": num_threads}
    )
    if settings.engine_token is None and host not in LOOPBACK:
        raise TunesmithError(
            f"An engine that listens on {host} can be reached by others, and does what it is told. "
            "Set a secret, TUNESMITH_ENGINE_TOKEN, which it then asks for."
        )
    parts.serve_engine(settings, _listener(fd, supervisor.listen, host, port), source, model)


@app.command()
@_calmly
def worker(
    data_dir: DataDir = None,
    device: Device = None,
    num_threads: NumThreads = None,
    lifeline: Lifeline = None,
) -> None:
    """Run a trainer process alone."""
    from tunesmith import app as parts

    _begin_part("worker", lifeline)
    settings, _ = read_settings(
        {"data_dir": data_dir, "device": device, "num_threads": num_threads}
    )
    parts.run_worker(settings)


@app.command()
@_calmly
def demo(
    port: Port = None,
    data_dir: DataDir = None,
    model: Annotated[str, typer.Option(help="Base model to tune.")] = "gpt-4o-mini",
) -> None:
    """Tune a model on the example data and talk to it, with progress shown on the way."""
    from tunesmith.cli import demo as demonstration

    settings, _ = read_settings({"port": port, "data_dir": data_dir})
    demonstration.run(settings, model)


@app.command()
@_calmly
def settings(
    data_dir: DataDir = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Print each setting, its value, and where the value came from."""
    _, origins = read_settings({"data_dir": data_dir})
    rows = {
        name: {"value": _shown(name, origin.value), "from": origin.source}
        for name, origin in origins.items()
    }
    if as_json:
        typer.echo(json.dumps(rows, indent=2))
        return
    for name, row in rows.items():
        typer.echo(f"{name:24} {row['value']!s:32} {row['from']}")


@app.command()
def version() -> None:
    """Print the version."""
    typer.echo(__version__)


@keys.command("create")
@_calmly
def keys_create(
    org: Annotated[str, typer.Option(help="Organisation; made if there is none of this name.")],
    project: Annotated[str, typer.Option(help="Project; made if there is none.")] = "default",
    admin: Annotated[bool, typer.Option("--admin", help="A key that may administer.")] = False,
    expires_in: Annotated[
        str | None,
        typer.Option(
            help="How long it is valid: 30d, 12h, 45m, 90s, or seconds.", show_default="for ever"
        ),
    ] = None,
    rpm: Rpm = None,
    tpm: Tpm = None,
    data_dir: DataDir = None,
) -> None:
    """Make a key and print it, alone, on stdout. It is shown only this once."""
    from tunesmith import app as parts
    from tunesmith.cli.durations import read_duration
    from tunesmith.cli.rates import read_limit
    from tunesmith.domain.tenancy import RateLimits

    limits = RateLimits(read_limit(rpm or "default"), read_limit(tpm or "default"))
    lifetime = None if expires_in is None else read_duration(expires_in)
    with parts.open_data(read_settings({"data_dir": data_dir})[0]) as store:
        typer.echo(store.tenants.create_key(org, project, admin, lifetime, limits))


@keys.command("list")
@_calmly
def keys_list(
    data_dir: DataDir = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """List the keys: id, first and last characters, organisation, project, state, limits."""
    from tunesmith import app as parts
    from tunesmith.cli.rates import limit_in_words

    now = parts.now()
    with parts.open_data(read_settings({"data_dir": data_dir})[0]) as store:
        rows = [
            {
                "id": listed.key.id,
                "key": listed.key.hint,
                "organization": listed.organization_name,
                "project": listed.project_name,
                "admin": listed.key.is_admin,
                "state": listed.key.state(now),
                "created_at": listed.key.created_at.isoformat(),
                "expires_at": listed.key.expires_at and listed.key.expires_at.isoformat(),
                "revoked_at": listed.key.revoked_at and listed.key.revoked_at.isoformat(),
                "requests_per_minute": limit_in_words(listed.key.requests_per_minute),
                "tokens_per_minute": limit_in_words(listed.key.tokens_per_minute),
            }
            for listed in store.tenants.list_keys()
        ]
    if as_json:
        typer.echo(json.dumps(rows, indent=2))
        return
    for row in rows:
        place = f"{row['organization']}/{row['project']}"
        notes = [str(row["state"])]
        if row["admin"]:
            notes.append("admin")
        if row["state"] == "active" and row["expires_at"]:
            notes.append(f"until {row['expires_at']}")
        for measure in ("requests_per_minute", "tokens_per_minute"):
            if row["state"] == "active" and row[measure] != "default":
                notes.append(f"{row[measure]} {measure.replace('_', ' ')}")
        typer.echo(f"{row['id']:22} {row['key']:22} {place:28} {', '.join(notes)}")


@keys.command("limits")
@_calmly
def keys_limits(
    key_id: Annotated[str, typer.Argument(help="The key's id, from `tunesmith keys list`.")],
    rpm: Rpm = None,
    tpm: Tpm = None,
    data_dir: DataDir = None,
) -> None:
    """Set what a key may use in a minute, from its next request on; print what it may now."""
    from tunesmith import app as parts
    from tunesmith.cli.rates import limit_in_words, read_limit
    from tunesmith.domain.tenancy import RateLimits

    with parts.open_data(read_settings({"data_dir": data_dir})[0]) as store:
        former = store.tenants.limits_of(key_id)
        if former is None:
            typer.echo(f"Error: there is no active key with the id {key_id}.", err=True)
            raise typer.Exit(1)
        limits = RateLimits(
            former.requests if rpm is None else read_limit(rpm),
            former.tokens if tpm is None else read_limit(tpm),
        )
        store.tenants.limit_key(key_id, limits)
    typer.echo(f"requests per minute: {limit_in_words(limits.requests)}")
    typer.echo(f"tokens per minute: {limit_in_words(limits.tokens)}")


@keys.command("revoke")
@_calmly
def keys_revoke(
    key_id: Annotated[str, typer.Argument(help="The key's id, from `tunesmith keys list`.")],
    data_dir: DataDir = None,
) -> None:
    """Revoke a key: from now on it opens nothing."""
    from tunesmith import app as parts

    with parts.open_data(read_settings({"data_dir": data_dir})[0]) as store:
        if not store.tenants.revoke_key(key_id):
            typer.echo(f"Error: there is no active key with the id {key_id}.", err=True)
            raise typer.Exit(1)
    typer.echo(key_id)


@projects.command("create")
@_calmly
def projects_create(
    name: Annotated[str, typer.Argument(help="The project's name.")],
    org: Annotated[str, typer.Option(help="Organisation; made if there is none of this name.")],
    data_dir: DataDir = None,
) -> None:
    """Make a project, if there is none of this name, and print its id, alone, on stdout."""
    from tunesmith import app as parts

    with parts.open_data(read_settings({"data_dir": data_dir})[0]) as store:
        typer.echo(store.tenants.create_project(org, name).id)


@projects.command("list")
@_calmly
def projects_list(
    data_dir: DataDir = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """List the projects: id, organisation, name."""
    from tunesmith import app as parts

    with parts.open_data(read_settings({"data_dir": data_dir})[0]) as store:
        rows = [
            {
                "id": listed.project.id,
                "organization": listed.organization_name,
                "organization_id": listed.project.organization_id,
                "name": listed.project.name,
                "created_at": listed.project.created_at.isoformat(),
            }
            for listed in store.tenants.list_projects()
        ]
    if as_json:
        typer.echo(json.dumps(rows, indent=2))
        return
    for row in rows:
        typer.echo(f"{row['id']:30} {row['organization']}/{row['name']}")


@models.command("list")
@_calmly
def models_list(
    data_dir: DataDir = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """List the base models: source, contexts in tokens, prices in USD per million tokens."""
    from tunesmith.cli.base_models import table_of

    rows = table_of(_catalog(data_dir))
    if as_json:
        typer.echo(json.dumps(rows, indent=2))
        return
    columns = "{:26}{:>9}{:>9}{:>10}{:>10}{:>14}{:>10}  {}"
    typer.echo(columns.format("name", "trains", "answers", *rows[0]["prices"], "source"))
    for row in rows:
        contexts = (row["training_context"] or "-", row["inference_context"] or "-")
        prices = (f"{price:.3f}" for price in row["prices"].values())
        state = "" if row["is_downloaded"] else " (not downloaded yet)"
        typer.echo(columns.format(row["name"], *contexts, *prices, row["source"] + state))


@models.command("pull")
@_calmly
def models_pull(
    name: Annotated[str, typer.Argument(help="The model's name or alias in the catalogue.")],
    data_dir: DataDir = None,
) -> None:
    """Download a base model of a hub now, and print its folder."""
    from tunesmith.modeling.downloads import Downloads

    _log("models")
    base = _catalog(data_dir).find(name)
    if base is None:
        raise TunesmithError(f"There is no base model {name!r} in the catalogue.")
    Downloads().fetch(base)
    typer.echo(base.source)


@models.command("check")
@_calmly
def models_check(data_dir: DataDir = None) -> None:
    """Ask each remote engine of models.toml whether it can be used; exit 1 if one can't."""
    from tunesmith.cli.remote_engines import check

    _log("models")
    logging.disable()  # what it says is printed
    findings = check(_catalog(data_dir))
    for finding in findings:
        typer.echo(finding.text)
    if not all(finding.is_ready for finding in findings):
        raise typer.Exit(1)


def _catalog(data_dir: Path | None) -> Any:  # a Catalog, imported when it is needed
    from tunesmith.catalog import read_catalog

    return read_catalog(read_settings({"data_dir": data_dir})[0].data_dir)


def _begin_part(name: str, lifeline: int | None) -> None:
    """What every part does first: its log, and its tie to the supervisor."""
    from tunesmith.cli.lifeline import watch

    _log(name)
    if lifeline is not None:
        watch(lifeline)


def _log(part: str) -> None:
    logging.basicConfig(
        stream=sys.stderr,
        level=logging.INFO,
        format=f"%(asctime)s {part:10} %(levelname)s %(message)s",
    )
    for noisy in ("httpx2", "httpcore2", "alembic", "uvicorn.access"):
        logging.getLogger(noisy).setLevel(logging.WARNING)


def _listener(fd: int | None, listen: Callable[[str, int], Any], host: str, port: int) -> Any:
    """The socket handed down by the supervisor, or one of our own."""
    import socket

    return listen(host, port) if fd is None else socket.socket(fileno=fd)


def _engine_url(pair: str) -> tuple[str, str]:
    """FOLDER=URL, the folder as the catalogue spells it."""
    folder, equals, url = pair.rpartition("=")
    if not equals:
        raise TunesmithError(f"--engine takes FOLDER=URL, not {pair!r}.")
    return str(Path(folder).resolve()), url


def _shown(name: str, value: Any) -> Any:
    """Secrets are said to be set, never shown."""
    if name in ("api_key", "engine_token") and value:
        return "(set)"
    return str(value) if isinstance(value, Path) else value
