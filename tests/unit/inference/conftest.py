from pathlib import Path

import pytest
import torch

from tests.unit.inference.builders import load_small, make_small
from tunesmith.modeling.decoder import Decoder


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> None:
    """Models this small only lose by more, and other tests may want the cores."""
    torch.set_num_threads(1)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of a small model."""
    return make_small(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module")
def decoder(folder: Path) -> Decoder:
    return load_small(folder)
