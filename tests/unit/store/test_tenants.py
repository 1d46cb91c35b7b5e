import hashlib
import re
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import event
from sqlalchemy.engine import Engine

from tests.unit.store.builders import FixedClock
from tunesmith.domain import errors
from tunesmith.domain.tenancy import RateLimits
from tunesmith.store.store import Store

KEY = "sk-" + "a" * 43
OTHER_KEY = "sk-" + "b" * 43


def test_limits_of_a_key_are_told_with_its_caller(store: Store) -> None:
    key = store.tenants.create_key("acme", limits=RateLimits(60, 0))
    caller = store.tenants.find_caller(key)
    assert caller is not None
    assert caller.limits == RateLimits(60, 0)
    assert store.tenants.limits_of(caller.key_id) == RateLimits(60, 0)
    assert store.tenants.limit_key(caller.key_id, RateLimits(None, 7))
    (listed,) = store.tenants.list_keys()
    assert (listed.key.requests_per_minute, listed.key.tokens_per_minute) == (None, 7)
    assert store.tenants.revoke_key(caller.key_id)
    assert store.tenants.limits_of(caller.key_id) is None
    assert not store.tenants.limit_key(caller.key_id, RateLimits())


def test_limits_of_the_first_key_outlast_a_restart(store: Store) -> None:
    caller = store.tenants.ensure_first("local", KEY)
    assert caller.limits == RateLimits()
    store.tenants.limit_key(caller.key_id, RateLimits(5, 6))
    assert store.tenants.ensure_first(None, KEY).limits == RateLimits(5, 6)
    store.tenants.ensure_first(None, OTHER_KEY)
    assert store.tenants.ensure_first(None, KEY).limits == RateLimits(5, 6)


def test_first_start_makes_organisation_project_and_admin_key(store: Store) -> None:
    caller = store.tenants.ensure_first("local", KEY)
    assert caller.organization.name == "local"
    assert caller.organization.id.startswith("org-")
    assert caller.project.name == "default"
    assert caller.project.id.startswith("proj_")
    assert caller.project.organization_id == caller.organization.id
    assert caller.is_admin
    assert store.tenants.find_caller(KEY) == caller


def test_restart_with_the_same_key_changes_nothing(store: Store, clock: FixedClock) -> None:
    first = store.tenants.ensure_first("local", KEY)
    clock.advance(60)
    assert store.tenants.ensure_first("local", KEY) == first
    assert len(store.tenants.list_keys()) == 1


def test_restart_with_another_key_replaces_the_former(store: Store) -> None:
    first = store.tenants.ensure_first("local", KEY)
    second = store.tenants.ensure_first("local", OTHER_KEY)
    assert second.scope == first.scope
    assert second.is_admin
    assert store.tenants.find_caller(KEY) is None
    assert store.tenants.find_caller(OTHER_KEY) == second


def test_former_key_can_come_back(store: Store) -> None:
    first = store.tenants.ensure_first("local", KEY)
    store.tenants.ensure_first("local", OTHER_KEY)
    assert store.tenants.ensure_first("local", KEY) == first
    assert store.tenants.find_caller(OTHER_KEY) is None
    assert [one.is_bootstrap for one in store.tenants.list_keys()] == [True, False]


def test_renamed_organisation_keeps_its_id(store: Store) -> None:
    first = store.tenants.ensure_first("local", KEY)
    renamed = store.tenants.ensure_first("acme", KEY)
    assert renamed.organization.name == "acme"
    assert renamed.organization.id == first.organization.id
    assert renamed.organization.created_at == first.organization.created_at
    assert renamed.project == first.project


def test_first_organisation_cannot_take_the_name_of_another(store: Store) -> None:
    store.tenants.ensure_first("local", KEY)
    store.tenants.create_key("acme")
    with pytest.raises(errors.InvalidRequest, match="another one has that name"):
        store.tenants.ensure_first("acme", KEY)


def test_organisation_made_before_the_first_start_is_the_first(store: Store) -> None:
    """`tunesmith keys create --org local` may come before `tunesmith serve`."""
    made = store.tenants.find_caller(store.tenants.create_key("local"))
    first = store.tenants.ensure_first("local", KEY)
    assert made is not None
    assert first.scope == made.scope


@pytest.mark.parametrize(
    ("is_admin", "pattern"),
    [(False, r"sk-[A-Za-z0-9_-]{43}"), (True, r"sk-admin-[A-Za-z0-9_-]{43}")],
)
def test_new_key_opens_its_project(store: Store, is_admin: bool, pattern: str) -> None:
    key = store.tenants.create_key("acme", "research", is_admin)
    assert re.fullmatch(pattern, key)
    caller = store.tenants.find_caller(key)
    assert caller is not None
    assert (caller.organization.name, caller.project.name) == ("acme", "research")
    assert caller.is_admin is is_admin


def test_keys_of_one_project_share_its_scope(store: Store) -> None:
    callers = [store.tenants.find_caller(store.tenants.create_key("acme")) for _ in range(2)]
    other = store.tenants.find_caller(store.tenants.create_key("acme", "other"))
    assert callers[0] is not None
    assert callers[1] is not None
    assert other is not None
    assert callers[0].scope == callers[1].scope
    assert callers[0].key_id != callers[1].key_id
    assert other.organization == callers[0].organization
    assert other.scope != callers[0].scope


def test_same_project_name_in_two_organisations_is_two_projects(store: Store) -> None:
    one = store.tenants.find_caller(store.tenants.create_key("acme"))
    two = store.tenants.find_caller(store.tenants.create_key("umbrella"))
    assert one is not None
    assert two is not None
    assert one.project.id != two.project.id


