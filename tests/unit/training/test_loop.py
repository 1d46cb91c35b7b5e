"""`train` from outside: what it reports and leaves behind."""

from pathlib import Path

import pytest
import torch

from tests.unit.training.runs import Run, make_examples, make_plan, run, stop_after
from tunesmith.adapters.files import load_adapter
from tunesmith.datasets.batch import epoch_order
from tunesmith.datasets.render import Row
from tunesmith.domain import errors
from tunesmith.modeling.attention import RowAttention
from tunesmith.modeling.decoder import Decoder
from tunesmith.modeling.lora import LoraAdapter, LoraSpec
from tunesmith.training.progress import SaveDue, StepDone, StopRequest

EXAMPLES = make_examples(7)  # 4 steps an epoch, the last one of a single example
PLAN = make_plan(EXAMPLES, n_epochs=3, valid_interval=3)  # 12 steps
VALID = make_examples(3, seed=1)


def base_nll(base: Decoder, row: Row) -> float:
    """Weighted sum over the row's labels, without any adapter; by definition."""
    token_ids = torch.tensor(row.token_ids)
    hidden = base(token_ids, torch.arange(len(token_ids)), RowAttention([len(token_ids)]))
    logprobs = base.logits(hidden).double().log_softmax(-1)
    return -sum(
        weight * logprobs[place - 1, token_ids[place]].item()
        for place, weight in enumerate(row.loss_weights)
    )


class TestLoss:
    """A fresh adapter changes nothing, so the first step's loss is the base model's."""

    rows = (
        Row([9, 20, 31, 42, 53], [0, 0, 0, 1, 1]),
        Row([10, 11, 12, 13, 14, 15, 16, 17, 18], [0, 0, 0.5, 0.5, 0, 0, 0, 1, 1]),
        Row([60, 61, 62], [0, 0, 1]),
    )
    weight = 2 + 3 + 1

    @pytest.mark.parametrize("max_micro_batch_tokens", [8192, 9, 1])
    def test_it_is_the_weighted_mean_over_all_tokens_however_rows_are_cut_into_micro_batches(
        self, base: Decoder, tmp_path: Path, max_micro_batch_tokens: int
    ) -> None:
        examples = [[row] for row in self.rows]
        plan = make_plan(
            examples, n_epochs=1, batch_size=3, max_micro_batch_tokens=max_micro_batch_tokens
        )
        expected = sum(base_nll(base, row) for row in self.rows) / self.weight
        [done] = run(plan, examples, base, tmp_path).steps
        assert done.metrics.train_loss == pytest.approx(expected, rel=1e-5)
        assert done.num_tokens == 5 + 9 + 3

    def test_rows_of_one_example_count_like_rows_of_two(
        self, base: Decoder, tmp_path: Path
    ) -> None:
        examples = [list(self.rows)]
        expected = sum(base_nll(base, row) for row in self.rows) / self.weight
        [done] = run(make_plan(examples, n_epochs=1), examples, base, tmp_path).steps
        assert done.metrics.train_loss == pytest.approx(expected, rel=1e-5)

    def test_updates_do_not_depend_on_micro_batches(self, base: Decoder, tmp_path: Path) -> None:
        def last_loss(max_tokens: int) -> float:
            plan = make_plan(EXAMPLES, batch_size=4, max_micro_batch_tokens=max_tokens)
            return (
                run(plan, EXAMPLES, base, tmp_path / str(max_tokens)).steps[-1].metrics.train_loss
            )

        assert last_loss(20) == pytest.approx(last_loss(8192), rel=1e-4)

    def test_a_step_without_any_loss_is_passed_over(self, base: Decoder, tmp_path: Path) -> None:
        """Such an example comes from a conversation cut off before its first answer."""
        examples = [[Row([9, 10, 11], [0, 0, 0])]]
        record = run(make_plan(examples), examples, base, tmp_path)
        assert [done.metrics.train_loss for done in record.steps] == [0.0, 0.0]
        fresh = LoraAdapter.initialise(
            base.shape, LoraSpec(8, 32.0, PLAN.target_modules), PLAN.seed
        )
        assert_same_weights(final_adapter(record, base), fresh)

    def test_it_falls_towards_zero_on_a_few_examples(self, base: Decoder, tmp_path: Path) -> None:
        examples = make_examples(4)
        plan = make_plan(examples, n_epochs=25, learning_rate=1e-2)
        steps = run(plan, examples, base, tmp_path).steps
        assert steps[0].metrics.train_loss > 4
        assert steps[-1].metrics.train_loss < 0.05
        assert steps[-1].metrics.train_mean_token_accuracy == 1.0


