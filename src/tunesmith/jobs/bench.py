"""The trainer's workbench: one base model stays on it from job to job.

Loading weights and starting torch take longer than many a job's first step, so what the last
job used is kept until a job needs another base or the trainer has been idle for long.
"""

import logging
import time
from dataclasses import dataclass
from pathlib import Path

import torch

from tunesmith.adapters import files as adapter_files
from tunesmith.modeling import device as devices
from tunesmith.modeling.decoder import Decoder
from tunesmith.modeling.lora import LoraAdapter
from tunesmith.modeling.weights import load_decoder

log = logging.getLogger("tunesmith.worker")


@dataclass
class _Resident:
    source: str
    decoder: Decoder
    used_at: float


class Bench:
    def __init__(self, device: str, idle_unload_s: float) -> None:
        self.device = devices.choose_device(device)
        self._idle_unload_s = idle_unload_s
        self._resident: _Resident | None = None

    def base_model(self, source: str) -> Decoder:
        """The base model of `source` on the trainer's device, in its precision."""
        if self._resident is None or self._resident.source != source:
            self._resident = None  # first let go: two bases may not fit
            started = time.monotonic()
            decoder = load_decoder(Path(source), self.device, devices.default_dtype(self.device))
            self._resident = _Resident(source, decoder, time.monotonic())
            log.info("loaded %s in %.1f s", Path(source).name, time.monotonic() - started)
        self._resident.used_at = time.monotonic()
        return self._resident.decoder

    def rest(self) -> None:
        """A job has ended: from now on the base model is idle."""
        if self._resident:
            self._resident.used_at = time.monotonic()

    def adapter(self, folder: Path, base: Decoder) -> LoraAdapter:
        """A tuned model's adapter, to be trained further on `base`."""
        return adapter_files.load_adapter(folder, base.shape, self.device)

    def tidy(self) -> None:
        """Gives the memory back after a long time without a job."""
        idle_s = time.monotonic() - self._resident.used_at if self._resident else 0.0
        if self._resident and idle_s > self._idle_unload_s:
            log.info("idle for %.0f s: letting %s go", idle_s, Path(self._resident.source).name)
            self._resident = None
            if self.device.type == "cuda":
                torch.cuda.empty_cache()
