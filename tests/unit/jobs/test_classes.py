"""The classes of a classifier, found in its files or refused with what to do."""

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import pytest

from tests.small_models import SPECIAL_TOKENS, make_model
from tests.unit.jobs.test_data import job_with
from tunesmith.datasets.render import Renderer
from tunesmith.domain.classification import NUM_CLASSES, Classification, ClassTokens
from tunesmith.domain.errors import InvalidTrainingData, LeaseLost
from tunesmith.domain.ids import Ids
from tunesmith.domain.models import BaseModel
from tunesmith.jobs.classes import find_classes
from tunesmith.jobs.data import survey_files
from tunesmith.store.store import Store, open_store

CONTEXT = 64  # tokens: the model has one a byte
DOCUMENT_END = SPECIAL_TOKENS.index("<|endoftext|>")


def token(letter: str) -> int:
    """The small model has one for each byte, in the order of its alphabet."""
    return len(SPECIAL_TOKENS) + ord(letter) - ord("!")


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> BaseModel:
    folder = make_model(tmp_path_factory.mktemp("base"), max_position_embeddings=CONTEXT)
    return BaseModel("small", str(folder))


@pytest.fixture(scope="module")
def renderer(base: BaseModel) -> Renderer:
    return Renderer.load(Path(base.source))


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    store = open_store(tmp_path / "data", ids=Ids(), clock=lambda: datetime.now(UTC))
    yield store
    store.close()


class Files:
    """Surveys files with these completions, and asks for their classes."""

    def __init__(self, store: Store, base: BaseModel, renderer: Renderer, folder: Path) -> None:
        self.store, self.base, self.renderer, self.folder = store, base, renderer, folder

    def classes(self, train: list[Any], valid: list[Any] | None, **asked: Any) -> ClassTokens:
        job = job_with(self.store, lines(train), None if valid is None else lines(valid))
        run_folder = Path(mkdtemp(dir=self.folder))
        files = survey_files(self.store.blobs, job, self.base, run_folder, 20, lambda: None)
        return find_classes(files, Classification(**asked), self.renderer, lambda: None)

    def refusal(self, train: list[Any], valid: list[Any] | None, **asked: Any) -> tuple[str, ...]:
        """Code, parameter and message."""
        with pytest.raises(InvalidTrainingData) as caught:
            self.classes(train, valid, **asked)
        detail = caught.value.detail()
        assert detail.code == f"invalid_{detail.param}"
        return detail.param or "", detail.message


@pytest.fixture
def files(store: Store, base: BaseModel, renderer: Renderer, tmp_path: Path) -> Files:
    return Files(store, base, renderer, tmp_path)


def lines(completions: list[Any]) -> list[Any]:
    """At least ten: shorter lists are repeated. What isn't text is a line itself."""
    repeated = (completions * 10)[: max(10, len(completions))]
    return [
        {"prompt": f"p{n} ->", "completion": item} if isinstance(item, str) else item
        for n, item in enumerate(repeated)
    ]


def test_classes_are_the_distinct_completions_in_the_training_files_order(files: Files) -> None:
    found = files.classes(["no", "yes", "maybe"], ["yes", "no"], num_classes=3)
    assert found == ClassTokens(tuple(map(token, "nym")), positive=None, betas=(1.0,))


@pytest.mark.parametrize("num_classes", [None, 2])
def test_a_positive_class_is_one_of_two(files: Files, num_classes: int | None) -> None:
    found = files.classes(
        ["no", "yes"], ["yes"], num_classes=num_classes, positive_class="yes", betas=(2, 0.5, 2)
    )
    assert found == ClassTokens((token("n"), token("y")), positive=1, betas=(2.0, 0.5))
    assert all(isinstance(beta, float) for beta in found.betas)


@pytest.mark.parametrize("asked", ["yes\n", "yes", " yes "])
def test_a_positive_class_is_found_without_the_white_space_around_it(
    files: Files, asked: str
) -> None:
    assert files.classes(["no\n", "yes\n"], ["no\n"], positive_class=asked).positive == 1


def test_an_exact_spelling_comes_before_one_without_white_space(files: Files) -> None:
    assert files.classes(["yes ", " yes"], ["yes "], positive_class=" yes").positive == 1


def test_a_positive_class_that_could_be_either_is_refused(files: Files) -> None:
    param, message = files.refusal(["yes ", " yes"], ["yes "], positive_class="yes")
    assert param == "training_file"
    assert "'yes' is none of the classes, or not clearly one" in message
    assert "they are 'yes ', ' yes'" in message


def test_a_positive_class_that_is_none_is_refused_with_those_there_are(files: Files) -> None:
    train = ["yes" * 15, "no"]
    param, message = files.refusal(train, ["no"], positive_class="true")
    assert param == "training_file"
    assert message.startswith("The job failed due to an invalid training file. ")
    assert "'true' is none of the classes" in message
    assert f"they are '{'yes' * 13}y…', 'no'" in message


