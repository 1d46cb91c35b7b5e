"""Settings and the catalogue: order of sources, and refusal of what is misspelled."""

from pathlib import Path

import pytest

from tests.small_models import make_model
from tunesmith.catalog import engine_key, read_catalog
from tunesmith.domain.models import EnginePlace, HubRepository, Prices, RemoteEngine
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


def test_a_model_of_a_hub_has_its_place_before_it_is_there(tmp_path: Path) -> None:
    (tmp_path / "models.toml").write_text(
        '[models.a]\nsource = "hub:Qwen/Qwen3-0.6B"\n'
        '[models.b]\nsource = "hub:Qwen/Qwen3-0.6B"\nrevision = "refs/pr/1"\n'
        '[models."gpt-4o-2024-08-06"]\nsource = "hub:Qwen/Qwen3-0.6B"\n'
    )
    catalog = read_catalog(tmp_path)
    a, b, c = (catalog.entries[name] for name in ("a", "b", "gpt-4o-2024-08-06"))
    assert a.source == c.source == str(tmp_path / "models" / "Qwen--Qwen3-0.6B--main")
    assert b.source == str(tmp_path / "models" / "Qwen--Qwen3-0.6B--refs%2Fpr%2F1")
    assert (a.hub, b.hub) == (
        HubRepository("Qwen/Qwen3-0.6B", "main"),
        HubRepository("Qwen/Qwen3-0.6B", "refs/pr/1"),
    )
    assert catalog.of_source(b.source) is b
    assert not list(tmp_path.glob("models/*")), "reading the catalogue makes nothing"


def test_prices_are_those_that_are_named(tmp_path: Path) -> None:
    (tmp_path / "models.toml").write_text(
        '[models.a]\nsource = "tunesmith-tiny"\nprices = { input = 3, output = 6.5 }\n'
        '[models."gpt-4o-2024-08-06"]\naliases = ["4o"]\n'
    )
    catalog = read_catalog(tmp_path)
    assert catalog.entries["a"].prices == Prices(0.0, 3.0, 3.0, 6.5)
    assert catalog.entries["gpt-4o-2024-08-06"].prices == Prices(25.0, 3.75, 1.875, 15.0)
    assert catalog.entries["ada"].prices == Prices(0.4, 1.6, 1.6, 1.6)
    assert catalog.entries["tunesmith-tiny"].prices == Prices()


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
        ('[models.a]\nsource = "Qwen/Qwen3"\n', 'write source = "hub:Qwen/Qwen3"'),
        ('[models.a]\nsource = "hub:Qwen3"\n', "hub:ORGANISATION/NAME"),
        ('[models.a]\nsource = "hub:../../etc"\n', "hub:ORGANISATION/NAME"),
        ('[models.a]\nsource = "hub:a/b/c"\n', "hub:ORGANISATION/NAME"),
        ('[models.a]\nsource = "hub:a--b/c"\n', "hub:ORGANISATION/NAME"),
        ('[models.a]\nsource = "hub:a/b"\nrevision = "../c"\n', "name of a branch"),
        ('[models.a]\nsource = "hub:a/b"\nrevision = 3\n', "name of a branch"),
        ('[models.a]\nsource = "tunesmith-tiny"\nrevision = "main"\n', "goes with a source"),
        ('[models.a]\nsource = "tunesmith-tiny"\nprices = 3\n', 'models."a": prices must be'),
        ('[models.a]\nsource = "tunesmith-tiny"\nprices = {inputs = 3}\n', "price 'inputs'"),
        ('[models.a]\nsource = "tunesmith-tiny"\nprices = {input = -1}\n', "price of input"),
        ('[models.a]\nsource = "tunesmith-tiny"\nprices = {input = nan}\n', "price of input"),
        ('[models.a]\nsource = "tunesmith-tiny"\nprices = {input = true}\n', "price of input"),
    ],
)
def test_bad_catalogue_is_refused_by_name(tmp_path: Path, text: str, complaint: str) -> None:
    (tmp_path / "models.toml").write_text(text)
    with pytest.raises(BadSetting, match=complaint):
        read_catalog(tmp_path)


