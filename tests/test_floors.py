"""The picture of the house, and a check that the code keeps to it.

    6  cli, app                                     top
    5  api                                          faces
    4  jobs                                         work
    3  training, inference                          engines: they don't know each other
    2  adapters                                     the hand-over
    1  store, datasets, modeling, wire              rooms
    0  domain, settings, catalog, disk              ground

Imports point down. On one floor only the ground's neighbours may meet. torch stays where models
are: the API process and the command line start without it.
"""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[1] / "src" / "tunesmith"
FLOORS = {
    "domain": 0,
    "settings": 0,
    "catalog": 0,
    "disk": 0,
    "store": 1,
    "datasets": 1,
    "modeling": 1,
    "wire": 1,
    "adapters": 2,
    "training": 3,
    "inference": 3,
    "jobs": 4,
    "api": 5,
    "app": 6,
    "cli": 6,
}
ONLY_FACES_SPEAK_OPENAI = {"api", "cli", "app", "wire"}
MAY_IMPORT_TORCH = {"modeling", "adapters", "training", "inference", "jobs"}


def modules() -> Iterator[tuple[Path, str, set[str]]]:
    """Each source file, its part of the house, and the modules that it imports at its top level."""
    for path in sorted(SOURCE.rglob("*.py")):
        part = path.relative_to(SOURCE).parts[0].removesuffix(".py")
        if part in ("__init__", "__main__"):
            continue
        names = set()
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                names |= {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module:
                names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
        yield path, part, names


def parts_of_ours(names: set[str]) -> set[str]:
    return {name.split(".")[1] for name in names if name.startswith("tunesmith.")} & FLOORS.keys()


def test_every_part_has_a_floor() -> None:
    assert {part for _, part, _ in modules()} <= FLOORS.keys()


def test_imports_point_down() -> None:
    for path, part, names in modules():
        for used in parts_of_ours(names) - {part}:
            is_down = FLOORS[used] < FLOORS[part]
            is_ground = FLOORS[used] == FLOORS[part] == 0
            is_top = FLOORS[used] == FLOORS[part] == 6
            assert is_down or is_ground or is_top, f"{path.name} ({part}) imports {used}"


def test_domain_uses_the_standard_library_only() -> None:
    for path, part, names in modules():
        if part == "domain":
            tops = {name.split(".")[0] for name in names} - {"tunesmith"}
            assert tops <= sys.stdlib_module_names, path


def test_openai_shapes_stay_in_the_faces() -> None:
    for path, part, names in modules():
        if "wire" in parts_of_ours(names):
            assert part in ONLY_FACES_SPEAK_OPENAI, path


def test_torch_stays_where_models_are() -> None:
    for path, part, names in modules():
        if any(name.split(".")[0] == "torch" for name in names):
            assert part in MAY_IMPORT_TORCH, path


def test_nothing_in_the_package_imports_transformers() -> None:
    for path, _, names in modules():
        assert not {"transformers", "peft", "trl"} & {name.split(".")[0] for name in names}, path


@pytest.mark.parametrize("module", ["tunesmith.api.app", "tunesmith.cli.main", "tunesmith.app"])
def test_faces_start_without_torch(module: str) -> None:
    """A second of import time and 200 MB: the API process must not pay it. Nor what a download
    needs, before there is one."""
    code = (
        f"import sys, {module}; sys.exit(bool({{'torch', 'huggingface_hub'}} & {{*sys.modules}}))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
