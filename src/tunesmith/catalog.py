"""The base models of this installation: the packaged list and the operator's `models.toml`.

`<data-dir>/models.toml` says only what differs. An entry that the packaged list has too changes
the fields it names; a new one is added:

    [models."gpt-4o-mini-2024-07-18"]
    source = "/srv/weights/Qwen3-0.6B"      # a folder in Hugging Face's format

    [models."my-base"]
    source = "weights/smol"                 # relative to this file
    aliases = ["smol"]
    inference_context = 4096
    prices = { training = 3.00, input = 0.30, cached_input = 0.15, output = 1.20 }

    [models."qwen3"]
    source = "hub:Qwen/Qwen3-0.6B"          # downloaded when it is first needed
    revision = "main"                       # a branch, a tag or a commit
    engine = { url = "http://gpu:8000", adapters = "vllm" }    # answers in our own engine's place
"""

import math
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

from tunesmith.domain.examples import Format
from tunesmith.domain.models import (
    BaseModel,
    Catalog,
    HubRepository,
    Mode,
    Prices,
    RemoteEngine,
)
from tunesmith.settings import BadSetting

PACKAGED = Path(__file__).parent / "base_models"
CATALOG_FILE = "models.toml"
DOWNLOADS_FOLDER = "models"  # in the data folder: models that come from a hub
HUB_PREFIX = "hub:"
DEFAULT_REVISION = "main"
_HUB_ID = re.compile(r"[A-Za-z0-9]([\w.-]*\w)?/[A-Za-z0-9]([\w.-]*\w)?", re.ASCII)
_REVISION = re.compile(r"\w[\w./+-]{0,63}", re.ASCII)
_MODES = ("routes", "formats")
_PRICES = tuple(Prices.__dataclass_fields__)
_ADAPTERS = "vllm"  # the one way in which a remote engine is given adapters
_ENGINE_FIELDS = ("adapters", *RemoteEngine.__dataclass_fields__)
_VARIABLE = re.compile(r"[A-Za-z_]\w*", re.ASCII)
_FIELDS = {
    "source",
    "revision",
    "aliases",
    "training_context",
    "inference_context",
    "prices",
    "engine",
    *_MODES,
}


def read_catalog(data_dir: Path) -> Catalog:
    """The packaged models, changed by `<data-dir>/models.toml` if it is there.

    Raises BadSetting, naming file and entry, for whatever can't be used.
    """
    entries = _read(PACKAGED / CATALOG_FILE)
    own = data_dir / CATALOG_FILE
    if own.is_file():
        for name, changes in _read(own).items():
            entries[name] = {**entries.get(name, {}), **changes}
            if "source" not in entries[name]:
                raise BadSetting(f'{own}: models."{name}" needs a source.')
    catalog = Catalog(_base_model(name, entry) for name, entry in entries.items())
    _refuse_clashes(catalog)
    _refuse_shared_engines(catalog)
    return catalog


def base_of(catalog: Catalog, model: str) -> BaseModel:
    """The entry of a model's name or alias. Raises BadSetting if there is no such model."""
    entry = catalog.find(model)
    if entry is None:
        raise BadSetting(f"There is no base model {model!r} in the catalogue.")
    return entry


def engine_key(engine: RemoteEngine, environ: Mapping[str, str]) -> str | None:
    """The key that a remote engine asks for; None if it asks for none. Raises BadSetting if the
    variable that should hold it doesn't."""
    if engine.api_key_env is None:
        return None
    key = environ.get(engine.api_key_env, "").strip()
    if not key or not (key.isascii() and key.isprintable()):
        state = "holds what can't be one" if key else "isn't set"
        raise BadSetting(
            f"{CATALOG_FILE}: the key of the engine at {engine.url} should be in the environment "
            f"variable {engine.api_key_env}, which {state}."
        )
    return key


def _base_model(name: str, entry: dict[str, Any]) -> BaseModel:
    fields = {key: value for key, value in entry.items() if key != "revision"}
    fields["aliases"] = tuple(entry.get("aliases", ()))
    if "routes" in entry:
        fields["routes"] = tuple(map(Mode, entry["routes"]))
    if "formats" in entry:
        fields["formats"] = tuple(map(Format, entry["formats"]))
    return BaseModel(name=name, **fields)