class TestReports:
    def test_every_step_is_reported_once_in_order(self, base: Decoder, tmp_path: Path) -> None:
        record = run(PLAN, EXAMPLES, base, tmp_path, valid_examples=VALID)
        assert record.is_finished
        assert [done.metrics.step for done in record.steps] == list(range(1, 13))

    def test_an_epoch_checkpoint_follows_the_step_that_ends_it(
        self, base: Decoder, tmp_path: Path
    ) -> None:
        record = run(PLAN, EXAMPLES, base, tmp_path, valid_examples=VALID)
        for checkpoint in record.checkpoints:
            place = record.progress.index(checkpoint)
            before, due = record.progress[place - 2 : place]
            assert due == SaveDue(checkpoint.step)
            assert isinstance(before, StepDone)
            assert before.metrics == checkpoint.metrics
            assert checkpoint.metrics.step == checkpoint.step == 4 * checkpoint.epoch

    def test_each_epoch_sees_every_example_once(self, base: Decoder, tmp_path: Path) -> None:
        record = run(PLAN, EXAMPLES, base, tmp_path)
        num_tokens = sum(len(row.token_ids) for [row] in EXAMPLES)
        for epoch in range(3):
            assert (
                sum(done.num_tokens for done in record.steps[4 * epoch : 4 * epoch + 4])
                == num_tokens
            )


class TestRepeating:
    def test_the_same_seed_gives_the_same_bits(self, base: Decoder, tmp_path: Path) -> None:
        first, second = (run(PLAN, EXAMPLES, base, tmp_path / name) for name in "ab")
        assert first.adapter_bytes == second.adapter_bytes
        assert metrics_of(first) == metrics_of(second)

    def test_another_seed_gives_others(self, base: Decoder, tmp_path: Path) -> None:
        other = make_plan(EXAMPLES, n_epochs=3, valid_interval=3, seed=8)
        first = run(PLAN, EXAMPLES, base, tmp_path / "a")
        assert run(other, EXAMPLES, base, tmp_path / "b").adapter_bytes != first.adapter_bytes


class TestElapsed:
    lengths = tuple(len(rows[0].token_ids) for rows in EXAMPLES)

    def test_tokens_and_examples_are_counted_with_their_repeats_and_a_small_last_batch(
        self, base: Decoder, tmp_path: Path
    ) -> None:
        record = run(PLAN, EXAMPLES, base, tmp_path)
        tokens, examples = [], []
        for epoch in range(PLAN.n_epochs):
            order = epoch_order(7, PLAN.seed, epoch).tolist()
            for end in (2, 4, 6, 7):
                examples.append(7 * epoch + end)
                seen = epoch * sum(self.lengths) + sum(self.lengths[n] for n in order[:end])
                tokens.append(seen)
        assert [done.elapsed_examples for done in record.steps] == examples
        assert [done.elapsed_tokens for done in record.steps] == tokens

    @pytest.mark.parametrize("num_steps", [1, 4, 6, 11])
    def test_a_resumed_run_goes_on_counting(
        self, base: Decoder, tmp_path: Path, num_steps: int
    ) -> None:
        whole = run(PLAN, EXAMPLES, base, tmp_path / "whole")
        run(PLAN, EXAMPLES, base, tmp_path / "parts", stop=stop_after(num_steps, StopRequest.KEEP))
        resumed = run(PLAN, EXAMPLES, base, tmp_path / "parts")
        counted = [(done.elapsed_tokens, done.elapsed_examples) for done in whole.steps]
        again = [(done.elapsed_tokens, done.elapsed_examples) for done in resumed.steps]
        assert again == counted[num_steps - 1 :]


