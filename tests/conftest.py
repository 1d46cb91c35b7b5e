"""What every test gets: a clean environment, and a live service where it asks for one."""

import os
from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest
from openai import OpenAI

from tests.contract.checker import CheckedTransport
from tunesmith.cli.service import Service, running_service


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """No setting and no OpenAI variable of the developer's machine leaks into a test."""
    for name in list(os.environ):
        if name.startswith(("TUNESMITH_", "OPENAI_")):
            monkeypatch.delenv(name)


@pytest.fixture(scope="session")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """The whole service, started by `tunesmith serve` as a user would; its log is printed when
    it fails to start."""
    data_dir = tmp_path_factory.mktemp("service")
    log_path = data_dir / "service.log"
    environment = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("TUNESMITH_", "OPENAI_"))
    }
    try:
        with running_service(data_dir, log_path, environment=environment) as running:
            yield running
    finally:
        if log_path.exists():
            print(log_path.read_text())


@pytest.fixture
def client(service: Service) -> Iterator[OpenAI]:
    """The official SDK with the first admin key; every answer is held to the description."""
    with checked_client(service) as client:
        yield client


def checked_client(service: Service) -> OpenAI:
    return OpenAI(
        base_url=f"{service.url}/v1",
        api_key=service.key,
        max_retries=0,
        http_client=httpx2.Client(transport=CheckedTransport(), timeout=60),
    )


EXAMPLES = Path(__file__).parents[1] / "examples"


@pytest.fixture(scope="session")
def marv() -> Path:
    """The demo's training file."""
    return EXAMPLES / "marv.jsonl"