def _read(path: Path) -> dict[str, dict[str, Any]]:
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise BadSetting(f"{path} can't be read: {error}") from error
    unknown = set(content) - {"models"}
    if unknown:
        raise BadSetting(f"{path}: unknown section {sorted(unknown)[0]!r}; entries are [models.…].")
    entries = content.get("models", {})
    if not isinstance(entries, dict):
        raise BadSetting(f"{path}: models must be sections, [models.NAME].")
    return {name: _checked(path, name, entry) for name, entry in entries.items()}


def _checked(path: Path, name: str, entry: object) -> dict[str, Any]:
    where = f'{path}: models."{name}"'
    if not isinstance(entry, dict):
        raise BadSetting(f"{where} must be a section, [models.NAME].")
    if not name or ":" in name or "/" in name:
        raise BadSetting(f"{where}: a name may not be empty or hold ':' or '/'.")
    unknown = set(entry) - _FIELDS
    if unknown:
        raise BadSetting(
            f"{where}: unknown field {sorted(unknown)[0]!r}; known: {', '.join(sorted(_FIELDS))}."
        )
    checked = dict(entry)
    checked.update(_whereabouts(path, where, checked))
    aliases = checked.get("aliases", [])
    if not (isinstance(aliases, list) and all(isinstance(one, str) and one for one in aliases)):
        raise BadSetting(f"{where}: aliases must be a list of names.")
    for context in ("training_context", "inference_context"):
        value = checked.get(context, 1)
        if type(value) is not int or value < 1:
            raise BadSetting(f"{where}: {context} must be a number of tokens above 0.")
    for field in _MODES:  # formats have the same names as the modes they are for
        modes = checked.get(field, [Mode.CHAT])
        if not (isinstance(modes, list) and modes and all(mode in list(Mode) for mode in modes)):
            raise BadSetting(f"{where}: {field} must be a list of {' and '.join(Mode)}.")
    if "prices" in checked:
        checked["prices"] = _prices(where, checked["prices"])
    if "engine" in checked:
        checked["engine"] = _engine(where, checked["engine"])
    return checked


def _whereabouts(path: Path, where: str, entry: dict[str, Any]) -> dict[str, Any]:
    """The folder of an entry that names a source, and the repository that fills it, if one does."""
    source, revision = str(entry.get("source", "")), entry.get("revision", DEFAULT_REVISION)
    if not source.startswith(HUB_PREFIX):
        if "revision" in entry:
            raise BadSetting(
                f'{where}: revision goes with a source that starts with "{HUB_PREFIX}".'
            )
        if "source" not in entry:
            return {}
        return {"source": str(_folder(path, where, source)), "hub": None}
    hub_id = source.removeprefix(HUB_PREFIX)
    if not _HUB_ID.fullmatch(hub_id) or "--" in hub_id or ".." in hub_id:
        raise BadSetting(
            f"{where}: source {source!r} must be {HUB_PREFIX}ORGANISATION/NAME, as the hub spells "
            "the model."
        )
    if not isinstance(revision, str) or not _REVISION.fullmatch(revision):
        raise BadSetting(f"{where}: revision must be the name of a branch, a tag or a commit.")
    # Two revisions are two models: the same adapter must never meet other weights unawares.
    name = f"{hub_id.replace('/', '--')}--{quote(revision, safe='')}"
    folder = path.parent.resolve() / DOWNLOADS_FOLDER / name
    return {"source": str(folder), "hub": HubRepository(hub_id, revision)}


def _folder(path: Path, where: str, source: str) -> Path:
    """The folder of a source: packaged with us by that name, or relative to the file."""
    for folder in (PACKAGED / source, path.parent / source):
        if (folder / "config.json").is_file():
            return folder.resolve()
    hint = ""
    if _HUB_ID.fullmatch(source):
        hint = f' To download it from the hub, write source = "{HUB_PREFIX}{source}".'
    raise BadSetting(
        f"{where}: source {source!r} is not a model folder (there is no config.json in it).{hint}"
    )