class TestResuming:
    @pytest.mark.parametrize("num_steps", [0, 1, 4, 6, 11])
    def test_stop_and_resume_gives_the_bits_of_an_uninterrupted_run(
        self, base: Decoder, tmp_path: Path, num_steps: int
    ) -> None:
        whole = run(PLAN, EXAMPLES, base, tmp_path / "whole", valid_examples=VALID)
        stop = stop_after(num_steps, StopRequest.KEEP)
        folder = tmp_path / "parts"
        first = run(PLAN, EXAMPLES, base, folder, valid_examples=VALID, stop=stop)
        second = run(PLAN, EXAMPLES, base, folder, valid_examples=VALID)

        assert not first.is_finished
        assert second.is_finished
        assert {**metrics_of(first), **metrics_of(second)} == metrics_of(whole)
        assert second.adapter_bytes == whole.adapter_bytes
        for path in whole.checkpoints[-1].folder.rglob("*.*"):
            if path.name != "state.json":  # which tells how long the last step took
                other = second.checkpoints[-1].folder / path.relative_to(
                    whole.checkpoints[-1].folder
                )
                assert other.read_bytes() == path.read_bytes()

    def test_the_step_gone_on_from_is_reported_again_with_the_same_numbers(
        self, base: Decoder, tmp_path: Path
    ) -> None:
        """The crash may have come before its report."""
        stop = stop_after(8, StopRequest.KEEP)
        first = run(PLAN, EXAMPLES, base, tmp_path, valid_examples=VALID, stop=stop)
        second = run(PLAN, EXAMPLES, base, tmp_path, valid_examples=VALID)
        assert second.steps[0] == first.steps[-1]
        assert second.checkpoints[0] == first.checkpoints[-1]

    def test_a_finished_run_called_again_only_repeats_its_last_reports(
        self, base: Decoder, tmp_path: Path
    ) -> None:
        first = run(PLAN, EXAMPLES, base, tmp_path)
        second = run(PLAN, EXAMPLES, base, tmp_path)
        assert second.is_finished
        assert second.progress == first.progress[-3:]

    def test_after_an_error_in_report_training_goes_on_from_the_last_snapshot(
        self, base: Decoder, tmp_path: Path
    ) -> None:
        """A lost lease looks like this."""

        def lose_lease(record: Run) -> None:
            if len(record.steps) == 5:
                raise errors.LeaseLost("taken away")

        with pytest.raises(errors.LeaseLost):
            run(PLAN, EXAMPLES, base, tmp_path, stop=lose_lease)
        resumed = run(PLAN, EXAMPLES, base, tmp_path)
        assert resumed.steps[0].metrics.step == 4

    def test_a_worker_that_missed_the_loss_of_its_lease_does_no_harm(
        self, base: Decoder, tmp_path: Path
    ) -> None:
        """While it slept, its successor went on in the same folder, and to the end."""
        successors = []

        def wake_up_late(record: Run) -> None:
            if len(record.steps) == 6:
                successors.append(run(PLAN, EXAMPLES, base, tmp_path))

        stale = run(PLAN, EXAMPLES, base, tmp_path, stop=wake_up_late)
        assert stale.adapter_bytes == successors[0].adapter_bytes
        names = sorted(path.name for path in tmp_path.iterdir())
        assert names == ["step-00000004", "step-00000008", "step-00000012"]


