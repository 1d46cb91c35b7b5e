import pytest

from tests.unit.store.builders import OURS, FixedClock, a_job, add_file, running_job, stored_file
from tunesmith.domain import errors
from tunesmith.domain.eras import Era
from tunesmith.domain.jobs import Event, EventLevel, EventType, NewEvent
from tunesmith.store.store import Store


def metrics(step: int) -> NewEvent:
    return NewEvent(
        f"Step {step}/6: training loss=0.50",
        type=EventType.METRICS,
        data={"step": step, "train_loss": 0.5, "total_steps": 6},
        once=f"step-{step}",
    )


def messages(store: Store) -> list[str]:
    """Oldest first."""
    return [event.message for event in store.events.page("ftjob-1", limit=100).items][::-1]


def test_event_comes_back_as_it_went_in(store: Store, clock: FixedClock) -> None:
    lease = running_job(store)
    clock.advance(1.5)
    store.jobs.record(
        lease,
        [
            NewEvent(
                "Grüße", EventLevel.WARN, EventType.METRICS, {"a": [1, 0.1, None, {"b": "ü"}]}
            ),
            NewEvent("no data", data=None),
        ],
    )
    second, first = store.events.page(lease.job_id, limit=5).items
    assert first == Event(
        id=first.id,
        job_id=lease.job_id,
        created_at=clock.now,
        level=EventLevel.WARN,
        type=EventType.METRICS,
        message="Grüße",
        data={"a": [1, 0.1, None, {"b": "ü"}]},
    )
    assert second.data is None
    assert first.id.startswith("ftevent-")


def test_events_keep_their_order_when_the_clock_goes_back(store: Store, clock: FixedClock) -> None:
    lease = running_job(store)
    for number in range(5):
        clock.advance(-10)
        store.jobs.record(lease, [NewEvent(f"{number}a"), NewEvent(f"{number}b")])
    assert messages(store) == [f"{number}{letter}" for number in range(5) for letter in "ab"]


def test_pages_together_are_all_events(store: Store) -> None:
    lease = running_job(store)
    store.jobs.record(lease, [NewEvent(str(number)) for number in range(7)])
    listed: list[str] = []
    after = None
    for expected in [True, True, False]:
        page = store.events.page(lease.job_id, limit=3, after=after)
        assert page.has_more is expected
        listed += [event.message for event in page.items]
        after = page.items[-1].id
    assert listed == list("6543210")


def test_page_that_ends_with_the_last_event_says_so(store: Store) -> None:
    lease = running_job(store)
    store.jobs.record(lease, [NewEvent("a"), NewEvent("b")])
    assert store.events.page(lease.job_id, limit=2).has_more is False


def test_after_of_another_job_is_refused(store: Store) -> None:
    add_file(store, stored_file())
    store.jobs.create(a_job("ftjob-1"), [NewEvent("created")])
    store.jobs.create(a_job("ftjob-2"), [NewEvent("created")])
    (theirs,) = store.events.page("ftjob-2", limit=1).items
    with pytest.raises(errors.InvalidRequest) as caught:
        store.events.page("ftjob-1", limit=1, after=theirs.id)
    assert caught.value.param == "after"


def test_step_repeated_after_a_crash_is_told_once(store: Store) -> None:
    lease = running_job(store)
    store.jobs.record(lease, [metrics(1), metrics(2)])
    store.jobs.record(lease, [metrics(2), NewEvent("resumed"), metrics(3), metrics(3)])
    assert [event.message for event in store.events.all_metrics(lease.job_id)] == [
        metrics(step).message for step in (1, 2, 3)
    ]
    assert messages(store)[-2:] == ["resumed", metrics(3).message]


def test_once_is_once_per_job(store: Store) -> None:
    for id in ("ftjob-1", "ftjob-2"):
        lease = running_job(store, id)
        store.jobs.record(lease, [metrics(1)])
        assert len(store.events.all_metrics(id)) == 1


def test_event_without_once_may_be_told_again(store: Store) -> None:
    lease = running_job(store)
    for _ in range(2):
        store.jobs.record(lease, [NewEvent("Training was taken up again")])
    assert len(messages(store)) == 2


def test_all_metrics_are_oldest_first_and_nothing_else(store: Store) -> None:
    lease = running_job(store)
    store.jobs.record(lease, [NewEvent("started", once="started")])
    for step in range(1, 120):
        store.jobs.record(lease, [metrics(step)])
    steps = [event.data and event.data["step"] for event in store.events.all_metrics("ftjob-1")]
    assert steps == list(range(1, 120))
    assert store.jobs.find(OURS, "ftjob-1") is not None


def test_each_era_has_its_own_events_and_those_of_both(store: Store) -> None:
    lease = running_job(store)
    eras = (Era.JOBS, Era.FINE_TUNES, None)
    store.jobs.record(lease, [NewEvent(str(number), era=eras[number % 3]) for number in range(6)])

    def told(era: Era) -> list[str]:
        page = store.events.page(lease.job_id, era, limit=100)
        return [event.message for event in page.items[::-1] if event.message.isdecimal()]

    assert told(Era.JOBS) == ["0", "2", "3", "5"]
    assert told(Era.FINE_TUNES) == ["1", "2", "4", "5"]


def test_pages_go_on_behind_any_event_of_their_era(store: Store) -> None:
    lease = running_job(store)
    eras = (Era.JOBS, Era.FINE_TUNES, None)
    store.jobs.record(lease, [NewEvent(str(number), era=eras[number % 3]) for number in range(9)])
    whole = store.events.page(lease.job_id, Era.FINE_TUNES, limit=100).items
    for number, after in enumerate(whole):
        page = store.events.page(lease.job_id, Era.FINE_TUNES, limit=2, after=after.id)
        assert page.items == whole[number + 1 : number + 3]
        assert page.has_more == (number + 3 < len(whole))


def test_an_event_of_the_other_era_is_no_place_to_go_on_from(store: Store) -> None:
    lease = running_job(store)
    store.jobs.record(lease, [NewEvent("theirs", era=Era.FINE_TUNES)])
    theirs = store.events.page(lease.job_id, Era.FINE_TUNES, limit=1).items[0]
    with pytest.raises(errors.InvalidRequest, match=theirs.id):
        store.events.page(lease.job_id, Era.JOBS, limit=1, after=theirs.id)


def test_news_are_told_once_and_oldest_first(store: Store) -> None:
    lease = running_job(store)
    told, position = store.events.since(lease.job_id, Era.FINE_TUNES)
    assert [event.message for event in told] == ["Fine-tune enqueued. Queue number: 0"]
    assert store.events.since(lease.job_id, Era.FINE_TUNES, position) == ([], position)
    store.jobs.record(lease, [metrics(1), NewEvent("a", era=Era.FINE_TUNES), metrics(2)])
    store.jobs.record(lease, [NewEvent("b", era=None), metrics(3)])
    told, newest = store.events.since(lease.job_id, Era.FINE_TUNES, position)
    assert [event.message for event in told] == ["a", "b"]
    assert store.events.since(lease.job_id, Era.FINE_TUNES, newest) == ([], newest)
    both, _ = store.events.since(lease.job_id, Era.FINE_TUNES)
    assert [event.message for event in both][-2:] == ["a", "b"]
    store.jobs.record(lease, [metrics(4)])
    told, later = store.events.since(lease.job_id, Era.FINE_TUNES, newest)
    assert (told, later > newest) == ([], True), "nobody goes through those metrics again"
    assert store.events.since("ftjob-none", Era.FINE_TUNES) == ([], 0)
