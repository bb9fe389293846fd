"""Pictures of tasks done and not yet done, out of recordings that tell success step by step."""

import logging
import re
from collections import defaultdict
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from jaxtyping import UInt8
from torch import Tensor
from torch.utils.data import Dataset

from components.clip import Clip, ClipSpec
from components.randomness import mix
from datamodules import SourceError, Split
from datamodules.decoding import Unreadable
from datamodules.lerobot import LeRobot, LeRobotClips, numbers
from datamodules.lerobot_layout import Episode, LeRobotLayout

SUCCESS = "success"  # the column of `state`
_ATTEMPTS = 20  # other draws in place of one that does not decode
_KEPT = 4096  # pictures of success that stay decoded
_PLACES: dict[Split, int] = {"train": 0, "val": 1, "test": 2}

log = logging.getLogger("datamodules")


class SuccessExamples:
    """A clip is a task: `context_frames` successes to learn it by, then successes and failures to judge.

    There are as many of one as of the other. A success is the last frame of an episode in which the task is
    done; a failure any frame before it was done for the first time. No episode gives both a success to learn
    by and a frame to judge. Where a split has too few episodes, successes to judge repeat. Frames are in no
    order of time; `state` has one column, `success`. Splits are by episode, as data=lerobot has them.

    root: a LeRobotDataset, as record.py writes it, or its id on the hub. tasks: by name, a regular expression
    for each; texts that one matches are the same task; null: each text is a task. camera: null = the first.
    success_key: whether the task was done after a row's action. num_clips: of each split; each is drawn from
    seed and index.
    Raises: SourceError where there is no success or no such column, a pattern is none, sizes do not fit, or
    no task has episodes enough.
    """

    def __init__(
        self,
        *,
        root: str,
        num_frames: int,
        context_frames: int,
        height: int,
        width: int,
        tasks: dict[str, str] | None = None,
        camera: str | None = None,
        success_key: str = "next.success",
        num_clips: int = 10_000,
        seed: int = 0,
    ) -> None:
        judged = num_frames - context_frames
        if context_frames < 1 or judged < 2 or judged % 2:
            told = f"clip.num_frames={num_frames} with clip.context_frames={context_frames}"
            raise SourceError(
                f"{told}: give at least 1 success to learn by, and 2, 4, ... more frames to judge"
            )
        if num_clips < 1:
            raise SourceError(f"data.num_clips={num_clips}; give at least 1")
        for name, pattern in (tasks or {}).items():
            try:
                re.compile(pattern)
            except re.error as error:
                raise SourceError(
                    f"data.tasks.{name}={pattern!r} is no regular expression: {error}"
                ) from None
        self.root, self.context_frames, self.judged = root, context_frames, judged // 2
        self.height, self.width, self.tasks, self.success_key = height, width, tasks, success_key
        self.num_clips, self.seed = num_clips, seed
        self._frames = LeRobot(
            root=root, num_frames=1, height=height, width=width, camera=camera, action_key=None,
            state_key=success_key,
        )  # fmt: skip

    def spec(self) -> ClipSpec:
        num_frames = self.context_frames + 2 * self.judged
        return ClipSpec(num_frames, self.height, self.width, state_dim=1, state_names=(SUCCESS,))

    def split(self, name: Split) -> "SuccessTasks":
        """The tasks of one split as a map-style data set."""
        if self.success_key not in LeRobotLayout(self.root).features:
            told = f"data.root={self.root}: no column {self.success_key}, which tells success step by step"
            raise SourceError(f"{told}; record.py writes it, else give its name as data.success_key")
        clips = self._frames.split(name)
        attempts = defaultdict[str, list[Attempt]](list)
        for attempt, text in self._attempts(clips):
            if (task := self._task_of(text)) is not None:
                attempts[task].append(attempt)
        successes = {task: sum(one.done is not None for one in of) for task, of in attempts.items()}
        if not sum(successes.values()):
            told = f"data.root={self.root}: no success in the {len(clips.episodes)} {name} episodes"
            of_tasks = "" if self.tasks is None else " of data.tasks"
            raise SourceError(f"{told}{of_tasks}; record some with policy=expert or policy=mixed")
        least = self.context_frames + 1
        usable = {task: of for task, of in sorted(attempts.items()) if successes[task] >= least}
        if not usable:
            most = max(successes, key=lambda task: successes[task])
            told = f"data.root={self.root}: no task has {least} {name} episodes with success, at most"
            do = "record more, or name texts that mean the same in data.tasks"
            raise SourceError(f"{told} {successes[most]} ({most!r}); {do}")
        if len(usable) < len(attempts):
            few = ", ".join(sorted(attempts.keys() - usable.keys()))
            log.warning(
                "%s: left out: tasks with fewer than %d %s successes: %s", self.root, least, name, few
            )
        return SuccessTasks(self, clips, usable, name)

    def _attempts(self, clips: LeRobotClips) -> "list[tuple[Attempt, str]]":
        """Every episode, with its text."""
        columns = clips.frames.select_columns([self.success_key, "task_index"])[:]
        done = numbers(columns, self.success_key)[:, 0].numpy() > 0
        tasks = columns["task_index"].to_numpy()
        found = []
        for episode in clips.episodes:
            first, length = episode.first_row, episode.length
            (shown,) = np.nonzero(done[first : first + length - 1])  # row i tells of frame i + 1
            ends = (int(shown[-1]) + 1, int(shown[0]) + 1) if len(shown) else (None, length)
            found.append((Attempt(episode, *ends), clips.tasks.get(int(tasks[first]), "")))
        return found

    def _task_of(self, text: str) -> str | None:
        """The first one whose pattern the text matches."""
        if self.tasks is None:
            return text
        return next((name for name, pattern in self.tasks.items() if re.search(pattern, text)), None)


