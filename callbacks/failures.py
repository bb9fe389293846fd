"""Why a run cannot go on, when that is nobody's programming error."""


class RunStopped(Exception):
    """One line for the user: what happened, at which step, what is saved, what to do.

    resumable: whether the run, resumed as it is, would get further.
    """

    def __init__(self, line: str, *, resumable: bool) -> None:
        super().__init__(line)
        self.resumable = resumable
