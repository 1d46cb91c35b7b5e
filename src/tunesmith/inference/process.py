"""An engine process: from a folder of weights and a listening socket to answers over HTTP."""

import gc
import logging
import os
import secrets
import signal
import socket
from dataclasses import dataclass
from pathlib import Path

import uvicorn

from tunesmith.adapters.files import load_adapter
from tunesmith.datasets.render import Renderer
from tunesmith.inference.engine import Engine
from tunesmith.inference.limits import EngineLimits
from tunesmith.inference.server import ServerOptions, create_server
from tunesmith.inference.thread import EngineThread
from tunesmith.modeling.device import choose_device, default_dtype, set_up_process
from tunesmith.modeling.weights import load_decoder

log = logging.getLogger("tunesmith.engine")

GRACE_S = 5  # that requests in flight get after SIGTERM


@dataclass(frozen=True)
class EngineOptions:
    source: Path  # the base model's folder
    base_name: str  # what requests call the bare base model
    adapters_folder: Path  # adapters are loaded from inside it only
    token: str | None = None  # that requests must bear
    device: str | None = None
    num_threads: int | None = None  # None: torch decides
    max_context: int | None = None  # tokens; None: what the weights allow
    cache_tokens: int = 65_536  # of all sequences together; at least one of full length
    max_sequences: int = 64
    max_step_tokens: int = 1024
    num_adapter_slots: int = 32


def serve_engine(options: EngineOptions, listener: socket.socket) -> None:
    """Answers on `listener` until SIGTERM or SIGINT; what is in flight then gets a short grace.

    Connections that come before the weights are loaded wait in the socket's queue. Raises
    UnsupportedModel for a folder that can't be used. Should the engine's thread die, the process
    exits with status 1: it is for the supervisor to start another.
    """
    set_up_process(options.num_threads)
    engine = build_engine(options)
    server_options = ServerOptions(options.base_name, options.adapters_folder, options.token)
    config = uvicorn.Config(
        create_server(engine, server_options),
        http="h11",
        log_level="warning",
        access_log=False,
        timeout_graceful_shutdown=GRACE_S,
    )
    # uvicorn handles these two, and then raises them once more for whoever was there before.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: None)
    gc.freeze()  # what was loaded stays; no collection need look through it while streams wait
    uvicorn.Server(config).run(sockets=[listener])


def build_engine(options: EngineOptions) -> EngineThread:
    """Loads the weights; the thread isn't started."""
    device = choose_device(options.device)
    dtype = default_dtype(device)
    decoder = load_decoder(options.source, device, dtype)
    shape = decoder.shape
    limits = EngineLimits.of_tokens(
        max_context=min(options.max_context or shape.max_positions, shape.max_positions),
        cache_tokens=options.cache_tokens,
        max_sequences=options.max_sequences,
        max_step_tokens=options.max_step_tokens,
        num_adapter_slots=options.num_adapter_slots,
    )
    log.info("%s on %s: %s", options.source.name, device, limits)
    engine = Engine(decoder, Renderer.load(options.source), limits, lambda: secrets.randbits(63))
    return EngineThread(
        engine,
        load_adapter=lambda folder: load_adapter(folder, shape, device).freeze(dtype),
        on_death=lambda: os._exit(1),
    )
