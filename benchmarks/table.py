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
    made = {
        "service": service_table,
        "training": training_table,
        "data": data_table,
        "prefix_cache": prefix_cache_table,
        "fairness": fairness_table,
        "grammar": grammar_table,
    }
    tables = "\n\n".join(table() for name, table in made.items() if result_file(name).exists())
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


def data_table() -> str:
    record = read("data")
    result = record["result"]
    rows = [
        f"| validate {own['size_mb']:.0f} MB, {name.partition('_')[2]} lines "
        f"| {own['seconds']:.0f} s "
        f"| {own['lines_per_cpu_s']:,} of {own['ceiling_lines_per_cpu_s']:,} lines per CPU second "
        f"| {own['memory_before_mb']} → {own['memory_mb']} MB |"
        for name, own in result.items()
        if name.startswith("validate")
    ]
    train = result["train_2000"]
    rows.append(
        f"| train an epoch of 2,000 examples | {train['seconds']:.0f} s "
        f"| {train['tokens_per_s']:,} tokens/s "
        f"| {train['memory_after_a_tenth_mb']} → {train['memory_mb']} MB |"
    )
    heading = "| GSM8K | time | speed | peak memory, before or early → at the end |"
    return "\n".join([circumstances(record), "", heading, "| --- " * 4 + "|", *rows])


def prefix_cache_table() -> str:
    record = read("prefix_cache")
    rows = [
        f"| {length} | {ours['new_ms']:.1f} ms | {ours['known_ms']:.1f} ms "
        f"| **{ours['ratio']:.1f}** |"
        for length, ours in record["result"].items()
    ]
    heading = "| tokens in the prompt | its beginning is new | is in the cache | ratio |"
    return "\n".join([circumstances(record), "", heading, "| --- " * 4 + "|", *rows])


def fairness_table() -> str:
    record = read("fairness")
    ours = record["result"]
    row = (
        f"| {ours['alone_ms']:.0f} ms | {ours['flooded_ms']:.0f} ms | **{ours['ratio']:.1f}** "
        f"| {ours['worst_flooded_ms']:.0f} ms |"
    )
    heading = "| a small chat alone | while another floods | ratio | the longest |"
    return "\n".join([circumstances(record), "", heading, "| --- " * 4 + "|", row])


def grammar_table() -> str:
    record = read("grammar")
    rows = [
        f"| {number} | {ours['step_cpu_ms']['without']:.1f} ms "
        f"| {ours['step_cpu_ms']['with']:.1f} ms | **{ours['ratio_with']['median']:.2f}** "
        f"| {ours['ratio_half']['median']:.2f} | {ours['ratio_near_end']['median']:.2f} |"
        for number, ours in record["result"]["sequences"].items()
    ]
    heading = (
        "| sequences | CPU time of a step | with a schema | ratio | half of them with one | near "
        "the limit |"
    )
    return "\n".join([circumstances(record), "", heading, "| --- " * 6 + "|", *rows])


def read(name: str) -> dict[str, Any]:
    record: dict[str, Any] = json.loads(result_file(name).read_text())
    return record


def result_file(name: str) -> Path:
    return FOLDER / "results" / f"{name}.json"


def circumstances(record: dict[str, Any]) -> str:
    return (
        f"`{record['benchmark']}`, {record['date']}, commit {record['commit']}, "
        f"{record['machine']}, torch {record['torch']}:"
    )


if __name__ == "__main__":
    main()