class TestStopping:
    def test_it_is_honoured_within_a_step(self, base: Decoder, tmp_path: Path) -> None:
        record = run(PLAN, EXAMPLES, base, tmp_path, stop=stop_after(3, StopRequest.DROP))
        assert not record.is_finished
        assert len(record.steps) == 3

    def test_a_dropped_run_writes_nothing_on_leaving(self, base: Decoder, tmp_path: Path) -> None:
        run(PLAN, EXAMPLES, base, tmp_path, stop=stop_after(3, StopRequest.DROP))
        assert list(tmp_path.iterdir()) == []

    def test_a_kept_run_leaves_one_snapshot(self, base: Decoder, tmp_path: Path) -> None:
        run(PLAN, EXAMPLES, base, tmp_path, stop=stop_after(3, StopRequest.KEEP))
        assert [path.name for path in tmp_path.iterdir()] == ["step-00000003"]

    def test_a_stop_that_comes_with_the_last_step_comes_too_late(
        self, base: Decoder, tmp_path: Path
    ) -> None:
        assert run(
            PLAN, EXAMPLES, base, tmp_path, stop=stop_after(12, StopRequest.DROP)
        ).is_finished


class TestParent:
    def test_its_weights_are_where_training_starts(self, base: Decoder, tmp_path: Path) -> None:
        parent = final_adapter(run(PLAN, EXAMPLES, base, tmp_path / "parent"), base)
        untrained = make_plan(EXAMPLES, n_epochs=1, learning_rate=0.0)
        child = run(untrained, EXAMPLES, base, tmp_path / "child", parent=parent)
        assert_same_weights(final_adapter(child, base), parent)

    def test_it_stays_as_it_is(self, base: Decoder, tmp_path: Path) -> None:
        record = run(PLAN, EXAMPLES, base, tmp_path / "parent")
        parent = final_adapter(record, base)
        child = run(PLAN, EXAMPLES, base, tmp_path / "child", parent=parent)
        assert_same_weights(parent, final_adapter(record, base))
        assert child.steps[0].metrics.train_loss < record.steps[0].metrics.train_loss
        assert child.adapter_bytes != record.adapter_bytes

    def test_its_rank_wins_over_the_plans(self, base: Decoder, tmp_path: Path) -> None:
        parent = LoraAdapter.initialise(base.shape, LoraSpec(16, 16.0, ("q_proj",)), seed=1)
        child = run(PLAN, EXAMPLES, base, tmp_path, parent=parent)
        assert final_adapter(child, base).spec == parent.spec


class TestDivergence:
    def test_the_job_fails_with_advice_and_no_poisoned_checkpoint(
        self, base: Decoder, tmp_path: Path
    ) -> None:
        plan = make_plan(EXAMPLES, learning_rate=1e30, learning_rate_multiplier=1e33)
        with pytest.raises(
            errors.JobFailed, match=r"lower learning_rate_multiplier \(it was 1e\+33"
        ):
            run(plan, EXAMPLES, base, tmp_path, snapshot_interval_s=0.0)
        for path in tmp_path.glob("*/adapter"):
            adapter = load_adapter(path, base.shape, torch.device("cpu"))
            assert all(torch.isfinite(parameter).all() for parameter in adapter.parameters())

    @pytest.mark.parametrize("learning_rate", [1e30, 1e300])
    def test_an_only_step_that_diverges_fails_too(
        self, base: Decoder, tmp_path: Path, learning_rate: float
    ) -> None:
        plan = make_plan(EXAMPLES, batch_size=7, n_epochs=1, learning_rate=learning_rate)
        with pytest.raises(errors.JobFailed):
            run(plan, EXAMPLES, base, tmp_path)


def metrics_of(record: Run) -> dict[int, object]:
    return {done.metrics.step: done.metrics for done in record.steps}


def final_adapter(record: Run, base: Decoder) -> LoraAdapter:
    return load_adapter(record.checkpoints[-1].adapter_folder, base.shape, torch.device("cpu"))


def assert_same_weights(ours: LoraAdapter, theirs: LoraAdapter) -> None:
    assert ours.weights.keys() == theirs.weights.keys()
    for module, pair in ours.weights.items():
        for tensor, other in zip(pair, theirs.weights[module], strict=True):
            assert torch.equal(tensor, other)
