import json
from datetime import timedelta
from math import prod

import pytest
from sqlalchemy import func, select

from tests.unit.store.builders import OURS, START, FixedClock, a_completion, add_completion
from tunesmith.domain import errors
from tunesmith.domain.stored_completions import (
    COPIES_OF_PAIRS,
    ROW_BYTES,
    StoredMessage,
    size_of_pairs,
    size_of_texts,
)
from tunesmith.domain.tenancy import Scope
from tunesmith.store import tables
from tunesmith.store.store import Store
from tunesmith.store.stored_completions import StoredCompletions, StoredLimits

OTHERS = Scope("org-ours", "proj_other")


def ids(store: Store, scope: Scope = OURS) -> list[str]:
    return [one.id for one in store.stored_completions.page(scope, limit=100).items]


def num_rows(store: Store) -> list[int]:
    """Of completions, messages and pairs."""
    ours = (tables.stored_completions, tables.stored_messages, tables.stored_metadata)
    with store._database.read() as connection:
        return [
            connection.execute(select(func.count()).select_from(table)).scalar_one()
            for table in ours
        ]


def held_bytes(store: Store) -> dict[str, int]:
    sizes = tables.stored_sizes.c
    with store._database.read() as connection:
        rows = connection.execute(select(sizes.project_id, sizes.size_bytes)).all()
    return {row.project_id: row.size_bytes for row in rows}


def test_the_oldest_make_as_much_room_as_is_needed(store: Store) -> None:
    for name in ("a", "b", "c"):
        assert add_completion(store, name, max_bytes=300) == 0
    assert add_completion(store, "d", max_bytes=300) == 1
    assert ids(store) == ["b", "c", "d"]
    assert add_completion(store, "e", size_bytes=101, max_bytes=300) == 2
    assert ids(store) == ["d", "e"]
    assert add_completion(store, "f", size_bytes=300, max_bytes=300) == 2
    assert ids(store) == ["f"]


def limit(store: Store, clock: FixedClock, limits: StoredLimits) -> None:
    store.stored_completions = StoredCompletions(store._database, clock, limits)


def test_a_project_makes_room_for_nobody_else(store: Store) -> None:
    add_completion(store, "theirs", OTHERS)
    for name in ("a", "b", "c"):
        add_completion(store, name, max_bytes=200)
    assert (ids(store), ids(store, OTHERS)) == (["b", "c"], ["theirs"])


def test_what_never_fits_takes_nothing_away(store: Store) -> None:
    add_completion(store, "a", max_bytes=300)
    with pytest.raises(errors.StorageFull, match="takes 301 bytes"):
        add_completion(store, "b", size_bytes=301, max_bytes=300)
    assert ids(store) == ["a"]


def test_a_lower_limit_takes_effect_in_steps(store: Store, clock: FixedClock) -> None:
    """An operator may turn gigabytes into megabytes; no request pays for all of it."""
    limit(store, clock, StoredLimits(deleted=3))
    for name in "abcdefgh":
        add_completion(store, name)
    assert add_completion(store, "i", max_bytes=200) == 3
    assert add_completion(store, "j", max_bytes=200) == 3
    assert add_completion(store, "k", max_bytes=200) == 3
    assert ids(store) == ["j", "k"]


def test_what_a_project_holds_is_counted_through_all_that_may_happen(
    store: Store, clock: FixedClock
) -> None:
    soon = START + timedelta(hours=1)
    add_completion(store, "a", size_bytes=1)
    add_completion(store, "b", size_bytes=20, expires_at=soon)
    add_completion(store, "c", size_bytes=300)
    add_completion(store, "d", OTHERS, size_bytes=4000, expires_at=soon)
    assert held_bytes(store) == {"proj_ours": 321, "proj_other": 4000}
    store.stored_completions.delete(OURS, "a")
    store.stored_completions.delete(OURS, "a")
    assert held_bytes(store) == {"proj_ours": 320, "proj_other": 4000}
    clock.advance(3600)
    assert store.stored_completions.sweep() == 2
    assert store.stored_completions.sweep() == 0
    assert held_bytes(store) == {"proj_ours": 300, "proj_other": 0}
    assert add_completion(store, "e", size_bytes=200, max_bytes=300) == 1
    assert held_bytes(store) == {"proj_ours": 200, "proj_other": 0}


def test_larger_pairs_are_counted_and_others_make_room_for_them(store: Store) -> None:
    for name in ("a", "b", "c"):
        add_completion(store, name, size_bytes=1000)

    def set_metadata(id: str, value: str, max_bytes: int) -> None:
        store.stored_completions.set_metadata(OURS, id, {"k": value}, max_bytes)

    set_metadata("a", "v" * 99, 4000)
    assert held_bytes(store) == {"proj_ours": 3000 + ROW_BYTES + COPIES_OF_PAIRS * 100}
    set_metadata("a", "v" * 9, 4000)
    assert held_bytes(store) == {"proj_ours": 3000 + ROW_BYTES + COPIES_OF_PAIRS * 10}
    set_metadata("a", "v" * 99, 3500)
    assert ids(store) == ["a", "c"], "the oldest but itself"
    set_metadata("a", "v", 1)
    assert ids(store) == ["a"]
    assert held_bytes(store) == {"proj_ours": 1000 + ROW_BYTES + COPIES_OF_PAIRS * 2}
    store.stored_completions.set_metadata(OURS, "a", {}, 1000)
    assert held_bytes(store) == {"proj_ours": 1000}


