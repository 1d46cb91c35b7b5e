"""Model names and the catalogue."""

from datetime import datetime, timedelta, timezone

import pytest

from tunesmith.domain import errors, models
from tunesmith.domain.models import BaseModel, Catalog


def test_tuned_name_without_suffix_keeps_both_colons() -> None:
    assert models.tuned_name("gpt-3.5-turbo-0613", "personal", None, "8J6LXhXG") == (
        "ft:gpt-3.5-turbo-0613:personal::8J6LXhXG"
    )


def test_checkpoint_name_says_its_step() -> None:
    name = models.tuned_name("gpt-4o-mini-2024-07-18", "personal", "suffix", "9uJPavMj")
    assert models.checkpoint_name(name, None) == name
    assert models.checkpoint_name(name, 200) == (
        "ft:gpt-4o-mini-2024-07-18:personal:suffix:9uJPavMj:ckpt-step-200"
    )


@pytest.mark.parametrize(
    ("suffix", "name"),
    [
        (None, "curie:ft-personal-2023-04-18-09-48-38"),
        ("custom model-name", "curie:ft-personal:custom-model-name-2023-04-18-09-48-38"),
    ],
)
def test_first_eras_name_ends_with_the_time_in_utc(suffix: str | None, name: str) -> None:
    made_at = datetime(2023, 4, 18, 11, 48, 38, tzinfo=timezone(timedelta(hours=2)))
    assert models.fine_tune_name("curie", "personal", suffix, made_at) == name


@pytest.mark.parametrize(
    ("suffix", "cleaned"),
    [
        ("custom-model_name1", "custom-model_name1"),
        ("my model!", "my-model-"),
        ("a" * 64, "a" * 64),
    ],
)
def test_suffix_keeps_what_may_stand_in_a_name(suffix: str, cleaned: str) -> None:
    assert models.clean_suffix(suffix) == cleaned


@pytest.mark.parametrize("suffix", ["", "a:b", "a" * 65])
def test_unusable_suffix_is_refused(suffix: str) -> None:
    with pytest.raises(errors.InvalidRequest) as caught:
        models.clean_suffix(suffix)
    assert caught.value.param == "suffix"


def test_catalogue_finds_by_alias_and_lists_each_source_once() -> None:
    catalog = Catalog([BaseModel("a-2024", "weights", aliases=("a",)), BaseModel("b", "weights")])
    assert catalog.find("a") is catalog.find("a-2024") is catalog.entries["a-2024"]
    assert catalog.find("c") is None
    assert catalog.sources() == ("weights",)
