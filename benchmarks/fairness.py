"""How long a small chat takes while another organisation floods the service.

One organisation keeps `FLOODERS` requests for `FLOOD_CHOICES` completions each under way, far more
than the engine takes at once; another one asks for `ANSWER_TOKENS` tokens, one request after the
other. The ratio to what these take alone is what it costs to be a neighbour. What limits it: a step
with many sequences takes longer than one with a single sequence (on a CPU much, on a GPU little),
one step may have to be waited for, and the flooder's own share of the engine, half of it.
"""

import statistics
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import openai
from openai import OpenAI

from tunesmith.app import open_data
from tunesmith.cli.service import Service, running_service
from tunesmith.settings import Settings

ROUNDS = 20
FLOODERS = 8
FLOOD_CHOICES = 128
FLOOD_TOKENS = 400
ANSWER_TOKENS = 16
PAUSE_S = 0.5  # of a flooder who was refused
MAX_WAIT_S = 300.0
NO_END = {"5": -100, "0": -100}


def measure() -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        data_dir = Path(folder)
        with running_service(data_dir, data_dir / "service.log") as service:
            calm, flooding = (client_of(service, name) for name in ("calm", "flooding"))
            answer_s(calm)  # the engine is there, the connection open
            alone = [answer_s(calm) for _ in range(ROUNDS)]
            refused = [0]
            for _ in range(FLOODERS):
                threading.Thread(target=flood, args=(flooding, refused), daemon=True).start()
            while not refused[0]:  # it has what it can get
                time.sleep(0.01)
            flooded = [answer_s(calm) for _ in range(ROUNDS)]
    return {
        "alone_ms": round(1000 * statistics.median(alone), 1),
        "flooded_ms": round(1000 * statistics.median(flooded), 1),
        "ratio": round(statistics.median(flooded) / statistics.median(alone), 2),
        "worst_flooded_ms": round(1000 * max(flooded), 1),
        "flood_refusals": refused[0],
    }


def client_of(service: Service, organization: str) -> OpenAI:
    with open_data(Settings(data_dir=service.data_dir)) as store:
        key = store.tenants.create_key(organization)
    return OpenAI(base_url=f"{service.url}/v1", api_key=key, max_retries=0, timeout=MAX_WAIT_S)


def answer_s(client: OpenAI) -> float:
    """Seconds that a small chat takes, with all attempts that it needs."""
    started = time.perf_counter()
    while True:
        try:
            ask(client, "How are you?", ANSWER_TOKENS, n=1)
            return time.perf_counter() - started
        except openai.InternalServerError:
            assert time.perf_counter() - started < MAX_WAIT_S, "starved"
            time.sleep(PAUSE_S)


def flood(client: OpenAI, refused: list[int]) -> None:
    """Until the service ends."""
    while True:
        try:
            ask(client, "Tell me all you know.", FLOOD_TOKENS, n=FLOOD_CHOICES)
        except (openai.RateLimitError, openai.InternalServerError):
            refused[0] += 1
            time.sleep(PAUSE_S)
        except openai.OpenAIError:
            return


def ask(client: OpenAI, question: str, max_tokens: int, n: int) -> None:
    client.chat.completions.create(
        model="tunesmith-tiny",
        messages=[{"role": "user", "content": question}],
        max_tokens=max_tokens,
        n=n,
        logit_bias=NO_END,
    )
