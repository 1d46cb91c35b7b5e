import os
from collections.abc import Iterator

import pytest
import torch

from tunesmith.domain.errors import TunesmithError
from tunesmith.modeling.device import choose_device, default_dtype, set_up_process


def test_a_cpu_computes_in_float32_and_a_gpu_in_bfloat16() -> None:
    assert default_dtype(torch.device("cpu")) == torch.float32
    assert default_dtype(torch.device("cuda:0")) == torch.bfloat16


def test_a_device_that_is_named_is_taken() -> None:
    assert choose_device("cpu") == torch.device("cpu")


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here")
def test_without_a_gpu_auto_is_the_cpu_and_cuda_is_refused() -> None:
    assert choose_device() == choose_device("auto") == torch.device("cpu")
    with pytest.raises(TunesmithError, match="'cuda' can't be used here"):
        choose_device("cuda")


def test_what_is_no_device_is_refused() -> None:
    with pytest.raises(TunesmithError, match="'banana' can't be used here"):
        choose_device("banana")


@pytest.fixture
def process_restored(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", ":16:8")
    before = torch.get_num_threads(), torch.get_deterministic_debug_mode()
    fills = torch.utils.deterministic.fill_uninitialized_memory
    yield
    torch.set_num_threads(before[0])
    torch.set_deterministic_debug_mode(before[1])
    torch.utils.deterministic.fill_uninitialized_memory = fills


@pytest.mark.usefixtures("process_restored")
def test_process_gets_its_threads_and_deterministic_arithmetic() -> None:
    set_up_process(num_threads=2)
    assert torch.get_num_threads() == 2
    assert torch.are_deterministic_algorithms_enabled()
    assert os.environ["CUBLAS_WORKSPACE_CONFIG"] == ":16:8"  # the operator's choice stays
