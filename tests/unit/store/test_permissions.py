"""Who may use whose models; what that looks like from outside is in `tests/api`."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest
from sqlalchemy import delete

from tests.unit.store.builders import FixedClock, a_checkpoint, running_job, tuned_by
from tunesmith.domain import errors
from tunesmith.domain.models import TunedModel
from tunesmith.domain.tenancy import Project, Scope
from tunesmith.store import tables
from tunesmith.store.database import Database
from tunesmith.store.store import Store


@dataclass(frozen=True)
class House:
    """An organisation of three projects, with a model of one of them; and another organisation."""

    store: Store
    model: TunedModel
    owner: Project
    research: Project
    sales: Project
    elsewhere: Project

    def finds(self, project: Project) -> bool:
        """The two ways of finding must always say the same."""
        found = self.store.tuned_models.find(scope_of(project), self.model.name)
        listed = self.store.tuned_models.all(scope_of(project))
        assert listed == ([] if found is None else [found])
        return found is not None

    def granted(self) -> list[str]:
        """Project ids, in the order of the grants."""
        page = self.store.permissions.page(self.model.name, limit=100, is_ascending=True)
        return [one.project_id for one in page.items]


def scope_of(project: Project) -> Scope:
    return Scope(project.organization_id, project.id)


def new_model(store: Store, project: Project, job_id: str, step: int = 1) -> TunedModel:
    lease = running_job(store, job_id, scope=scope_of(project))
    checkpoint = a_checkpoint(step, job_id)
    tuned = tuned_by(checkpoint, scope_of(project))
    store.jobs.add_checkpoint(lease, checkpoint, tuned, keep=3)
    return tuned


@pytest.fixture
def house(store: Store) -> House:
    owner, research, sales = (
        store.tenants.create_project("acme", name) for name in ("owner", "research", "sales")
    )
    elsewhere = store.tenants.create_project("elsewhere", "research")
    return House(store, new_model(store, owner, "ftjob-1"), owner, research, sales, elsewhere)


@pytest.fixture
def database(data_dir: Path) -> Iterator[Database]:
    database = Database(f"sqlite:///{data_dir / 'tunesmith.db'}")
    yield database
    database.close()


def test_only_the_granted_project_finds_the_model(house: House) -> None:
    assert not house.finds(house.research)
    (permission,) = house.store.permissions.grant(house.model, [house.research.id]) or []
    assert permission.id.startswith("cp_")
    assert len(permission.id) == 3 + 24
    assert house.finds(house.owner)
    assert house.finds(house.research)
    assert not house.finds(house.sales)
    assert not house.finds(house.elsewhere)
    assert house.store.permissions.delete(house.model.name, permission.id)
    assert not house.finds(house.research)
    assert house.finds(house.owner)


def test_permission_of_one_model_opens_no_other(house: House) -> None:
    other = new_model(house.store, house.owner, "ftjob-2")
    (permission,) = house.store.permissions.grant(house.model, [house.research.id]) or []
    assert house.store.tuned_models.find(scope_of(house.research), other.name) is None
    assert not house.store.permissions.delete(other.name, permission.id)
    assert house.finds(house.research)


def test_user_of_a_model_can_not_delete_it(house: House) -> None:
    house.store.permissions.grant(house.model, [house.research.id])
    assert not house.store.tuned_models.delete(scope_of(house.research), house.model.name)
    assert house.finds(house.research)


def test_same_grant_again_gives_the_same_permission(house: House, clock: FixedClock) -> None:
    ids = [house.sales.id, house.research.id, house.sales.id]
    first = house.store.permissions.grant(house.model, ids)
    clock.advance(60)
    assert first is not None
    assert [one.project_id for one in first] == ids[:2]
    assert house.store.permissions.grant(house.model, ids[::-1]) == first
    more = house.store.permissions.grant(house.model, [house.owner.id, house.research.id])
    assert more is not None
    assert (more[1], more[0].created_at) == (first[1], clock.now)
    assert house.granted() == [house.sales.id, house.research.id, house.owner.id]


def test_taken_back_and_granted_again_is_a_new_permission(house: House) -> None:
    (first,) = house.store.permissions.grant(house.model, [house.research.id]) or []
    house.store.permissions.delete(house.model.name, first.id)
    (second,) = house.store.permissions.grant(house.model, [house.research.id]) or []
    assert first.id != second.id
    assert not house.store.permissions.delete(house.model.name, first.id)
    assert house.finds(house.research)


def test_one_unknown_project_and_nothing_is_granted(house: House) -> None:
    """Also one that is known, but elsewhere; the two are told alike."""
    unknown = "proj_" + "0" * 24
    texts = []
    for id in (unknown, house.elsewhere.id):
        with pytest.raises(errors.InvalidRequest) as caught:
            house.store.permissions.grant(house.model, [house.research.id, id])
        assert caught.value.param == "project_ids"
        assert house.research.id not in caught.value.message
        texts.append(caught.value.message.replace(id, "…"))
    assert texts[0] == texts[1]
    assert house.granted() == []


def test_permission_goes_with_the_model(house: House) -> None:
    """Whatever gets the name later begins without any."""
    house.store.permissions.grant(house.model, [house.research.id])
    assert house.store.tuned_models.delete(scope_of(house.owner), house.model.name)
    assert house.granted() == []
    assert house.store.permissions.grant(house.model, [house.research.id]) is None


def test_permission_goes_with_a_pruned_checkpoint(house: House) -> None:
    lease = running_job(house.store, "ftjob-2", scope=scope_of(house.owner))
    for step in (1, 2):
        checkpoint = a_checkpoint(step, "ftjob-2")
        tuned = tuned_by(checkpoint, scope_of(house.owner))
        house.store.jobs.add_checkpoint(lease, checkpoint, tuned, keep=1)
        house.store.permissions.grant(tuned, [house.research.id])
    names = [one.name for one in house.store.tuned_models.all(scope_of(house.research))]
    assert names == [a_checkpoint(2, "ftjob-2").model_name]


def test_permission_goes_with_the_project(house: House, database: Database) -> None:
    """No command deletes a project yet; the table is ready for one that will."""
    house.store.permissions.grant(house.model, [house.research.id, house.sales.id])
    with database.write() as connection:
        gone = delete(tables.projects).where(tables.projects.c.id == house.research.id)
        connection.execute(gone)
    assert house.granted() == [house.sales.id]
    assert not house.finds(house.research)


def test_administrator_finds_the_models_of_all_projects_of_the_organisation(house: House) -> None:
    find = house.store.tuned_models.find_in_organization
    assert find(house.owner.organization_id, house.model.name) == house.model
    assert find(house.elsewhere.organization_id, house.model.name) is None
    assert find(house.owner.organization_id, "ft:none") is None


def test_pages_in_either_order_and_of_one_project(house: House) -> None:
    ids = [house.sales.id, house.research.id, house.owner.id]
    granted = house.store.permissions.grant(house.model, ids)
    page = house.store.permissions.page
    assert granted is not None
    first, second, third = granted
    newest = page(house.model.name, limit=2)
    assert (newest.items, newest.has_more) == ((third, second), True)
    oldest = page(house.model.name, limit=2, is_ascending=True)
    assert (oldest.items, oldest.has_more) == ((first, second), True)
    rest = page(house.model.name, limit=2, after=second.id)
    assert (rest.items, rest.has_more) == ((first,), False)
    assert page(house.model.name, limit=2, after=second.id, is_ascending=True).items == (third,)
    assert page(house.model.name, limit=2, project_id=house.sales.id).items == (first,)
    assert page(house.model.name, limit=2, project_id="proj_none").items == ()


def test_after_a_permission_of_another_model_is_refused(house: House) -> None:
    other = new_model(house.store, house.owner, "ftjob-2")
    (permission,) = house.store.permissions.grant(other, [house.research.id]) or []
    with pytest.raises(errors.InvalidRequest) as caught:
        house.store.permissions.page(house.model.name, limit=2, after=permission.id)
    assert caught.value.param == "after"


def test_grants_at_once_make_one_permission_each(house: House) -> None:
    ids = [house.research.id, house.sales.id]

    def grant(_: int) -> list[str]:
        return [one.id for one in house.store.permissions.grant(house.model, ids) or []]

    with ThreadPoolExecutor(8) as pool:
        granted = list(pool.map(grant, range(16)))
    assert all(one == granted[0] for one in granted)
    assert house.granted() == ids
