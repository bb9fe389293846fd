"""A ramp."""


class Linear:
    """`start` until step `begin`, then in a straight line to `end` at step `finish`, and `end` from there on.

    With begin == finish it is a jump. Raises ValueError unless begin <= finish.
    Source: SAVP, KL weight from 0 at 50k to full at 100k, learning rate from full at 200k to 0 at 300k.
    """

    def __init__(self, *, start: float, end: float, begin: int, finish: int) -> None:
        if begin > finish:
            raise ValueError(f"a ramp needs begin <= finish; begin is {begin} and finish {finish}")
        self.start, self.end, self.begin, self.finish = start, end, begin, finish

    def __call__(self, step: int) -> float:
        if step >= self.finish:
            return self.end
        if step <= self.begin:
            return self.start
        done = (step - self.begin) / (self.finish - self.begin)
        return self.start + (self.end - self.start) * done
