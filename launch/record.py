"""The record script: someone acts in an environment, and what is seen becomes a data set."""

from collections import Counter, deque
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from launch.options import read_options, run_command
from launch.presets import kinds
from launch.problems import CommandError, Problem, did_you_mean, names

if TYPE_CHECKING:
    from datamodules.calvin_writer import CalvinWriter
    from datamodules.lerobot_writer import LeRobotWriter
    from environments.workers import Workers
    from launch.recorder import Tally
    from policies import Policy

_AHEAD = 2  # episodes that a process is told of at a time: none waits until its answer is fetched
_ATTEMPTS = 3  # at an episode in which the environment's process dies
_FORMATS = {"lerobot": "a LeRobotDataset v3.0", "calvin": "a folder in CALVIN's layout"}


@dataclass
class RecordOptions:
    """What to record."""

    out: Path = field(metadata={"help": "folder to write to; goes on where it holds a part of the same"})
    format: Literal["lerobot", "calvin"] = field(
        default="lerobot", metadata={"help": "lerobot, or calvin: a file a frame"}
    )
    env: str = field(default="play_table", metadata={"help": "where to act; env.KEY=VALUE changes it"})
    policy: Literal["expert", "random", "mixed"] = field(
        default="expert", metadata={"help": "who acts: expert, random, or mixed, which is both"}
    )
    noise: float = field(
        default=0.3,
        metadata={"help": "mixed: share of episodes that are random, and of random actions in the others"},
    )
    tasks: list[str] | None = field(
        default=None,
        metadata={"help": "what is done, as in tasks=[open_drawer,close_drawer]; null = all tasks"},
    )
    episodes: int = field(default=1000, metadata={"help": "episodes in all; the tasks take turns"})
    processes: int = field(default=1, metadata={"help": "environments side by side; changes no episode"})
    seed: int = field(default=0, metadata={"help": "of tables, wordings and chance"})


class RecordingStopped(CommandError):
    """An episode cannot be recorded; those before it are kept."""

    def report(self, script: str) -> str:
        return f"{script}: stopped at {self}; what was recorded is kept"


def main(tokens: list[str]) -> int:
    """Run the command; returns the exit code. Tokens env.KEY=VALUE change the environment."""
    own = [token for token in tokens if token.startswith("env.")]
    others = [token for token in tokens if token not in own]
    return run_command(RecordOptions, "record.py", others, lambda options: write_recording(options, own))


def read(tokens: list[str]) -> tuple[RecordOptions, list[str]]:
    """What is to be recorded, and what is changed in the environment.

    Raises:
        CommandError: a mistake in the tokens.
    """
    own = [token for token in tokens if token.startswith("env.")]
    return read_options(RecordOptions, [token for token in tokens if token not in own]), own


def write_recording(options: RecordOptions, changes: list[str]) -> None:
    """Record, and say where the data is and what to do with it."""
    try:
        tally, total = record(options, changes)
    except KeyboardInterrupt:
        print(f"\nstopped; the same command goes on, episodes=N makes do with the first N in {options.out}")
        raise SystemExit(130) from None
    if tally.episodes:
        done = f"{tally.episodes} episodes, {tally.successes} with success"
        print(f"recorded {done}; {tally.frames:,} frames, {tally.rate:,.0f} frames/s a core")
    print(f"wrote {options.out}, {_FORMATS[options.format]} of {total} episodes")
    print(f"train:     python train.py recipe=savp data={options.format} data.root={options.out}")


def record(options: RecordOptions, changes: list[str]) -> tuple["Tally", int]:
    """Record the episodes that the folder lacks; returns what was done and how many it has.

    Raises:
        CommandError: the environment or the folder cannot be had, or an episode fails.
    """
    from datamodules import SourceError
    from datamodules.calvin_writer import keep_frames
    from environments import UnavailableError
    from environments.workers import Workers
    from launch.recorder import Recorder, undisturbed

    problems = [
        Problem(key, f"give at least 1, got {value}")
        for key, value in (("episodes", options.episodes), ("processes", options.processes))
        if value < 1
    ]
    if problems:
        raise CommandError(problems)
    policy = policy_of(options)
    try:
        make, node = environment(options.env, changes)
        made_by = {"env": options.env} | {f"env.{key}": value for key, value in node.items()}
        made_by |= {"policy": options.policy, "seed": options.seed}
        made_by |= {"noise": options.noise} if options.policy == "mixed" else {}
        made_by |= {"tasks": options.tasks} if options.tasks is not None else {}
        with closing(make()) as env:
            if getattr(env, "expert", None) is None and options.policy != "random":
                raise CommandError([Problem("policy", f"{options.env} has no expert; take policy=random")])
            tasks = wanted_tasks(options, list(env.tasks()))
            keep = partial(keep_frames, state_names=tuple(env.state_names))
            writer = open_writer(options, env, made_by)
    except UnavailableError as error:
        raise CommandError([Problem(f"env={options.env}", str(error))]) from error
    except SourceError as error:
        raise CommandError([Problem("out", str(error))]) from error
    recorder = partial(
        Recorder,
        env=make,
        policy=policy,
        tasks=tasks,
        root=options.out,
        fps=writer.fps,
        seed=options.seed,
        keep=keep if options.format == "calvin" else None,
    )
    missing = deque(writer.missing(options.episodes))
    workers = Workers(partial(undisturbed, recorder), min(options.processes, len(missing)))
    try:
        return watched(writer, options.episodes, played(workers, missing)), writer.episodes
    finally:
        workers.close()
        writer.close()


