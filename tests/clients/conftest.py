"""The first era's client: openai 0.28.1, library and CLI, in an environment of its own."""

import json
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from threading import Timer
from typing import Any

import pytest

from tunesmith.cli.service import Service

ENVIRONMENT = Path(__file__).parents[2] / ".venv-openai-0.28"
SCRIPTS = Path(__file__).parent / "openai_028"
TIMEOUT_S = 240


def jsonl(path: Path, lines: list[dict[str, str]]) -> Path:
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


@dataclass(frozen=True)
class Ran:
    """What a command left behind."""

    stdout: str
    stderr: str
    code: int

    @property
    def json(self) -> Any:
        assert self.code == 0, self.stderr
        return json.loads(self.stdout)

    @property
    def json_lines(self) -> list[Any]:
        """Of a list that the CLI prints object by object."""
        assert self.code == 0, self.stderr
        decoder, text, found = json.JSONDecoder(), self.stdout.strip(), []
        while text:
            item, end = decoder.raw_decode(text)
            found.append(item)
            text = text[end:].lstrip()
        return found


@contextmanager
def killed_in_time(process: subprocess.Popen[str]) -> Iterator[None]:
    """So that who waits for its output doesn't wait for ever."""
    timer = Timer(TIMEOUT_S, process.kill)
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


class Client028:
    """As its users have it: key and address in environment variables, commands in a shell."""

    def __init__(self, variables: dict[str, str]) -> None:
        self.variables = {
            "PATH": f"{ENVIRONMENT / 'bin'}:/usr/local/bin:/usr/bin:/bin",
            "LANG": "C.UTF-8",
            **variables,
        }
        self._commands: subprocess.Popen[str] | None = None

    @contextmanager
    def running(
        self, command: str | Sequence[str], folder: Path | None = None
    ) -> Iterator[subprocess.Popen[str]]:
        process = self._start(command, folder)
        try:
            with killed_in_time(process):
                yield process
        finally:
            process.kill()
            process.communicate()

    def shell(self, line: str, folder: Path | None = None, typed: str = "") -> Ran:
        """A line as it is typed into a shell, in `folder`; then what is `typed`."""
        with self.running(line, folder) as process:
            stdout, stderr = process.communicate(typed)
        return Ran(stdout, stderr, process.returncode)

    def script(self, name: str, *arguments: str) -> Any:
        """What one of our scripts prints, as JSON."""
        with self.running(["python", str(SCRIPTS / name), *arguments]) as process:
            stdout, stderr = process.communicate()
        assert process.returncode == 0, stderr
        return json.loads(stdout)

    def __call__(self, *arguments: str) -> Ran:
        """`openai …`, in a process that is kept for the next one: see `commands.py`."""
        if self._commands is None:
            self._commands = self._start(["python", str(SCRIPTS / "commands.py")])
        commands = self._commands
        assert commands.stdin is not None
        assert commands.stdout is not None
        with killed_in_time(commands):
            commands.stdin.write(json.dumps(arguments) + "\n")
            commands.stdin.flush()
            answer = commands.stdout.readline()
        assert answer, f"no answer to {arguments}"
        return Ran(**json.loads(answer))

    def close(self) -> None:
        if self._commands is not None:
            self._commands.communicate()

    def _start(
        self, command: str | Sequence[str], folder: Path | None = None
    ) -> subprocess.Popen[str]:
        return subprocess.Popen(
            command,
            shell=isinstance(command, str),
            cwd=folder,
            env=self.variables,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            encoding="utf-8",
        )


@pytest.fixture(scope="session")
def has_openai_028() -> None:
    """Asked for before the service, so that nothing is started for tests that are skipped."""
    if not (ENVIRONMENT / ".installed").exists():
        pytest.skip(f"needs openai 0.28: run `make {ENVIRONMENT.name}/.installed`")


@pytest.fixture(scope="session")
def openai_028(has_openai_028: None, service: Service) -> Iterator[Client028]:  # noqa: ARG001
    client = Client028({"OPENAI_API_KEY": service.key, "OPENAI_API_BASE": f"{service.url}/v1"})
    yield client
    client.close()