@pytest.mark.parametrize(
    "asked", [{"num_classes": 2}, {"positive_class": "no"}], ids=["number", "positive class"]
)
def test_more_classes_than_asked_for_are_refused(files: Files, asked: dict[str, Any]) -> None:
    param, message = files.refusal(["no", "yes", "maybe", "often"], ["no"], **asked)
    assert param == "training_file"
    assert "make more than 2 classes: 'no', 'yes', 'maybe'." in message
    assert "classification_n_classes" in message


def test_fewer_classes_than_asked_for_are_refused(files: Files) -> None:
    param, message = files.refusal(["no", "yes"], ["no"], num_classes=3)
    assert param == "training_file"
    assert "make only 2 classes: 'no', 'yes'. Let each be one of 3" in message


@pytest.mark.parametrize(
    ("completions", "found"),
    [
        ([" no", " yes"], (1, token("n"), token("y"))),
        ([" 0", " 1"], (1, token("0"), token("1"))),
        ([" 1", " 10"], (2, DOCUMENT_END, token("0"))),
    ],
)
def test_what_all_classes_begin_with_does_not_count(
    files: Files, completions: list[str], found: tuple[int, ...]
) -> None:
    """To many a tokenizer the blank before a number is a token of its own."""
    classes = files.classes(completions, completions, positive_class=completions[1])
    assert (classes.num_shared, *classes.token_ids) == found
    assert classes.positive == 1


def test_classes_that_begin_alike_are_refused(files: Files) -> None:
    param, message = files.refusal(["ham", "spam", "spark"], ["ham"], num_classes=3)
    assert param == "training_file"
    assert "'spam', 'spark' begin alike" in message


def test_a_completion_that_training_never_shows_is_refused_with_its_line(files: Files) -> None:
    param, message = files.refusal(["no", "yes"], ["no", "yes", "yes!"], num_classes=2)
    assert param == "validation_file"
    assert message.startswith("The job failed due to an invalid validation file. Example 3 ")
    assert "'yes!'" in message
    assert "Its classes are 'no', 'yes'." in message


def test_the_line_is_right_behind_an_example_that_is_left_out(files: Files) -> None:
    """The second example has no room for its completion."""
    overlong = {"prompt": "x" * CONTEXT, "completion": "no"}
    param, message = files.refusal(["no", "yes"], ["no", overlong, "?"], num_classes=2)
    assert (param, "Example 3 has" in message) == ("validation_file", True)


def test_conversations_are_refused(files: Files) -> None:
    chat = {"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "yes"}]}
    param, message = files.refusal(["no", "yes"], [chat], num_classes=2)
    assert param == "validation_file"
    assert "a prompt and a completion" in message
    assert files.refusal([chat], ["no"], num_classes=2)[0] == "training_file"


def test_a_missing_validation_file_is_refused(files: Files) -> None:
    param, message = files.refusal(["no", "yes"], None, num_classes=2)
    assert param == "validation_file"
    assert "there is none" in message


def test_completions_that_were_cut_off_go_by_the_token_that_decides(files: Files) -> None:
    """As the metrics do; and they are no classes of their own."""
    cut = {"prompt": "x" * (CONTEXT - 2), "completion": "yes"}
    found = files.classes(["no", cut, "yes"], [cut, "no"], num_classes=2)
    assert found.token_ids == (token("n"), token("y"))
    unknown = {"prompt": "x" * (CONTEXT - 2), "completion": "maybe"}
    assert "'ma'" in files.refusal(["no", "yes"], [unknown], num_classes=2)[1]
    undecided = {"prompt": "x" * (CONTEXT - 1), "completion": " yes"}
    assert "' '" in files.refusal([" no", " yes"], [undecided], num_classes=2)[1]


@pytest.mark.parametrize("num_classes", [1, NUM_CLASSES.stop])
def test_a_number_of_classes_beyond_the_limits_is_refused(files: Files, num_classes: int) -> None:
    """What is kept of the classes while they are looked for is bounded by it."""
    param, message = files.refusal(["no", "yes"], ["no"], num_classes=num_classes)
    assert param == "training_file"
    assert "has 2 to 1000 classes" in message


def test_a_search_that_nobody_wants_any_more_ends(
    store: Store, base: BaseModel, renderer: Renderer, tmp_path: Path
) -> None:
    def unwanted() -> None:
        raise LeaseLost("cancelled")

    job = job_with(store, lines(["no", "yes"]), lines(["no"]))
    surveyed = survey_files(store.blobs, job, base, tmp_path / "run", 20, lambda: None)
    with pytest.raises(LeaseLost):
        find_classes(surveyed, Classification(num_classes=2), renderer, unwanted)
