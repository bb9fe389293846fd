"""One process of a recording: an environment, someone who acts in it, and episodes that are kept."""

import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from components.randomness import mix
from datamodules.lerobot_episodes import RecordedEpisode, keep_episode
from policies import Policy, Scene


@dataclass
class Tally:
    """What was recorded. seconds: of processor time."""

    episodes: int = 0
    frames: int = 0
    successes: int = 0
    seconds: float = 0.0

    @property
    def rate(self) -> float:
        """Frames a second on one core."""
        return self.frames / max(self.seconds, 1e-9)

    def add(self, other: "Tally") -> None:
        self.episodes += other.episodes
        self.frames += other.frames
        self.successes += other.successes
        self.seconds += other.seconds


def undisturbed(make: Callable[[], "Recorder"]) -> "Recorder":
    """Build a recorder where Ctrl-C is left to the process that waits for episodes."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    return make()


class Recorder:
    """Plays episodes for the writer of a folder; episode i depends on i and the seed alone.

    env: builds the environment.  tasks: they take turns.  fps: frames a second.  keep: leaves an episode for
    the writer, given the folder, the episode's number, the episode, and the task by name.
    """

    def __init__(
        self,
        *,
        env: Callable[[], Any],
        policy: Policy,
        tasks: list[str],
        root: Path,
        fps: int,
        seed: int,
        keep: Callable[[Path, int, RecordedEpisode, str], None] | None = None,
    ) -> None:
        self.make, self.policy, self.tasks = env, policy, tasks
        self.root, self.fps, self.seed = root, fps, seed
        self.keep = keep or self._keep_for_lerobot
        self.env = env()

    def record(self, index: int) -> Tally:
        """Play an episode and keep it."""
        began = time.process_time()
        task = self.tasks[index % len(self.tasks)]
        episode = self._play(task, mix(self.seed, index) % 2**31)
        self.keep(self.root, index, episode, task)
        success = int(episode.success[-1])
        return Tally(1, len(episode.states), success, time.process_time() - began)

    def close(self) -> None:
        self.env.close()

    def _keep_for_lerobot(self, root: Path, index: int, episode: RecordedEpisode, task: str) -> None:
        """Its text names the task."""
        keep_episode(root, index, episode, fps=self.fps)

    def _play(self, task: str, seed: int) -> RecordedEpisode:
        observation, info = self.env.reset(seed=seed, options={"task": task})
        scene = Scene(
            task=task,
            text=info["text"],
            goal=None,
            make=self.make,
            action_width=len(self.env.action_names),
            expert=getattr(self.env, "expert", None),
        )
        actor = self.policy.begin(None, scene, seed=mix(seed, 1) % 2**31)
        seen, actions, success, over = [observation], [], [], False
        while not over:
            action = np.asarray(actor.act(observation, None), dtype=np.float32)
            observation, _, done, given_up, told = self.env.step(action)
            seen.append(observation)
            actions.append(action)
            success.append(bool(told["success"]))
            over = done or given_up
        cameras = [name for name in observation if name != "state"]
        return RecordedEpisode(
            videos={name: np.stack([moment[name] for moment in seen]) for name in cameras},
            states=np.stack([moment["state"] for moment in seen]),
            actions=np.stack(actions),
            success=np.array(success),
            text=info["text"],
        )