ENGINE = 'url = "http://gpu:8000/", adapters = "vllm"'


def test_a_base_model_may_be_answered_by_a_remote_engine(tmp_path: Path) -> None:
    """One of the names that share weights: the others keep an engine of ours."""
    (tmp_path / "models.toml").write_text(
        f'[models."gpt-4o-mini-2024-07-18"]\nengine = {{ {ENGINE}, model = "org/name", '
        'adapters_path = "/mnt/adapters", api_key_env = "GPU_KEY" }\n'
    )
    catalog = read_catalog(tmp_path)
    base = catalog.find("gpt-4o-mini")
    assert base
    assert base.engine == RemoteEngine("http://gpu:8000", "org/name", "/mnt/adapters", "GPU_KEY")
    assert catalog.engine_places() == (EnginePlace(base.source), EnginePlace(*base.engine_place))
    assert engine_key(base.engine, {"GPU_KEY": " secret\n"}) == "secret"
    for environ in ({}, {"GPU_KEY": ""}, {"GPU_KEY": "a\nb"}):
        with pytest.raises(BadSetting, match="variable GPU_KEY, which "):
            engine_key(base.engine, environ)
    assert engine_key(RemoteEngine("http://gpu:8000"), {}) is None


@pytest.mark.parametrize(
    ("engine", "complaint"),
    [
        ('"http://gpu:8000"', "engine must be a table"),
        ('{ url = "http://gpu:8000" }', 'engine needs adapters = "vllm"'),
        ('{ url = "http://gpu:8000", adapters = "other" }', 'engine needs adapters = "vllm"'),
        ('{ adapters = "vllm" }', "url of engine must be like"),
        (f'{{ {ENGINE}, port = "1" }}', "unknown field of engine 'port'; known: adapters"),
        (f"{{ {ENGINE}, model = 1 }}", "model of engine must be a text"),
        (f'{{ {ENGINE}, adapters_path = "here" }}', "must be an absolute path"),
        (f'{{ {ENGINE}, api_key_env = "sk-123" }}', "not the key itself"),
        *(
            (f'{{ url = "{url}", adapters = "vllm" }}', complaint)
            for url, complaint in (
                ("gpu:8000", "url of engine must be like"),
                ("ftp://gpu", "url of engine must be like"),
                ("http://", "url of engine must be like"),
                ("http://gpu:port", "url of engine must be like"),
                ("http://gpu:99999", "url of engine must be like"),
                ("http://[::1", "url of engine must be like"),
                ("http://gpu/?a=b", "url of engine must be like"),
                ("http://me:pw@gpu:8000", "may not hold a password"),
                ("http://gpu:8000/v1", "without /v1"),
                ("http://gpu:8000/v1/", "without /v1"),
            )
        ),
    ],
)
def test_a_remote_engine_that_can_not_be_is_refused_by_entry_and_field(
    tmp_path: Path, engine: str, complaint: str
) -> None:
    (tmp_path / "models.toml").write_text(f"[models.tunesmith-tiny]\nengine = {engine}\n")
    with pytest.raises(BadSetting, match=complaint) as caught:
        read_catalog(tmp_path)
    assert 'models."tunesmith-tiny"' in caught.value.message
    assert "me:pw" not in caught.value.message


def test_one_engine_serves_one_base_model(tmp_path: Path) -> None:
    """Another one's answers would come from the wrong weights."""
    make_model(tmp_path / "weights")
    (tmp_path / "models.toml").write_text(
        f"[models.tunesmith-tiny]\nengine = {{ {ENGINE} }}\n"
        f'[models.other]\nsource = "weights"\nengine = {{ {ENGINE} }}\n'
    )
    with pytest.raises(BadSetting, match="tunesmith-tiny and other name one engine"):
        read_catalog(tmp_path)
