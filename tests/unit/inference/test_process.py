"""An engine process of its own, as a supervisor starts and stops it."""

import json
import signal
import socket
import subprocess
import sys
from pathlib import Path

import httpx2

from tests.unit.inference.builders import make_small

ENGINE = """
import socket, sys
from pathlib import Path
from tunesmith.inference.process import EngineOptions, serve_engine

model, adapters, fd = sys.argv[1:]
options = EngineOptions(Path(model), "base", Path(adapters), device="cpu", num_threads=1)
serve_engine(options, socket.socket(fileno=int(fd)))
"""


def test_an_engine_process_from_start_to_end(tmp_path: Path) -> None:
    """A request that comes before the weights are loaded waits for them; one that is in flight
    when the process is asked to end gets its whole answer."""
    model = make_small(tmp_path / "model")
    with socket.create_server(("127.0.0.1", 0)) as listener:
        fd = listener.fileno()
        process = subprocess.Popen(
            [sys.executable, "-W", "error", "-c", ENGINE, str(model), str(tmp_path), str(fd)],
            pass_fds=[fd],
            stderr=subprocess.PIPE,
        )
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    try:
        with httpx2.Client(base_url=url, timeout=120, trust_env=False) as client:
            assert client.get("/health").status_code == 200
            body = {"model": "base", "prompt": [1], "max_tokens": 50, "ignore_eos": True}
            with client.stream(
                "POST", "/v1/completions", json={**body, "stream": True}
            ) as response:
                lines = response.iter_lines()
                next(lines)
                process.send_signal(signal.SIGTERM)
                *_, last, done = [line for line in lines if line]
        assert json.loads(last[6:])["choices"][0]["finish_reason"] == "length"
        assert done == "data: [DONE]"
        assert process.wait(timeout=30) == 0
    finally:
        process.kill()
        _, complaints = process.communicate()
    assert complaints == b""
