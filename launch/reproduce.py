"""The reproduce script: try a recipe's claims against each other's variants and write what came of it."""

import os
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from launch.options import read_options, usage
from launch.problems import CommandError, Problem

PLAIN_SECONDS = 60.0  # between two lines on progress where there is no terminal


@dataclass
class ReproduceOptions:
    """What to try."""

    recipe: str = field(metadata={"help": "whose claims, from recipes/NAME/claims.yaml"})
    claim: str | None = field(default=None, metadata={"help": "one of them; null = all"})
    seeds: int = field(default=3, metadata={"help": "trainings of each variant"})
    run_dir: Path = field(default=Path("runs/claims"), metadata={"help": "where the trainings are kept"})


def main(tokens: list[str]) -> int:
    """Run the command; returns the exit code: 0 all tried, 1 an arm broke, 2 a mistake, 130 stopped."""
    if not tokens or tokens == ["help=true"]:
        print(usage(ReproduceOptions, "reproduce.py"))
        return 0
    from launch.claims.run_arms import Stopped

    try:
        options = read_options(ReproduceOptions, tokens)
        if options.seeds < 1:
            raise CommandError([Problem("seeds", f"expected 1 or more, got {options.seeds}")])
        return reproduce(options)
    except CommandError as error:
        print(error.report("reproduce.py"), file=sys.stderr)
        return 2
    except Stopped:
        print(f"\nstopped; nothing is lost\ncontinue:  python reproduce.py {' '.join(tokens)}")
        return 130


def reproduce(options: ReproduceOptions) -> int:
    """Run what is left to run, judge, and write results.json and the README's table.

    Raises:
        CommandError: a mistake in the command or in the claims; nothing was started.
        Stopped: by the user; the same command goes on.
    """
    from launch.claims.arms import arms_of
    from launch.claims.reading import claim_names, folder_of, read_claims
    from launch.claims.results import circumstances, judge, report, write
    from launch.claims.run_arms import run_arms, taken
    from launch.record import read, write_recording

    claims = read_claims(options.recipe, options.claim)
    arms = arms_of(claims, options.recipe, options.seeds, options.run_dir / options.recipe)
    each = list({arm.folder: arm for arm in arms.values()}.values())
    if busy := [
        Problem(str(arm.folder), "another process is at it: wait until it ends") for arm in each if taken(arm)
    ]:
        raise CommandError(busy)
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    done = sum(arm.next_command() is None for arm in each)
    minutes = sum(claim.minutes for claim in claims) * options.seeds / 3 * 2 / cores * (1 - done / len(each))
    print(f"{len(claims)} claims, {len(each)} arms, {done} finished before; {cores} at a time")
    print(f"about {minutes:.0f} minutes; writing to {options.run_dir / options.recipe}", flush=True)
    for tokens in dict.fromkeys(tuple(claim.record) for claim in claims if claim.record):
        write_recording(*read(list(tokens)))
    failed = run_arms(each, cores=cores, show=Screen(len(each)).show)
    words = [f"recipe={options.recipe}", *([f"claim={options.claim}"] if options.claim else [])]
    around = circumstances(f"python reproduce.py {' '.join(words)} seeds={options.seeds}", cores)
    records: dict[str, Any] = {}
    for claim in claims:
        mine = {v: [arms[claim.name, v, s] for s in range(options.seeds)] for v in claim.variants}
        own = [arm for of_variant in mine.values() for arm in of_variant]
        failures = [f"{arm.label}: {failed[arm.folder]}" for arm in own if arm.folder in failed]
        found = {} if failures else {v: [arm.found(claim.measures) for arm in of] for v, of in mine.items()}
        spent = {"spent_minutes": round(sum(arm.seconds() for arm in own) / 60, 1)}
        records[claim.name] = judge(claim, found, failures) | spent | around
    folder = folder_of(options.recipe)
    write(folder, claim_names(options.recipe), records)
    print("\n" + report(records))
    print(f"\nwrote {folder / 'results.json'} and the table in {folder / 'README.md'}")
    return 1 if failed else 0


class Screen:
    """Says what happens: a line an event, and the running arms' own progress in a last line that moves.

    Without a terminal that line is printed once a minute.
    """

    def __init__(self, total: int) -> None:
        self.total, self.moving, self.told = total, sys.stdout.isatty(), time.monotonic()

    def show(self, event: str, running: list[Any]) -> None:
        from launch.claims.run_arms import last_line

        if event:
            print(("\r\x1b[K" if self.moving else "") + event, flush=True)
        now = time.monotonic()
        if now - self.told < (1.0 if self.moving else PLAIN_SECONDS):
            return
        self.told = now
        doing = {arm.label: "measuring" if arm.trained() else last_line(arm.folder) for arm in running}
        line = "  |  ".join(f"{label}: {what}" for label, what in doing.items())
        if self.moving:
            print("\r\x1b[K" + line[: os.get_terminal_size().columns - 1], end="", flush=True)
        elif line:
            print(line, flush=True)