@pytest.mark.parametrize(
    ("num_messages", "text", "pairs"),
    [
        (1, "x" * 500, {}),
        (50, "", {}),
        (4, "\u4e2d" * 2000, {}),
        (1, "", {f"{n:064}": "\U0001f600" * 512 for n in range(16)}),
    ],
)
def test_sizes_are_near_what_the_database_takes(
    store: Store, num_messages: int, text: str, pairs: dict[str, str]
) -> None:
    """Or a limit in bytes would be none."""
    texts = [json.dumps({"a": text}, ensure_ascii=False)] * (1 + num_messages)
    size = size_of_texts(texts) + size_of_pairs(pairs)

    def taken() -> int:
        with store._database.read() as connection:
            pragmas = [f"PRAGMA {name}" for name in ("page_count", "page_size")]
            return prod(connection.exec_driver_sql(one).scalar_one() for one in pragmas)

    before, num = taken(), 100
    for number in range(num):
        id = f"chatcmpl-{number:029}"
        completion = a_completion(id, reply=texts[0], metadata=pairs, size_bytes=size)
        messages = [StoredMessage(f"{id}-{n}", id, n, texts[0]) for n in range(num_messages)]
        store.stored_completions.add(completion, messages, 10**9)
    assert taken() - before == pytest.approx(num * size, rel=0.5)


def test_messages_and_pairs_go_with_their_completion(store: Store, clock: FixedClock) -> None:
    pairs = {"a": "1", "b": "2"}
    for name in ("a", "b", "c", "d"):
        add_completion(store, name, num_messages=3, metadata=pairs)
    add_completion(store, "e", num_messages=3, metadata=pairs, max_bytes=400)
    assert num_rows(store) == [4, 12, 8]
    store.stored_completions.delete(OURS, "b")
    assert num_rows(store) == [3, 9, 6]
    clock.advance(timedelta(days=30).total_seconds())
    assert store.stored_completions.sweep() == 3
    assert num_rows(store) == [0, 0, 0]


def test_many_expire_in_several_transactions(store: Store, clock: FixedClock) -> None:
    """Others get their turn in between."""
    limit(store, clock, StoredLimits(deleted=2))
    for name in ("a", "b", "c", "d"):
        add_completion(store, name)
    clock.advance(timedelta(days=30).total_seconds())
    assert store.stored_completions.sweep() == 4


def test_a_page_ends_where_it_would_be_too_much_for_an_answer(
    store: Store, clock: FixedClock
) -> None:
    """Its reader goes on from there as from any other page."""
    limit(store, clock, StoredLimits(page_bytes=250))
    for name, size in {"a": 100, "b": 100, "c": 100, "d": 900, "e": 1}.items():
        add_completion(store, name, size_bytes=size)
    pages, after = [], None
    while True:
        page = store.stored_completions.page(OURS, limit=4, after=after)
        pages.append("".join(one.id for one in page.items))
        after = page.items[-1].id
        if not page.has_more:
            break
    assert pages == ["ab", "c", "d", "e"]


def test_pairs_of_another_project_match_nothing(store: Store) -> None:
    add_completion(store, "ours", metadata={"a": "1"})
    add_completion(store, "theirs", OTHERS, metadata={"a": "1"})
    page = store.stored_completions.page(OTHERS, limit=10, metadata={"a": "1"})
    assert [one.id for one in page.items] == ["theirs"]


@pytest.mark.parametrize("is_ascending", [True, False])
def test_pages_of_a_filter_are_the_filtered_list(store: Store, is_ascending: bool) -> None:
    """They are read along an index of pairs, and still begin after any completion of the list."""
    for number in range(12):
        metadata = {"a": str(number % 2), "b": str(number % 3)}
        add_completion(store, str(number), metadata=metadata, max_bytes=10**6)
    for metadata in ({"a": "1"}, {"b": "2"}, {"a": "1", "b": "2"}):
        every = [
            str(number)
            for number in range(12)
            if {"a": str(number % 2), "b": str(number % 3)}.items() >= metadata.items()
        ]
        expected = every if is_ascending else every[::-1]
        start = "0" if is_ascending else "11"
        found, after, has_more = [], None, True
        while has_more:
            page = store.stored_completions.page(
                OURS, limit=2, after=after, metadata=metadata, is_ascending=is_ascending
            )
            found += [one.id for one in page.items]
            after, has_more = found[-1], page.has_more
        assert found == expected
        rest = store.stored_completions.page(
            OURS, limit=12, after=start, metadata=metadata, is_ascending=is_ascending
        )
        assert [one.id for one in rest.items] == [id for id in expected if id != start]
