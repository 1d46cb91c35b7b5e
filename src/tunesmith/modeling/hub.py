"""A model's files, fetched from a hub: safetensors and JSON, never code.

What stands in the way of using the model at all (weights of another kind, an architecture that
we don't run) is found in small files, before gigabytes are fetched. Every file is held to the
size and the hash that the hub lists for it. Which hub it is, the token for it and the proxy before
it are settings of the hub's own library, in the variables that its other users know: HF_ENDPOINT,
HF_TOKEN, HF_HUB_OFFLINE, HTTPS_PROXY.
"""

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tunesmith.domain import errors
from tunesmith.domain.models import HubRepository
from tunesmith.modeling.shape import read_shape
from tunesmith.modeling.weight_files import INDEX_FILE, SINGLE_FILE, indexed_files

ORIGIN_FILE = "origin.json"  # ours, beside the files: what they are a copy of
NEEDED_FILES = ("config.json", "tokenizer.json")
SMALL_FILES = (
    *NEEDED_FILES,
    "tokenizer_config.json",
    "chat_template.jinja",
    "generation_config.json",
)
MAX_SMALL_BYTES = 128 * 1024**2  # the largest tokenizers have some 40 MB
SPARE_BYTES = 256 * 1024**2  # that a download leaves free for everything else we keep
ANSWER_TIMEOUT_S = 20.0
MB = 1_000_000


@dataclass(frozen=True)
class RemoteFile:
    name: str
    size_bytes: int
    sha256: str | None  # of a file in the hub's storage for large ones
    git_hash: str | None  # of any other


def fetch(repository: HubRepository, folder: Path, note: Callable[[str], None]) -> None:
    """Fills `folder` (made if need be) with the model, and with nothing else.

    Files that an earlier, broken off attempt left there are kept if they are right. `note` is told
    each file's name before it is fetched. Raises UnsupportedModel for a model that we couldn't run,
    Unavailable with a text for the operator for whatever else stands in the way.
    """
    for unfinished in folder.rglob("*.incomplete"):  # of a process that was killed
        unfinished.unlink()
    with _explained(repository):
        commit, listed = _listing(repository)
        small = _small_files(repository, listed)
        for file in small:
            _fetch_file(repository, commit, file, folder, note)
        try:
            read_shape(folder)
            weights = _weights(listed, folder)
        except errors.UnsupportedModel as error:
            raise errors.UnsupportedModel(
                f"The base model {repository.id} can't be used: {error.message}"
            ) from error
        _write_origin(folder, repository, commit, [*small, *weights])
        _refuse_full_disk(repository, weights, folder)
        for file in weights:
            _fetch_file(repository, commit, file, folder, note)
        _drop_all_but(folder, {ORIGIN_FILE, *(file.name for file in (*small, *weights))})


def progress(folder: Path) -> tuple[int, int] | None:
    """Bytes that are there, of how many, in a folder that `fetch` fills; None while that isn't
    known. Any process may ask."""
    try:
        total = json.loads((folder / ORIGIN_FILE).read_text(encoding="utf-8"))["size_bytes"]
        # Unfinished files lie deeper, under other names.
        sizes = [path.stat().st_size for path in folder.rglob("*") if path.is_file()]
    except (OSError, ValueError, KeyError):
        return None
    return min(sum(sizes), total), total


def unavailable(repository: HubRepository, reason: str) -> errors.Unavailable:
    return errors.Unavailable(
        f"The base model {repository.id} can't be downloaded: {reason}",
        param="model",
        code="base_model_unavailable",
    )


def _listing(repository: HubRepository) -> tuple[str, Mapping[str, RemoteFile]]:
    """The commit that the revision means now, and its files by name."""
    from huggingface_hub import HfApi

    _quieten()
    info = HfApi().model_info(
        repository.id,
        revision=repository.revision,
        files_metadata=True,
        timeout=ANSWER_TIMEOUT_S,
    )
    if info.sha is None:
        raise unavailable(repository, "the hub doesn't say which commit its files are of.")
    files = {}
    for item in info.siblings or ():
        if item.size is not None:
            sha256 = item.lfs.sha256 if item.lfs else None
            git_hash = None if item.lfs else item.blob_id
            files[item.rfilename] = RemoteFile(item.rfilename, item.size, sha256, git_hash)
    return info.sha, files


def _quieten() -> None:
    """The library's habits that a service doesn't want: telling on its users, another transport
    with threads and a cache of its own, bars in a log."""
    from huggingface_hub import constants
    from huggingface_hub.utils.tqdm import disable_progress_bars

    constants.HF_HUB_DISABLE_TELEMETRY = True
    constants.HF_HUB_DISABLE_XET = True
    if constants.HF_HUB_DISABLE_PROGRESS_BARS is None:
        disable_progress_bars()


def _small_files(repository: HubRepository, listed: Mapping[str, RemoteFile]) -> list[RemoteFile]:
    """All that is wanted but the weights. Raises UnsupportedModel if something is missing."""
    missing = [name for name in NEEDED_FILES if name not in listed]
    if not {SINGLE_FILE, INDEX_FILE} & listed.keys():
        missing.append(f"{SINGLE_FILE} (weights of other kinds are never read)")
    if missing:
        raise errors.UnsupportedModel(
            f"The base model {repository.id} can't be used: its repository has no "
            f"{' and no '.join(missing)}."
        )
    names = SMALL_FILES if SINGLE_FILE in listed else (*SMALL_FILES, INDEX_FILE)
    files = [listed[name] for name in names if name in listed]
    for file in files:
        if file.size_bytes > MAX_SMALL_BYTES:
            raise errors.UnsupportedModel(
                f"The base model {repository.id} can't be used: its {file.name} has "
                f"{file.size_bytes} bytes; at most {MAX_SMALL_BYTES} are read."
            )
    return files