def test_revoked_key_opens_nothing(store: Store) -> None:
    key = store.tenants.create_key("acme")
    caller = store.tenants.find_caller(key)
    assert caller is not None
    assert store.tenants.revoke_key(caller.key_id) is True
    assert store.tenants.find_caller(key) is None
    assert store.tenants.revoke_key(caller.key_id) is False
    assert store.tenants.revoke_key("key_none") is False
    (listed,) = store.tenants.list_keys()
    assert listed.key.revoked_at is not None


def test_key_opens_its_project_until_it_expires(store: Store, clock: FixedClock) -> None:
    key = store.tenants.create_key("acme", lifetime=timedelta(hours=1))
    for_ever = store.tenants.create_key("acme")
    (listed, _) = store.tenants.list_keys()
    assert listed.key.state(clock.now) == "active"
    clock.advance(3600 - 1)
    assert store.tenants.find_caller(key) is not None
    clock.advance(1)
    assert store.tenants.find_caller(key) is None
    assert store.tenants.find_caller(for_ever) is not None
    assert listed.key.state(clock.now) == "expired"
    assert store.tenants.revoke_key(listed.key.id), "so that it is seen that somebody did"
    assert store.tenants.list_keys()[0].key.state(clock.now) == "revoked"


def test_expired_key_lives_again_as_the_bootstrap_key(store: Store, clock: FixedClock) -> None:
    store.tenants.ensure_first("local", KEY)
    key = store.tenants.create_key("local", lifetime=timedelta(hours=1))
    clock.advance(3600)
    store.tenants.ensure_first("local", key)
    assert store.tenants.find_caller(key) is not None


def test_bootstrap_key_is_replaced_and_not_revoked(store: Store) -> None:
    caller = store.tenants.ensure_first("local", KEY)
    with pytest.raises(errors.InvalidRequest, match="TUNESMITH_API_KEY"):
        store.tenants.revoke_key(caller.key_id)
    assert store.tenants.find_caller(KEY) == caller


@pytest.mark.parametrize("key", ["", "sk-unknown", KEY[:-1], KEY + "a", " " + KEY, "ключ\x00"])
def test_wrong_key_opens_nothing(store: Store, key: str) -> None:
    store.tenants.ensure_first("local", KEY)
    assert store.tenants.find_caller(key) is None


def test_list_shows_keys_by_their_hint(store: Store) -> None:
    store.tenants.ensure_first("local", "short-secret")
    key = store.tenants.create_key("acme", "research")
    first, second = store.tenants.list_keys()
    assert (first.key.hint, first.is_bootstrap) == ("sh…", True)
    assert second.key.hint == f"{key[:5]}…{key[-4:]}"
    assert (second.organization_name, second.project_name) == ("acme", "research")
    assert second.key.digest == hashlib.sha256(key.encode()).hexdigest()


def test_key_itself_is_nowhere_on_the_disk(store: Store, data_dir: Path) -> None:
    store.tenants.ensure_first("local", KEY)
    key = store.tenants.create_key("acme")
    kept = b"".join(path.read_bytes() for path in data_dir.iterdir() if path.is_file())
    assert b"acme" in kept, "else this test looks in the wrong place"
    assert key.encode() not in kept
    assert KEY.encode() not in kept


def test_caller_is_found_with_one_query(store: Store) -> None:
    """It is asked for every request."""
    store.tenants.ensure_first("local", KEY)
    statements: list[str] = []

    def note(_connection: object, _cursor: object, statement: str, *_rest: object) -> None:
        statements.append(statement)

    event.listen(Engine, "before_cursor_execute", note)
    try:
        store.tenants.find_caller(KEY)
    finally:
        event.remove(Engine, "before_cursor_execute", note)
    assert [one.split()[0] for one in statements] == ["BEGIN", "SELECT"]


def test_project_is_made_once_and_is_the_one_that_keys_open(store: Store) -> None:
    made = store.tenants.create_project("acme", "research")
    assert store.tenants.create_project("acme", "research") == made
    caller = store.tenants.find_caller(store.tenants.create_key("acme", "research"))
    assert caller is not None
    assert caller.project == made
    assert caller.organization.name == "acme"


def test_projects_are_listed_by_name(store: Store) -> None:
    for organization, name in (("umbrella", "a"), ("acme", "sales"), ("acme", "research")):
        store.tenants.create_project(organization, name)
    listed = [(one.organization_name, one.project.name) for one in store.tenants.list_projects()]
    assert listed == [("acme", "research"), ("acme", "sales"), ("umbrella", "a")]


@pytest.mark.parametrize("name", ["", "a:b", "a b", "-a", "ä", "x" * 65])
def test_name_that_would_break_a_model_name_is_refused(store: Store, name: str) -> None:
    with pytest.raises(errors.InvalidRequest, match="can't be the name"):
        store.tenants.ensure_first(name, KEY)
    with pytest.raises(errors.InvalidRequest, match="can't be the name"):
        store.tenants.create_key(name)
    for words in ((name, "research"), ("acme", name)):
        with pytest.raises(errors.InvalidRequest, match="can't be the name"):
            store.tenants.create_project(*words)
    assert store.tenants.list_keys() == []
    assert store.tenants.list_projects() == []


def test_empty_key_is_refused(store: Store) -> None:
    with pytest.raises(errors.InvalidRequest, match="empty"):
        store.tenants.ensure_first("local", "")
