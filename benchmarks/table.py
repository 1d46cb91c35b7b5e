"""`python -m benchmarks.table`: puts the results' tables into this folder's README."""

import json
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent
BEGIN, END = "<!-- results -->", "<!-- end of results -->"
SERVICE_ROWS = {
    "ready": "start → `/healthz` answers",
    "post_to_first_step_cold": "`POST` → first optimiser step, sent as soon as it answers",
    "post_to_first_step_resident": "`POST` → first optimiser step, trainer resident",
    "post_to_succeeded_demo_job": "`POST` → `succeeded`, the demo's job (180 steps), cold",
}


def main() -> None:
    readme = FOLDER / "README.md"
    before, _, rest = readme.read_text().partition(BEGIN)
    after = rest.partition(END)[2]
    tables = "\n\n".join([service_table(), training_table(), prefix_cache_table()])
    readme.write_text(f"{before}{BEGIN}\n\n{tables}\n\n{END}{after}")


def service_table() -> str:
    record = read("service")
    rows = [
        f"| {text} | {record['result'][name]['median_s']:.2f} s |"
        for name, text in SERVICE_ROWS.items()
    ]
    return "\n".join([circumstances(record), "", "| what | median |", "| --- | --- |", *rows])


def training_table() -> str:
    record = read("training")
    rows = [
        f"| {name.replace('_', ' ')} | {ours['tokens_per_s']['tunesmith']:,} "
        f"| {ours['tokens_per_s']['trl']:,} | **{ours['ratio']:.2f}** "
        f"| {ours['last_epoch_loss']['tunesmith']:.3f} / {ours['last_epoch_loss']['trl']:.3f} "
        f"| {ours['peak_memory_mb']['tunesmith']} / {ours['peak_memory_mb']['trl']} MB |"
        for name, ours in record["result"].items()
    ]
    heading = "| demo's data | tunesmith, tokens/s | TRL, tokens/s | ratio | loss | peak memory |"
    return "\n".join([circumstances(record), "", heading, "| --- " * 6 + "|", *rows])


def prefix_cache_table() -> str:
    record = read("prefix_cache")
    rows = [
        f"| {length} | {ours['new_ms']:.1f} ms | {ours['known_ms']:.1f} ms "
        f"| **{ours['ratio']:.1f}** |"
        for length, ours in record["result"].items()
    ]
    heading = "| tokens in the prompt | its beginning is new | is in the cache | ratio |"
    return "\n".join([circumstances(record), "", heading, "| --- " * 4 + "|", *rows])


def read(name: str) -> dict[str, Any]:
    record: dict[str, Any] = json.loads((FOLDER / "results" / f"{name}.json").read_text())
    return record


def circumstances(record: dict[str, Any]) -> str:
    return (
        f"`{record['benchmark']}`, {record['date']}, commit {record['commit']}, "
        f"{record['machine']}, torch {record['torch']}:"
    )


if __name__ == "__main__":
    main()
