"""What creates a fine-tune of the first era (behaviour reference, section 20.2).

Other than today's jobs, it takes no null: a parameter is sent, or it isn't.
"""

from typing import Annotated

from pydantic import BeforeValidator, Field
from pydantic.json_schema import SkipJsonSchema
from pydantic_core import PydanticKnownError
from pydantic_core.core_schema import ErrorType

from tunesmith.domain import errors
from tunesmith.domain.classification import NUM_CLASSES, Classification
from tunesmith.domain.models import MAX_FINE_TUNE_SUFFIX_LENGTH
from tunesmith.domain.plan import (
    BATCH_SIZE,
    FINE_TUNES_MULTIPLIER,
    N_EPOCHS,
    Hyperparameters,
)
from tunesmith.wire.base import Name, Request

DEFAULT_MODEL = "curie"
DEFAULT_N_EPOCHS = 4
DEFAULT_PROMPT_LOSS_WEIGHT = 0.01
MAX_MULTIPLIER = 100.0  # 0.02 to 0.2 is usual
MAX_CLASS_LENGTH = 512  # characters
MAX_BETAS = 10
MAX_F_BETA = 1000.0


def sent(kind: ErrorType) -> BeforeValidator:
    """For a parameter without a default: null is refused like any other wrong type. `kind` is
    pydantic's name for that."""

    def refuse_null(value: object) -> object:
        if value is None:
            raise PydanticKnownError(kind)
        return value

    return BeforeValidator(refuse_null)


ClassName = Annotated[str, Field(min_length=1, max_length=MAX_CLASS_LENGTH)]
Suffix = Annotated[str, Field(min_length=1, max_length=MAX_FINE_TUNE_SUFFIX_LENGTH)]
Epochs = Annotated[int, Field(ge=N_EPOCHS[0], le=N_EPOCHS[-1])]
BatchSize = Annotated[int, Field(ge=BATCH_SIZE[0], le=BATCH_SIZE[-1])]
Multiplier = Annotated[float, Field(gt=0, le=MAX_MULTIPLIER)]
Weight = Annotated[float, Field(ge=0, le=1)]
NumClasses = Annotated[int, Field(ge=NUM_CLASSES[0], le=NUM_CLASSES[-1])]
Betas = Annotated[
    list[Annotated[float, Field(gt=0, le=MAX_F_BETA)]], Field(min_length=1, max_length=MAX_BETAS)
]


class CreateFineTuneRequest(Request):
    training_file: Name
    validation_file: Annotated[Name | SkipJsonSchema[None], sent("string_type")] = None
    model: Name = DEFAULT_MODEL
    n_epochs: Epochs = DEFAULT_N_EPOCHS
    batch_size: Annotated[BatchSize | SkipJsonSchema[None], sent("int_type")] = None
    learning_rate_multiplier: Annotated[Multiplier | SkipJsonSchema[None], sent("float_type")] = (
        None
    )
    prompt_loss_weight: Weight = DEFAULT_PROMPT_LOSS_WEIGHT
    compute_classification_metrics: bool = False
    classification_n_classes: Annotated[NumClasses | SkipJsonSchema[None], sent("int_type")] = None
    classification_positive_class: Annotated[
        ClassName | SkipJsonSchema[None], sent("string_type")
    ] = None
    classification_betas: Annotated[Betas | SkipJsonSchema[None], sent("list_type")] = None
    suffix: Annotated[Suffix | SkipJsonSchema[None], sent("string_type")] = None

    def asked_hyperparameters(self) -> Hyperparameters:
        """Raises InvalidRequest if what is asked about classes doesn't go together."""
        multiplier = self.learning_rate_multiplier
        return Hyperparameters(
            n_epochs=self.n_epochs,
            batch_size=self.batch_size,
            learning_rate_multiplier=multiplier and multiplier * FINE_TUNES_MULTIPLIER,
            prompt_loss_weight=self.prompt_loss_weight,
            classification=self._asked_classification(),
        )

    def _asked_classification(self) -> Classification | None:
        if not self.compute_classification_metrics:
            self._refuse_idle_parameters()
            return None
        num_classes = self.classification_n_classes
        positive_class, betas = self.classification_positive_class, self.classification_betas
        if self.validation_file is None:
            raise _refused(
                "compute_classification_metrics needs a validation_file, whose examples the "
                "metrics are computed on. Send one too.",
                "validation_file",
            )
        if num_classes is None and positive_class is None:
            raise _refused(
                "compute_classification_metrics needs classification_n_classes, the number of "
                "classes, or, for two classes, classification_positive_class. Send one of them.",
                "classification_n_classes",
            )
        if positive_class is not None and num_classes not in (None, 2):
            raise _refused(
                "classification_positive_class is for two classes, but classification_n_classes "
                f"is {num_classes}. Leave one of them out.",
                "classification_positive_class",
            )
        if betas is not None and positive_class is None:
            raise _refused(
                "classification_betas are for two classes of which one is the positive one. Send "
                "classification_positive_class too, or leave them out.",
                "classification_betas",
            )
        if betas is not None and len(set(betas)) < len(betas):
            raise _refused(
                "classification_betas holds a number more than once. Send each once.",
                "classification_betas",
            )
        return Classification(num_classes, positive_class, tuple(betas or ()))

    def _refuse_idle_parameters(self) -> None:
        for name in (
            "classification_n_classes",
            "classification_positive_class",
            "classification_betas",
        ):
            if getattr(self, name) is not None:
                raise _refused(
                    f"{name} is only used with compute_classification_metrics. Send that as true, "
                    f"or leave {name} out.",
                    name,
                )


def _refused(text: str, param: str) -> errors.InvalidRequest:
    return errors.InvalidRequest(text, param=param)
