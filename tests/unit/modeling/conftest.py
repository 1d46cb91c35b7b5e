import pytest
import torch


@pytest.fixture(autouse=True, scope="session")
def one_thread() -> None:
    """Tensors this small only lose by being shared out."""
    torch.set_num_threads(1)
