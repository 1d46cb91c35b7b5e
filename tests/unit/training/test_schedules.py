import pytest

from tunesmith.training.schedules import warmup_then_linear


@pytest.mark.parametrize(
    ("warmup_steps", "num_steps", "expected"),
    [
        (2, 6, [1 / 2, 1, 1, 3 / 4, 1 / 2, 1 / 4]),
        (1, 4, [1, 1, 2 / 3, 1 / 3]),
        (1, 1, [1]),
        (3, 3, [1 / 3, 2 / 3, 1]),
        (0, 2, [1, 1 / 2]),
    ],
)
def test_rate_rises_to_the_peak_and_falls_towards_zero(
    warmup_steps: int, num_steps: int, expected: list[float]
) -> None:
    rates = [warmup_then_linear(step, 8.0, warmup_steps, num_steps) for step in range(num_steps)]
    assert rates == pytest.approx([8.0 * share for share in expected])
