"""Learning rate by step: pure functions, tested by tables."""


def warmup_then_linear(step: int, peak: float, warmup_steps: int, num_steps: int) -> float:
    """The rate of the update that comes after `step` done ones.

    Rises linearly to `peak`, which the update number `warmup_steps` is the first to use, then
    falls linearly towards 0, which no update uses: the first and the last one count too.
    With peak 1, 2 warm-up steps and 6 in all: 1/2, 1, 1, 3/4, 1/2, 1/4.
    """
    if step < warmup_steps:
        return peak * (step + 1) / warmup_steps
    return peak * (num_steps - step) / (num_steps - warmup_steps)