def _prices(where: str, given: object) -> Prices:
    """Those that aren't named are 0, but for cached input: that costs what input costs."""
    if not isinstance(given, dict):
        raise BadSetting(f"{where}: prices must be a table like {{ input = 0.30, output = 1.20 }}.")
    unknown = given.keys() - set(_PRICES)
    if unknown:
        raise BadSetting(
            f"{where}: unknown price {min(unknown)!r}; known: {', '.join(sorted(_PRICES))}."
        )
    for name, price in given.items():
        if type(price) not in (int, float) or not math.isfinite(price) or price < 0:
            raise BadSetting(
                f"{where}: the price of {name} must be a number of USD per million tokens, "
                f"0 or more, not {price!r}."
            )
    prices = {name: float(price) for name, price in given.items()}
    return Prices(**{"cached_input": prices.get("input", 0.0), **prices})


def _engine(where: str, given: object) -> RemoteEngine:
    if not isinstance(given, dict):
        raise BadSetting(
            f'{where}: engine must be a table like {{ url = "http://gpu:8000", '
            f'adapters = "{_ADAPTERS}" }}.'
        )
    unknown = given.keys() - set(_ENGINE_FIELDS)
    if unknown:
        raise BadSetting(
            f"{where}: unknown field of engine {min(unknown)!r}; known: "
            f"{', '.join(sorted(_ENGINE_FIELDS))}."
        )
    for field in given:
        if not isinstance(given[field], str) or not given[field]:
            raise BadSetting(f"{where}: {field} of engine must be a text.")
    if given.get("adapters") != _ADAPTERS:
        raise BadSetting(
            f'{where}: engine needs adapters = "{_ADAPTERS}", which says how it is given adapters; '
            "there is no other way yet."
        )
    fields = {name: value for name, value in given.items() if name != "adapters"}
    fields["url"] = _engine_url(where, given.get("url", ""))
    if not given.get("adapters_path", "/").startswith("/"):
        raise BadSetting(f"{where}: adapters_path of engine must be an absolute path.")
    if not _VARIABLE.fullmatch(given.get("api_key_env", "_")):
        raise BadSetting(
            f"{where}: api_key_env of engine must be the name of an environment variable, not the "
            "key itself."
        )
    return RemoteEngine(**fields)


def _engine_url(where: str, url: str) -> str:
    """Raises BadSetting for what isn't the address of a server."""
    if "@" in url:  # first, so that no password is printed
        raise BadSetting(
            f"{where}: url of engine may not hold a password; name a variable for the key by "
            "api_key_env."
        )
    try:
        parts = urlsplit(url)
        is_address = parts.scheme in ("http", "https") and bool(parts.hostname)
        is_bare = not (parts.query or parts.fragment or parts.port == 0)
    except ValueError:  # a port that is none, half a bracket
        is_address = is_bare = False
    if not (is_address and is_bare):
        raise BadSetting(f'{where}: url of engine must be like "http://gpu:8000", not {url!r}.')
    if parts.path.rstrip("/").endswith("/v1"):
        raise BadSetting(f"{where}: url of engine is the server's own, without /v1.")
    return url.rstrip("/")


def _refuse_shared_engines(catalog: Catalog) -> None:
    """An engine has one base model: another one's answers would come from the wrong weights."""
    seen: dict[str, BaseModel] = {}
    for entry in catalog.entries.values():
        if entry.engine is None:
            continue
        first = seen.setdefault(entry.engine.url, entry)
        if first.source != entry.source:
            raise BadSetting(
                f"{CATALOG_FILE}: {first.name} and {entry.name} name one engine, "
                f"{entry.engine.url}, but have different sources; an engine serves one base model."
            )


def _refuse_clashes(catalog: Catalog) -> None:
    seen: dict[str, str] = {}
    for entry in catalog.entries.values():
        for word in (entry.name, *entry.aliases):
            if seen.setdefault(word, entry.name) != entry.name:
                raise BadSetting(
                    f"{CATALOG_FILE}: {word!r} names both {seen[word]} and {entry.name}."
                )
