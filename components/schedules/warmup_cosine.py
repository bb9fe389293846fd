"""Up in a straight line, down along a cosine."""

from math import cos, pi


class WarmupCosine:
    """From 0 to 1 over `warmup` steps, then along half a cosine to `end` at step `finish`, and `end` after.

    The first step has 1 / warmup, not 0. Raises ValueError unless warmup <= finish.
    Source: LWM (arXiv 2402.08268), official code; SGDR (arXiv 1608.03983), eq. (5), without restarts.
    """

    def __init__(self, *, warmup: int, finish: int, end: float = 0.0) -> None:
        if warmup > finish:
            raise ValueError(f"warm-up ends at step {warmup}, after the last step {finish}")
        self.warmup, self.finish, self.end = warmup, finish, end

    def __call__(self, step: int) -> float:
        if step < self.warmup:
            return (step + 1) / self.warmup
        done = min(1.0, (step - self.warmup) / max(1, self.finish - self.warmup))
        return self.end + (1.0 - self.end) * 0.5 * (1.0 + cos(pi * done))
