"""A classifier's metrics: by hand on a model that is a table, and by scikit-learn on the logits of
transformers and PEFT."""

from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn import metrics as sk

from tests.small_models import VOCAB_SIZE, make_model
from tests.unit.training.bigrams import bigram_model
from tests.unit.training.runs import Examples, make_examples, make_plan, run
from tunesmith.datasets.render import Row
from tunesmith.domain import errors
from tunesmith.domain.classification import ClassTokens
from tunesmith.modeling.decoder import Decoder
from tunesmith.modeling.lora import LoraAdapter, LoraSpec
from tunesmith.modeling.weights import load_decoder
from tunesmith.training.classification import measure

YES, NO, MAYBE, OTHER, END = 1, 2, 3, 4, 5
# What the model says after a prompt that ends with one of these tokens.
A, B, C, D, E = 11, 12, 13, 14, 15
LIKELY = {A: 0.9, B: 0.6, C: 0.3, D: 0.1, E: 0.2}  # of YES, against NO
THIRD = 21
BINARY = ClassTokens((NO, YES), positive=1, betas=(1.0, 2.0, 0.5))
THREE = ClassTokens((YES, NO, MAYBE), positive=None, betas=())


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Decoder:
    """Half of the probability goes to what is no class."""
    said = {
        token: {YES: likely / 2, NO: (1 - likely) / 2, OTHER: 0.5}
        for token, likely in LIKELY.items()
    }
    said[THIRD] = {YES: 0.2, NO: 0.1, MAYBE: 0.3, OTHER: 0.4}
    return bigram_model(tmp_path_factory.mktemp("table"), said)


def example(last: int, *completion: int, length: int = 3) -> list[Row]:
    """A prompt that ends with `last`, of `length` tokens, and its completion."""
    prompt = [OTHER] * (length - 1) + [last]
    return [Row([*prompt, *completion, END], [0.0] * length + [1.0] * (len(completion) + 1))]


def measured(
    classes: ClassTokens, examples: Examples, base: Decoder, max_tokens: int = 8192
) -> dict[str, float]:
    adapter = LoraAdapter.initialise(base.shape, LoraSpec(4, 8.0, ("q_proj",)), seed=1)
    return measure(classes, [examples[:2], examples[2:]], max_tokens, base, adapter)


@pytest.mark.parametrize("max_tokens", [8192, 7, 1])
def test_binary_metrics_are_those_worked_by_hand(table: Decoder, max_tokens: int) -> None:
    """Called positive are A and B, of which A is; of the others C and E are too. So 1 true and 1
    false positive, 2 false and 1 true negative. Ranked A B C E D, with 3 positives at places 1, 3
    and 4: 4 of the 6 pairs are in order, and precision there is 1, 2/3 and 3/4."""
    truth = {A: YES, B: NO, C: YES, D: NO, E: YES}
    examples = [example(last, truth[last], length=2 + last % 3) for last in truth]
    assert measured(BINARY, examples, table, max_tokens) == pytest.approx(
        {
            "classification/accuracy": 2 / 5,
            "classification/precision": 1 / 2,
            "classification/recall": 1 / 3,
            "classification/auroc": 4 / 6,
            "classification/auprc": (1 + 2 / 3 + 3 / 4) / 3,
            "classification/f1.0": 2 / 5,
            "classification/f2.0": 5 / 14,
            "classification/f0.5": 5 / 11,
        }
    )


def test_metrics_of_many_classes_are_those_worked_by_hand(table: Decoder) -> None:
    """Answered are YES, NO, NO, NO. F1 by class: 2/3 (of two examples), 1/2 and 0."""
    examples = [example(A, YES), example(D, YES), example(D, NO), example(E, MAYBE)]
    assert measured(THREE, examples, table) == pytest.approx(
        {
            "classification/accuracy": 2 / 4,
            "classification/weighted_f1_score": (2 * 2 / 3 + 1 / 2 + 0) / 4,
        }
    )


def test_a_class_that_only_the_whole_vocabulary_beats_is_the_answer(table: Decoder) -> None:
    assert measured(THREE, [example(THIRD, MAYBE)], table)["classification/accuracy"] == 1.0


def test_two_classes_without_a_positive_one_are_like_any_number(table: Decoder) -> None:
    classes = ClassTokens((NO, YES), positive=None, betas=())
    figures = measured(classes, [example(A, YES), example(D, NO)], table)
    assert figures == {"classification/accuracy": 1.0, "classification/weighted_f1_score": 1.0}


@pytest.mark.parametrize(
    ("truth", "undefined"),
    [(YES, {"classification/auroc"}), (NO, {"classification/auroc", "classification/auprc"})],
)
def test_what_one_class_alone_leaves_undefined_is_left_out(
    table: Decoder, truth: int, undefined: set[str]
) -> None:
    figures = measured(BINARY, [example(A, truth), example(D, truth)], table)
    assert set(BINARY.metrics()) - figures.keys() == undefined
    assert figures["classification/accuracy"] == 0.5


