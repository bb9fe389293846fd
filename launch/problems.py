"""What is wrong with a command line, said all at once and in one line each."""

import difflib
from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class Problem:
    """One mistake. path: the key as written. message: what was expected, and the nearest known name."""

    path: str
    message: str


class CommandError(Exception):
    """The command cannot start; nothing was started. The script prints it and exits with code 2."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = one_a_mistake(problems)
        super().__init__("; ".join(f"{problem.path}: {problem.message}" for problem in self.problems))

    def report(self, script: str) -> str:
        count = len(self.problems)
        width = min(36, max(len(problem.path) for problem in self.problems))
        lines = [f"{script}: {count} problem{'s' * (count != 1)}, nothing was started"]
        lines += [f"  {problem.path:<{width}}  {problem.message}" for problem in self.problems]
        return "\n".join(lines)


def one_a_mistake(problems: Iterable[Problem]) -> list[Problem]:
    """A key that no stage knows is one mistake: of what the stages say, the line that knows a nearer name."""
    kept: list[Problem] = []
    places: dict[str, int] = {}
    for problem in dict.fromkeys(problems):
        unknown = problem.message.startswith("unknown key")
        if not unknown or problem.path not in places:
            if unknown:
                places[problem.path] = len(kept)
            kept.append(problem)
        elif "did you mean" in problem.message:
            kept[places[problem.path]] = problem
    return kept


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """`; did you mean X?` for the nearest known name, or nothing when none is near.

    A path is near when it is spelled nearly alike, or ends in the same key: lr -> optimizer.lr.
    """
    known = list(known)
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.65)
    if not near:
        leaf = name.rpartition(".")[2]
        leaves = difflib.get_close_matches(leaf, [k.rpartition(".")[2] for k in known], n=1, cutoff=0.75)
        near = sorted((k for k in known if leaves and k.rpartition(".")[2] == leaves[0]), key=len)[:1]
    return f"; did you mean {near[0]}?" if near else ""


def names(known: Iterable[str]) -> str:
    return f"there are: {', '.join(sorted(known))}"
