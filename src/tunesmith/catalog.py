"""The base models of this installation: the packaged list and the operator's `models.toml`.

`<data-dir>/models.toml` says only what differs. An entry that the packaged list has too changes
the fields it names; a new one is added:

    [models."gpt-4o-mini-2024-07-18"]
    source = "/srv/weights/Qwen3-0.6B"      # a folder in Hugging Face's format

    [models."my-base"]
    source = "weights/smol"                 # relative to this file
    aliases = ["smol"]
    inference_context = 4096
"""

import tomllib
from pathlib import Path
from typing import Any

from tunesmith.domain.models import BaseModel, Catalog, Mode
from tunesmith.settings import BadSetting

PACKAGED = Path(__file__).parent / "base_models"
CATALOG_FILE = "models.toml"
_MODES = ("routes", "formats")
_FIELDS = {"source", "aliases", "training_context", "inference_context", *_MODES}


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
    return catalog


def source_of(catalog: Catalog, model: str) -> str:
    """The folder of a model's weights. Raises BadSetting if there is no such model."""
    entry = catalog.find(model)
    if entry is None:
        raise BadSetting(f"There is no base model {model!r} in the catalogue.")
    return entry.source


def _base_model(name: str, entry: dict[str, Any]) -> BaseModel:
    fields = {**entry, "aliases": tuple(entry.get("aliases", ()))}
    for field in _MODES:
        if field in entry:
            fields[field] = tuple(Mode(mode) for mode in entry[field])
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
    if "source" in checked:
        checked["source"] = str(_folder(path, where, str(checked["source"])))
    aliases = checked.get("aliases", [])
    if not (isinstance(aliases, list) and all(isinstance(one, str) and one for one in aliases)):
        raise BadSetting(f"{where}: aliases must be a list of names.")
    for context in ("training_context", "inference_context"):
        value = checked.get(context, 1)
        if type(value) is not int or value < 1:
            raise BadSetting(f"{where}: {context} must be a number of tokens above 0.")
    for field in _MODES:
        modes = checked.get(field, [Mode.CHAT])
        if not (isinstance(modes, list) and modes and all(mode in list(Mode) for mode in modes)):
            raise BadSetting(f"{where}: {field} must be a list of {' and '.join(Mode)}.")
    return checked


def _folder(path: Path, where: str, source: str) -> Path:
    """The folder of a source: packaged with us by that name, or relative to the file."""
    for folder in (PACKAGED / source, path.parent / source):
        if (folder / "config.json").is_file():
            return folder.resolve()
    raise BadSetting(
        f"{where}: source {source!r} is not a model folder (there is no config.json in it)."
    )


def _refuse_clashes(catalog: Catalog) -> None:
    seen: dict[str, str] = {}
    for entry in catalog.entries.values():
        for word in (entry.name, *entry.aliases):
            if seen.setdefault(word, entry.name) != entry.name:
                raise BadSetting(
                    f"{CATALOG_FILE}: {word!r} names both {seen[word]} and {entry.name}."
                )
