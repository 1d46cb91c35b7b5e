"""`python -m benchmarks [name …]`: runs the benchmarks and writes their results as JSON.

Each module here has `measure() -> dict` and says in its docstring what limits its numbers.
"""

import importlib
import json
import platform
import subprocess
import sys
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

NAMES = ("service", "training", "data", "prefix_cache", "fairness", "grammar")
RESULTS = Path(__file__).parent / "results"


def main(names: list[str]) -> None:
    RESULTS.mkdir(exist_ok=True)
    for name in names or NAMES:
        result = importlib.import_module(f"benchmarks.{name}").measure()
        record = {"benchmark": name, **circumstances(), "result": result}
        (RESULTS / f"{name}.json").write_text(json.dumps(record, indent=2) + "\n")
        print(json.dumps(record, indent=2))


def circumstances() -> dict[str, object]:
    """What a reader needs to judge the numbers."""
    commit = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False
    ).stdout.strip()
    return {
        "date": datetime.now(UTC).date().isoformat(),
        "commit": commit,
        "machine": f"{platform.machine()}, {cpu_name()}, {len(cpus())} CPUs",
        "python": platform.python_version(),
        "torch": version("torch"),
    }


def cpu_name() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return "unknown"


def cpus() -> set[int]:
    import os

    return os.sched_getaffinity(0)


if __name__ == "__main__":
    main(sys.argv[1:])