@dataclass(frozen=True)
class Attempt:
    """An episode. done: the last frame in which its task is done. before: frames before the first such."""

    episode: Episode
    done: int | None
    before: int


class SuccessTasks(Dataset):
    """Clips of one split, each drawn from the seed and its index alone.

    A draw with a frame that does not decode is replaced by another one.
    """

    def __init__(
        self, source: SuccessExamples, clips: LeRobotClips, attempts: dict[str, list[Attempt]], name: Split
    ) -> None:
        self.source, self.clips, self.attempts, self.place = source, clips, attempts, _PLACES[name]
        self.names = list(attempts)
        shown, judged = source.context_frames, source.judged
        labels = [1.0] * (shown + judged) + [0.0] * judged
        self.labels = torch.tensor(labels)[:, None]
        self._kept = lru_cache(maxsize=_KEPT)(self._picture)

    def __len__(self) -> int:
        return self.source.num_clips

    def __getitem__(self, index: int) -> Clip:
        if not 0 <= index < len(self):
            raise IndexError(f"clip {index} of {len(self)}")
        for attempt in range(_ATTEMPTS):
            rng = np.random.Generator(np.random.PCG64(mix(self.source.seed, self.place, index, attempt)))
            try:
                return self._drawn(rng, index)
            except Unreadable as reason:
                problem = str(reason)
        told = f"data.root={self.source.root}: {_ATTEMPTS} draws hold frames that do not decode ({problem})"
        raise SourceError(f"{told}; fetch the videos again")

    def _drawn(self, rng: np.random.Generator, index: int) -> Clip:
        shown, judged = self.source.context_frames, self.source.judged
        task = self.names[rng.integers(len(self.names))]
        every = [self.attempts[task][i] for i in rng.permutation(len(self.attempts[task]))]
        done = [one for one in every if one.done is not None]
        learned = {one.episode.index for one in done[:shown]}
        others = [one for one in every if one.episode.index not in learned]
        rng.shuffle(others)  # type: ignore[arg-type]
        successes = [*done[:shown], *_repeated(done[shown:], judged)]
        pictures = [self._kept(one.episode, one.done) for one in successes]
        for one in _repeated(others, judged):
            pictures.append(self._picture(one.episode, int(rng.integers(one.before))))
        return Clip(
            video=torch.stack(pictures),
            state=self.labels,
            text=task,
            id=f"{self.clips.name}/{task}#{index}",
        )

    def _picture(self, episode: Episode, frame: int) -> UInt8[Tensor, "3 h w"]:
        return self.clips.video(episode, frame)[0]


def _repeated(attempts: list[Attempt], count: int) -> list[Attempt]:
    """So many of them, again from the first where there are fewer."""
    return [attempts[i % len(attempts)] for i in range(count)]