def test_what_all_completions_begin_with_is_read_like_a_prompt(table: Decoder) -> None:
    """The classes' blank, say: A after a prompt that tells nothing."""
    classes = ClassTokens((NO, YES), positive=1, betas=(1.0,), num_shared=1)
    examples = [example(OTHER, A, YES), example(OTHER, D, NO)]
    assert measured(classes, examples, table)["classification/accuracy"] == 1.0


def test_nothing_called_positive_is_a_precision_of_zero(table: Decoder) -> None:
    figures = measured(BINARY, [example(D, YES), example(E, NO)], table)
    assert figures["classification/precision"] == figures["classification/f1.0"] == 0.0


def test_a_likelihood_of_a_half_is_called_positive(tmp_path: Path) -> None:
    base = bigram_model(tmp_path, {A: {YES: 0.5, NO: 0.5}})
    assert measured(BINARY, [example(A, YES)], base)["classification/recall"] == 1.0


def labelled_examples(num_examples: int, class_tokens: tuple[int, ...], seed: int) -> Examples:
    """Random prompts; completions of two tokens, the second one random too."""
    generator = np.random.default_rng(seed)
    examples = []
    for _ in range(num_examples):
        prompt = generator.integers(60, VOCAB_SIZE, int(generator.integers(3, 12))).tolist()
        completion = [int(generator.choice(class_tokens)), int(generator.integers(60, 70))]
        weights = [0.0] * len(prompt) + [1.0] * 3
        examples.append([Row([*prompt, *completion, 5], weights)])
    return examples


@pytest.mark.filterwarnings("ignore")  # transformers and PEFT warn of their next versions
@pytest.mark.parametrize(
    "classes",
    [ClassTokens((20, 30), positive=0, betas=(1.0, 0.5)), ClassTokens((20, 30, 40), None, ())],
    ids=["binary", "three classes"],
)
def test_a_trained_classifiers_metrics_are_scikit_learns_on_pefts_logits(
    classes: ClassTokens, tmp_path: Path
) -> None:
    """Measured at the end of each epoch, on the whole file."""
    from peft import PeftModel  # here: importing them takes seconds
    from transformers import AutoModelForCausalLM

    folder = make_model(tmp_path / "base")
    base = load_decoder(folder, torch.device("cpu"), torch.float32)
    examples = labelled_examples(6, classes.token_ids, seed=1)
    valid = labelled_examples(40, classes.token_ids, seed=2)
    plan = make_plan(examples, n_epochs=2, classes=classes, max_micro_batch_tokens=30)
    record = run(plan, examples, base, tmp_path / "run", valid_examples=valid)

    assert [bool(done.metrics.classification) for done in record.steps] == [False, False, True] * 2
    for checkpoint in record.checkpoints:
        twin = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
        twin = PeftModel.from_pretrained(twin, checkpoint.adapter_folder).eval()
        truth, scores = [], []
        for [row] in valid:
            with torch.no_grad():
                logits = twin(torch.tensor([row.token_ids[:-3]])).logits[0, -1].double().numpy()
            of_classes = np.exp(logits[list(classes.token_ids)])
            scores.append(of_classes / of_classes.sum())
            truth.append(classes.token_ids.index(row.token_ids[-3]))
        expected = by_scikit_learn(np.array(truth), np.array(scores), is_binary=classes.is_binary)
        assert checkpoint.metrics.classification == pytest.approx(expected, rel=1e-9)
        assert list(checkpoint.metrics.classification) == list(classes.metrics())


def by_scikit_learn(truth: np.ndarray, scores: np.ndarray, *, is_binary: bool) -> dict[str, float]:
    if not is_binary:
        answers = scores.argmax(axis=1)
        return {
            "classification/accuracy": sk.accuracy_score(truth, answers),
            "classification/weighted_f1_score": sk.f1_score(truth, answers, average="weighted"),
        }
    is_positive, probability = truth == 0, scores[:, 0]
    called = probability > 0.5
    return {
        "classification/accuracy": sk.accuracy_score(is_positive, called),
        "classification/precision": sk.precision_score(is_positive, called),
        "classification/recall": sk.recall_score(is_positive, called),
        "classification/auroc": sk.roc_auc_score(is_positive, probability),
        "classification/auprc": sk.average_precision_score(is_positive, probability),
        "classification/f1.0": sk.f1_score(is_positive, called),
        "classification/f0.5": sk.fbeta_score(is_positive, called, beta=0.5),
    }


def test_without_a_validation_file_nothing_is_classified(base: Decoder, tmp_path: Path) -> None:
    examples = make_examples(2)
    plan = make_plan(examples, classes=ClassTokens((20, 30), None, ()))
    assert not any(
        done.metrics.classification for done in run(plan, examples, base, tmp_path).steps
    )


def test_a_classifier_that_diverges_fails_as_any_job_does(base: Decoder, tmp_path: Path) -> None:
    """There is no metric of numbers that aren't finite."""
    classes = ClassTokens((20, 30), positive=0, betas=(1.0,))
    examples = labelled_examples(4, classes.token_ids, seed=1)
    plan = make_plan(examples, n_epochs=1, batch_size=4, learning_rate=1e30, classes=classes)
    with pytest.raises(errors.JobFailed):
        run(plan, examples, base, tmp_path, valid_examples=examples)
