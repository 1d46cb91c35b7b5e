"""Node SDKs: each is installed once for an environment, beside it, by the first test that asks."""

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any, Protocol

import pytest

SCRIPTS = Path(__file__).parent / "node"
TIMEOUT_S = 300


class Reachable(Protocol):
    """A service, and who asks it."""

    @property
    def url(self) -> str: ...

    @property
    def key(self) -> str: ...


def sdk_folder(package: str, name: str) -> Path:
    """The folder `name` beside the Python environment, from which scripts find `package`."""
    if shutil.which("node") is None or shutil.which("npm") is None:
        pytest.skip("needs Node.js and npm, which aren't installed")
    folder = Path(sys.prefix) / name
    if not (folder / "node_modules" / "openai" / "package.json").is_file():
        folder.mkdir(exist_ok=True)
        command = ["npm", "install", "--no-package-lock", "--no-audit", "--no-fund", "--silent"]
        installed = subprocess.run(
            [*command, "--prefix", str(folder), package],
            capture_output=True,
            text=True,
            timeout=TIMEOUT_S,
            check=False,
        )
        if installed.returncode != 0:
            pytest.skip(f"npm could not install {package}: {installed.stderr[-300:]}")
    return folder


def printed(sdk: Path, script: str, service: Reachable, *arguments: str) -> Any:
    """What one of our scripts prints, as JSON, with an SDK's folder around it."""
    copy = shutil.copy(SCRIPTS / script, sdk)  # modules are looked for from the script's folder
    ran = subprocess.run(
        ["node", copy, *arguments],
        env={
            "PATH": "/usr/local/bin:/usr/bin:/bin:" + str(Path(shutil.which("node") or "").parent),
            "OPENAI_API_KEY": service.key,
            "OPENAI_ADMIN_KEY": service.key,  # what this SDK sends to routes for administrators
            "OPENAI_BASE_URL": f"{service.url}/v1",
        },
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    return json.loads(ran.stdout)