def wanted_tasks(options: RecordOptions, known: list[str]) -> list[str]:
    """The tasks that take turns.

    Raises:
        CommandError: none is named, or one that the environment does not have.
    """
    wanted = known if options.tasks is None else options.tasks
    if not wanted:
        raise CommandError([Problem("tasks", "name at least one, or leave it out for all of them")])
    for task in wanted:
        if task not in known:
            hint = f"{did_you_mean(task, known)}; {names(known)}"
            raise CommandError([Problem(f"tasks={task}", f"no such task{hint}")])
    return wanted


def environment(name: str, changes: list[str]) -> tuple[Callable[[], Any], dict[str, Any]]:
    """What builds an environment, and its arguments, changed and checked against its constructor.

    Raises:
        CommandError: there is none of that name; unknown arguments and wrong types.
    """
    from checkpoints.build import build
    from launch.check import check
    from launch.command import parse
    from launch.overrides import change
    from launch.references import resolve

    known = kinds()["environments"].nodes
    if name not in known:
        hint = f"{did_you_mean(name, known)}; {names(known)}"
        raise CommandError([Problem(f"env={name}", f"no such environment{hint}")])
    raw = {"env": dict(known[name])}
    problems = change(raw, parse(changes))
    resolved, found = resolve(raw)
    problems += found + check(raw, resolved, set(), {})
    if problems:
        raise CommandError(problems)
    arguments = {key: value for key, value in resolved["env"].items() if key != "_component_"}
    return build(resolved["env"], Callable[..., Any]), arguments


def policy_of(options: RecordOptions) -> "Policy":
    """Who acts.

    Raises:
        CommandError: noise is no share.
    """
    from policies.expert import Expert
    from policies.mixed import Mixed
    from policies.random_actions import Random

    if not 0 <= options.noise <= 1:
        raise CommandError([Problem("noise", f"give a share from 0 to 1, got {options.noise:g}")])
    known: dict[str, Policy] = {"expert": Expert(), "random": Random(), "mixed": Mixed(noise=options.noise)}
    return known[options.policy]


def open_writer(options: RecordOptions, env: Any, made_by: dict[str, Any]) -> "LeRobotWriter | CalvinWriter":
    """The writer of a folder for what this environment shows."""
    from datamodules.calvin_writer import CalvinWriter
    from datamodules.lerobot_writer import LeRobotWriter

    first, _ = env.reset(seed=options.seed, options={"task": next(iter(env.tasks()))})
    make = CalvinWriter if options.format == "calvin" else partial(LeRobotWriter, robot=options.env)
    return make(
        root=options.out,
        fps=int(env.metadata["render_fps"]),
        cameras={name: seen.shape[:2] for name, seen in first.items() if name != "state"},
        state_names=tuple(env.state_names),
        action_names=tuple(env.action_names),
        made_by=made_by,
    )


def played(workers: "Workers", waiting: deque[int]) -> "Iterator[Tally]":
    """Every episode when it has ended.

    Raises:
        RecordingStopped: an episode fails, or its process dies again and again.
    """
    from environments.workers import Crashed, Failed

    asked: list[deque[int]] = [deque() for _ in range(len(workers))]
    lost: Counter[int] = Counter()
    while waiting or any(asked):
        for place, mine in enumerate(asked):
            while waiting and len(mine) < _AHEAD:
                mine.append(waiting.popleft())
                workers.ask(place, "record", mine[-1])
            if not mine:
                continue
            try:
                yield workers.answer(place)
            except Failed as error:
                raise RecordingStopped([Problem(f"episode {mine[0]}", str(error))]) from error
            except Crashed:
                lost[mine[0]] += 1
                if lost[mine[0]] == _ATTEMPTS:
                    told = f"its process died {_ATTEMPTS} times"
                    raise RecordingStopped([Problem(f"episode {mine[0]}", told)]) from None
                waiting.extendleft(reversed(mine))
                mine.clear()
            else:
                mine.popleft()


def watched(writer: "LeRobotWriter | CalvinWriter", count: int, tallies: "Iterator[Tally]") -> "Tally":
    """Join episodes as they come, up to `count`, showing how far it is; returns their sum."""
    from rich.progress import MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    from launch.recorder import Tally

    whole = Tally()
    columns = (*Progress.get_default_columns()[:2], MofNCompleteColumn(), TextColumn("{task.fields[rate]}"))
    with Progress(*columns, TimeRemainingColumn(), transient=True) as progress:
        there = count - len(writer.missing(count))
        bar = progress.add_task("episodes", total=count, completed=there, rate="")
        for tally in tallies:
            whole.add(tally)
            writer.join(count)
            progress.update(bar, advance=1, rate=f"{whole.rate:,.0f} frames/s a core")
        writer.join(count)
    return whole
