"""Settings and the catalogue: order of sources, and refusal of what is misspelled."""

from pathlib import Path

import pytest

from tests.small_models import make_model
from tunesmith.catalog import read_catalog
from tunesmith.settings import BadSetting, read_settings


def test_flag_beats_environment_beats_file_beats_default(tmp_path: Path) -> None:
    (tmp_path / "settings.toml").write_text('port = 1\nhost = "file"\norg_name = "file"\n')
    environ = {"TUNESMITH_PORT": "2", "TUNESMITH_HOST": "environment", "HOME": "/"}
    settings, origins = read_settings({"data_dir": tmp_path, "port": 3, "device": None}, environ)
    assert (settings.port, settings.host, settings.org_name) == (3, "environment", "file")
    sources = [origins[name].source for name in ("port", "host", "org_name", "device")]
    assert sources == ["flag", "environment", "file", "default"]


@pytest.mark.parametrize(
    ("environ", "complaint"),
    [
        ({"TUNESMITH_PROT": "1"}, "TUNESMITH_PROT"),
        ({"TUNESMITH_PORT": "eighty"}, "port must be of type int"),
        ({"TUNESMITH_PORT": "65536"}, "port must be at least 0 and at most 65535"),
        ({"TUNESMITH_LEASE_S": "0"}, "lease_s must be at least"),
        ({"TUNESMITH_LEASE_S": "nan"}, "lease_s must be at least"),
        ({"TUNESMITH_RESULT_FILE_FORMAT": "jsonl"}, "csv or base64"),
    ],
)
def test_bad_environment_is_refused(environ: dict[str, str], complaint: str) -> None:
    with pytest.raises(BadSetting, match=complaint):
        read_settings({}, environ)


def test_unknown_name_in_the_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "settings.toml").write_text("prot = 1\n")
    with pytest.raises(BadSetting, match="prot"):
        read_settings({"data_dir": tmp_path}, {})


def test_packaged_names_answer_with_the_embedded_base(tmp_path: Path) -> None:
    catalog = read_catalog(tmp_path)
    tiny = catalog.find("tunesmith-tiny")
    alias = catalog.find("gpt-4o-mini")
    assert tiny
    assert alias
    assert alias.name == "gpt-4o-mini-2024-07-18"
    assert alias.source == tiny.source
    assert catalog.sources() == (tiny.source,)


def test_operator_points_a_name_at_other_weights(tmp_path: Path) -> None:
    folder = make_model(tmp_path / "weights" / "smol")
    (tmp_path / "models.toml").write_text(
        '[models."gpt-4o-mini-2024-07-18"]\nsource = "weights/smol"\n'
        '[models.smol]\nsource = "weights/smol"\naliases = ["s"]\ninference_context = 64\n'
    )
    catalog = read_catalog(tmp_path)
    for name in ("gpt-4o-mini", "s"):
        entry = catalog.find(name)
        assert entry
        assert entry.source == str(folder.resolve())


def test_catalogue_without_entries_changes_nothing(tmp_path: Path) -> None:
    (tmp_path / "models.toml").write_text("# nothing yet\n")
    assert read_catalog(tmp_path).find("gpt-4o")


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("[models.a]\n", "needs a source"),
        ('[models.a]\nsource = "nowhere"\n', "not a model folder"),
        ('[models.a]\nsource = "tunesmith-tiny"\nprize = 1\n', "unknown field 'prize'"),
        ('[models.a]\nsource = "tunesmith-tiny"\naliases = ["gpt-4o"]\n', "names both"),
        ('[models."a:b"]\nsource = "tunesmith-tiny"\n', "may not be empty or hold"),
        ("[model.a]\n", "unknown section"),
        ("[models", "can't be read"),
        ("models = 3\n", "must be sections"),
        ("[models]\na = 3\n", "must be a section"),
        ('[models.a]\nsource = "tunesmith-tiny"\naliases = "gpt"\n', "list of names"),
        ('[models.a]\nsource = "tunesmith-tiny"\ntraining_context = true\n', "number of tokens"),
    ],
)
def test_bad_catalogue_is_refused_by_name(tmp_path: Path, text: str, complaint: str) -> None:
    (tmp_path / "models.toml").write_text(text)
    with pytest.raises(BadSetting, match=complaint):
        read_catalog(tmp_path)
