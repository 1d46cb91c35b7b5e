"""The table of conformance has what the description has, and the page what the table has."""

from collections import Counter

import pytest

from tests.contract.conformance.page import PAGE, page
from tests.contract.conformance.rows import Conformance
from tests.contract.conformance.table import TABLE, fields_of
from tests.contract.description import operations

DESCRIBED = {operation.name: operation for operation in operations()}


def test_every_operation_is_in_the_table_once() -> None:
    assert Counter(item.operation for item in TABLE) == Counter(DESCRIBED.keys())


@pytest.mark.parametrize("item", TABLE, ids=lambda item: item.operation)
def test_every_field_has_one_row(item: Conformance) -> None:
    operation = DESCRIBED[item.operation]
    told = Counter(field.path for row in item.rows for field in fields_of(row, operation))
    assert told == Counter(field.path for field in operation.fields)


@pytest.mark.parametrize("item", TABLE, ids=lambda item: item.operation)
def test_rows_about_a_value_name_one_of_the_description(item: Conformance) -> None:
    for row in item.rows:
        for path, _, value in (field.partition("=") for field in row.fields):
            assert not value or value in DESCRIBED[item.operation].field(path).values


def test_the_page_is_current() -> None:
    assert PAGE.read_text(encoding="utf-8") == page(), "run python -m tests.contract.conformance"
