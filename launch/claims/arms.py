"""The arms of claims: each a training with its measurements, in a folder of its own.

What has been done is read off the folders, so a stopped command goes on where it was, and an arm that several
claims share is run once.
"""

import hashlib
import json
import sys
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from launch.claims.expectation import Value
from launch.claims.reading import Claim
from launch.compose import compose
from launch.presets import ROOT

TIME = "seconds.json"


@dataclass
class Arm:
    """One training with its measurements.

    words: what train.py is asked for. before: the arm whose weights it starts from.
    """

    label: str
    folder: Path
    words: list[str]
    before: "Arm | None"
    measures: list[dict[str, Any]] = field(default_factory=list)

    def trained(self) -> bool:
        record = self.folder / "run.json"
        if not record.is_file():
            return False
        stages = json.loads(record.read_text())["stages"]
        return all((self.folder / stage / "result.json").is_file() for stage in stages)

    def next_command(self) -> list[str] | None:
        """What is to be run next; None when nothing is left."""
        if not self.trained():
            begun = any(self.folder.glob("*/checkpoints/step_*")) or any(self.folder.glob("*/result.json"))
            start = [f"weights={self.before.folder}"] if self.before else []
            words = [f"resume={self.folder}"] if begun else [*self.words, *start, f"run_dir={self.folder}"]
            return train_command(words)
        for node in self.measures:
            if not (out := self._measured(node)).is_file():
                return measure_command(self.folder, node, out)
        return None

    def found(self, measures: list[dict[str, Any]]) -> dict[str, Value]:
        """What some of its measures found, by metric."""
        parts = [json.loads(self._measured(node).read_text()) for node in measures]
        return {metric: value for part in parts for metric, value in part.items()}

    def seconds(self) -> float:
        """Time spent on it so far, in all sessions."""
        file = self.folder / TIME
        return json.loads(file.read_text()) if file.is_file() else 0.0

    def _measured(self, node: dict[str, Any]) -> Path:
        return self.folder / f"measured_{_digest(node)}.json"


def train_command(words: list[str]) -> list[str]:
    return [sys.executable, str(ROOT / "train.py"), *words]


def measure_command(run: Path, node: dict[str, Any], out: Path) -> list[str]:
    return [sys.executable, "-m", "launch.claims.measure", str(run), json.dumps(node), str(out)]


def arms_of(claims: Iterable[Claim], recipe: str, seeds: int, runs: Path) -> dict[tuple[str, str, int], Arm]:
    """The arm of every claim, variant and seed; equal configs with equal starts are one arm.

    A folder is named by its composed config, so a claim that was changed since is run anew.
    """
    arms: dict[tuple[str, str, int], Arm] = {}
    by_folder: dict[Path, Arm] = {}
    for claim in claims:
        for variant in claim.in_order():
            for seed in range(seeds):
                command = claim.command(recipe, variant, seed)
                before = arms[claim.name, claim.after[variant], seed] if variant in claim.after else None
                digest = _digest([compose(command)[0], before.folder.name if before else None])
                known = sorted(runs.glob(f"*_{digest}")) + [f for f in by_folder if f.name.endswith(digest)]
                folder = known[0] if known else runs / f"{claim.name}_{variant}_seed{seed}_{digest}"
                label = f"{claim.name}: {variant}, seed {seed}"
                arm = by_folder.setdefault(folder, Arm(label, folder, command.tokens(), before))
                arm.measures += [node for node in claim.measures if node not in arm.measures]
                arms[claim.name, variant, seed] = arm
    return arms


def _digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:10]
