"""Which device, which precision, how many threads: what is process-wide is set here and said.

fp32 products on a CPU stay with the library that torch chose. Sending them through oneDNN by
hand was tried on a processor without AVX-512: never faster, and up to 2× slower at few rows.
"""

import os

import torch

from tunesmith.domain.errors import TunesmithError


def choose_device(name: str | None = None) -> torch.device:
    """`name` as torch spells it (`cpu`, `cuda`, `cuda:1`); None or "auto": CUDA if it is there.

    Raises TunesmithError for a device that this machine hasn't got.
    """
    if name is None or name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise TunesmithError(
            f"The device {name!r} can't be used here: {str(error).splitlines()[0]}"
        ) from error
    return device


def default_dtype(device: torch.device) -> torch.dtype:
    return torch.bfloat16 if device.type == "cuda" else torch.float32


def set_up_process(num_threads: int | None = None) -> None:
    """Sets threads and reproducibility for the whole process; called once, before any tensor.

    The same inputs then give the same bits on the same machine.
    """
    # cuBLAS reads this when it starts; without it deterministic products raise.
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    if num_threads is not None:
        torch.set_num_threads(num_threads)
    # The same as use_deterministic_algorithms(True), which also imports torch's compiler: 1.3 s.
    torch.set_deterministic_debug_mode("error")
    # That switch also fills every fresh tensor, which costs time. We never read before we write.
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
