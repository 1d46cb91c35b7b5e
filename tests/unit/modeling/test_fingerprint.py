"""Same weights, same digest; others, another one."""

import shutil
from pathlib import Path

import pytest

from tests.small_models import make_model
from tunesmith.modeling.fingerprint import weights_digest


def test_the_digest_follows_the_weights_and_not_the_folder(tmp_path: Path) -> None:
    first, again = make_model(tmp_path / "a"), make_model(tmp_path / "b")
    assert weights_digest(first) == weights_digest(again)
    assert weights_digest(make_model(tmp_path / "c", seed=1)) != weights_digest(first)


@pytest.mark.parametrize("name", ["config.json", "model.safetensors"])
def test_each_file_counts(tmp_path: Path, name: str) -> None:
    folder = make_model(tmp_path / "a")
    before = weights_digest(folder)
    (folder / name).write_bytes((folder / name).read_bytes() + b" ")
    assert weights_digest(folder) != before
    (folder / name).unlink()
    assert weights_digest(folder) != before


def test_weights_in_several_files_are_all_looked_at(tmp_path: Path) -> None:
    folder = make_model(tmp_path / "a")
    shutil.copy(folder / "model.safetensors", folder / "model-2.safetensors")
    before = weights_digest(folder)
    shutil.copy(
        make_model(tmp_path / "b", seed=1) / "model.safetensors", folder / "model-2.safetensors"
    )
    assert weights_digest(folder) != before
