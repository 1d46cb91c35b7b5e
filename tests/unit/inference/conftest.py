import pytest
import torch


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> None:
    """Models this small only lose by more, and other tests may want the cores."""
    torch.set_num_threads(1)
