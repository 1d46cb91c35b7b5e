"""One small base model for all tests of this folder: nothing here changes it."""

from pathlib import Path

import pytest
import torch

from tests.small_models import make_model
from tunesmith.modeling.decoder import Decoder
from tunesmith.modeling.weights import load_decoder


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> None:
    """Models this small only wait for each other's threads."""
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def base_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_model(tmp_path_factory.mktemp("base"))


@pytest.fixture(scope="session")
def base(base_folder: Path) -> Decoder:
    return load_decoder(base_folder, torch.device("cpu"), torch.float32)
