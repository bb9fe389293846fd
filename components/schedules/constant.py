"""The same at every step."""


class Constant:
    """The value, whatever the step."""

    def __init__(self, *, value: float) -> None:
        self.value = value

    def __call__(self, step: int) -> float:
        return self.value
