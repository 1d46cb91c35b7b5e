import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from tunesmith.adapters.shelf import AdapterShelf

ID = "aB3dE6gH"


@pytest.fixture
def source(tmp_path: Path) -> Path:
    folder = tmp_path / "source"
    folder.mkdir()
    (folder / "adapter_config.json").write_text("{}")
    (folder / "adapter_model.safetensors").write_bytes(bytes(1000))
    return folder


def contents(folder: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in folder.iterdir()}


def test_a_published_adapter_stands_under_its_id(tmp_path: Path, source: Path) -> None:
    shelf = AdapterShelf(tmp_path / "adapters")
    published = shelf.publish(ID, source)
    assert published == shelf.path(ID) == tmp_path / "adapters" / ID
    assert contents(published) == contents(source)


def test_publishing_again_changes_nothing(tmp_path: Path, source: Path) -> None:
    """A worker that takes a job over publishes once more; an engine may be reading by then."""
    shelf = AdapterShelf(tmp_path / "adapters")
    published = shelf.publish(ID, source)
    before = published.stat().st_ino, contents(published)
    (source / "adapter_config.json").write_text("other")
    shelf.publish(ID, source)
    assert (published.stat().st_ino, contents(published)) == before


def test_a_removed_adapter_is_gone_and_can_be_removed_again(tmp_path: Path, source: Path) -> None:
    shelf = AdapterShelf(tmp_path / "adapters")
    shelf.publish(ID, source)
    shelf.remove(ID)
    shelf.remove(ID)
    assert os.listdir(tmp_path / "adapters") == []


def test_a_source_that_can_not_be_read_leaves_nothing(tmp_path: Path, source: Path) -> None:
    shelf = AdapterShelf(tmp_path / "adapters")
    (source / "adapter_model.safetensors").unlink()
    (source / "adapter_model.safetensors").symlink_to(tmp_path / "nowhere")
    with pytest.raises(FileNotFoundError):
        shelf.publish(ID, source)
    assert os.listdir(tmp_path / "adapters") == []


def test_leftovers_of_a_crash_do_not_stand_in_the_way(tmp_path: Path, source: Path) -> None:
    shelf = AdapterShelf(tmp_path / "adapters")
    half_written = tmp_path / "adapters" / f".unfinished-{ID}-x"
    half_written.mkdir(parents=True)
    (half_written / "adapter_config.json").write_text("half")
    assert contents(shelf.publish(ID, source)) == contents(source)
    assert not half_written.exists()


def test_two_that_publish_at_once_both_succeed(tmp_path: Path, source: Path) -> None:
    shelf = AdapterShelf(tmp_path / "adapters")
    failures: list[BaseException] = []

    def publish() -> None:
        try:
            shelf.publish(ID, source)
        except BaseException as error:  # told to the main thread
            failures.append(error)

    threads = [threading.Thread(target=publish) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert contents(shelf.path(ID)) == contents(source)
    assert os.listdir(tmp_path / "adapters") == [ID]


@pytest.mark.parametrize("adapter_id", ["", "../../x", "aB3dE6g", "aB3dE6gHi", "aB3dE6g/"])
def test_only_ids_become_paths(tmp_path: Path, adapter_id: str) -> None:
    with pytest.raises(AssertionError, match="not an adapter id"):
        AdapterShelf(tmp_path).path(adapter_id)


def test_the_shelf_does_not_import_torch() -> None:
    """The API process asks it for paths, and starts without torch."""
    code = "import sys, tunesmith.adapters.shelf; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