def _weights(listed: Mapping[str, RemoteFile], folder: Path) -> list[RemoteFile]:
    """Only the files that would be loaded: repositories often hold the weights several times."""
    names = [SINGLE_FILE] if SINGLE_FILE in listed else indexed_files(folder / INDEX_FILE)
    for name in names:
        if name not in listed or not name.endswith(".safetensors"):
            raise errors.UnsupportedModel(
                f"{INDEX_FILE} names {name!r}, which is not a safetensors file of the repository."
            )
    return [listed[name] for name in names]


def _fetch_file(
    repository: HubRepository,
    commit: str,
    file: RemoteFile,
    folder: Path,
    note: Callable[[str], None],
) -> None:
    from huggingface_hub import hf_hub_download

    note(file.name)
    hf_hub_download(repository.id, file.name, revision=commit, local_dir=folder)
    path = folder / file.name
    if not _is_right(path, file):
        path.unlink()
        raise unavailable(
            repository,
            f"{file.name} arrived damaged: its content isn't what the hub lists. Try again.",
        )


def _is_right(path: Path, file: RemoteFile) -> bool:
    """Whether size and hash are those that the hub lists. What is right is on the disk for good."""
    with path.open("rb") as content:
        os.fsync(content.fileno())
        if os.fstat(content.fileno()).st_size != file.size_bytes:
            return False
        if file.sha256 is not None:
            return hashlib.file_digest(content, "sha256").hexdigest() == file.sha256
        if file.git_hash is not None:
            begun = hashlib.sha1(b"blob %d\0" % file.size_bytes, usedforsecurity=False)
            return hashlib.file_digest(content, lambda: begun).hexdigest() == file.git_hash
    return True


def _write_origin(
    folder: Path, repository: HubRepository, commit: str, files: Collection[RemoteFile]
) -> None:
    origin = {
        "repository": repository.id,
        "revision": repository.revision,
        "commit": commit,
        "size_bytes": sum(file.size_bytes for file in files),
        "files": {file.name: file.sha256 or file.git_hash for file in files},
    }
    with (folder / ORIGIN_FILE).open("w", encoding="utf-8") as content:
        content.write(json.dumps(origin, indent=2) + "\n")
        content.flush()
        os.fsync(content.fileno())


def _refuse_full_disk(
    repository: HubRepository, weights: Collection[RemoteFile], folder: Path
) -> None:
    missing = sum(file.size_bytes for file in weights if not (folder / file.name).is_file())
    free = shutil.disk_usage(folder).free
    if missing and missing + SPARE_BYTES > free:
        raise unavailable(
            repository,
            f"it takes {missing / MB:,.0f} MB on the disk and {SPARE_BYTES / MB:,.0f} MB are to "
            f"stay free, but there are only {free / MB:,.0f} MB.",
        )


def _drop_all_but(folder: Path, names: Collection[str]) -> None:
    """Also what the library keeps there for itself, and what another commit left behind."""
    for path in folder.iterdir():
        if path.name not in names:
            shutil.rmtree(path) if path.is_dir() else path.unlink()


@contextmanager
def _explained(repository: HubRepository) -> Iterator[None]:
    """Turns what the library raises into a sentence that says what to do."""
    import httpx2

    try:
        yield
    except (httpx2.HTTPError, OSError, ValueError) as error:
        raise unavailable(repository, _reason(repository, error)) from error


def _reason(repository: HubRepository, error: Exception) -> str:
    import httpx2
    from huggingface_hub import errors as hub

    if isinstance(error, hub.LocalEntryNotFoundError) and isinstance(error.__cause__, Exception):
        error = error.__cause__
    if isinstance(error, hub.OfflineModeIsEnabled):
        return "HF_HUB_OFFLINE is set. Unset it, or name a folder as the source."
    if isinstance(error, hub.GatedRepoError):
        return (
            "its owner gives it only to those who have accepted the licence. Do so on the hub, "
            "and set HF_TOKEN to a token of that account."
        )
    if isinstance(error, hub.RepositoryNotFoundError):
        return (
            "the hub has no such repository, or it is private. Check the name in models.toml; for "
            "a private one set HF_TOKEN."
        )
    if isinstance(error, hub.RevisionNotFoundError):
        return f"it has no revision {repository.revision!r}. Check models.toml."
    if isinstance(error, hub.HfHubHTTPError):
        status = error.response.status_code
        if status in (401, 403):
            return "the hub refuses it. Check HF_TOKEN and that token's rights."
        return f"the hub answered with status {status}. Try again later."
    if isinstance(error, httpx2.HTTPError):
        return f"the hub can't be reached ({error or type(error).__name__}). Check the network."
    if isinstance(error, hub.FileMetadataError):
        return "what answers is not a model hub. Check HF_ENDPOINT."
    if isinstance(error, OSError):
        if error.strerror:
            return f"its files can't be written: {error.strerror}."
        return "a file didn't arrive whole. Try again."
    return f"the hub's answer can't be used ({error}). Check HF_ENDPOINT."
