"""Needles: is something found that stands once in a long text, or shows for a moment in a long video."""

from typing import Any

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from checkpoints.build import build
from components.randomness import mix
from datamodules.batches import collate
from evaluation.curves import as_image
from recipes.world_model import pixels

Grid = Float[np.ndarray, "depths lengths"]


class NeedleSuite:
    """Ask for a fact at every depth of contexts of every length; each answer is the first one.

    accuracy: share of answers that hold every asked value, over the whole grid; accuracy_N of length N.
    found: share of the asked values that the answers hold; the same where one is asked for.
    The data source has `sample(length, depth, index)` and `guessing`, how often chance is right; the model
    `complete` for texts, `answer` for video.

    lengths: bytes of texts, or frames of videos. depths: so many, evenly from the beginning to the end.
    rounds: samples of each length and depth. data: a source's config, null = the model's own.
    frames: of each video so many are shown, evenly taken, as a model of short contexts must; null = all.
    Source: the needle evaluation of LWM (arXiv 2402.08268), which scores in the same way.
    """

    def __init__(
        self,
        *,
        lengths: list[int],
        depths: int = 5,
        rounds: int = 10,
        batch_size: int = 10,
        frames: int | None = None,
        data: dict[str, Any] | None = None,
    ) -> None:
        counts = {"rounds": rounds, "batch_size": batch_size} | ({} if frames is None else {"frames": frames})
        if not lengths or min(*lengths, *counts.values()) < 1 or depths < 2:
            told = f"lengths {lengths}, depths {depths}, {', '.join(f'{k} {v}' for k, v in counts.items())}"
            raise ValueError(f"{told}; give lengths above 0, 2 depths or more, and 1 or more of the others")
        self.lengths, self.depths, self.rounds = sorted(lengths), depths, rounds
        self.batch_size, self.frames, self.data = batch_size, frames, data
        self._grid: Grid | None = None
        self._unit = ""

    @property
    def metrics(self) -> tuple[str, ...]:
        return ("accuracy", "found", *(f"accuracy_{length}" for length in self.lengths))

    @torch.no_grad()
    def __call__(self, model: Any) -> dict[str, float]:
        config = model.hparams
        source = self._source(config)
        right = np.zeros((self.depths, len(self.lengths), self.rounds))
        found, depths = np.zeros_like(right), self._depths()
        self._unit = "frames" if source.spec().num_frames else "bytes"
        for column, length in enumerate(self.lengths):
            places = [(row, turn) for row in range(self.depths) for turn in range(self.rounds)]
            for start in range(0, len(places), self.batch_size):
                part = places[start : start + self.batch_size]
                asked = [
                    source.sample(length=length, depth=depths[row], index=turn * self.depths + row)
                    for row, turn in part
                ]
                generator = torch.Generator(model.device).manual_seed(mix(config["seed"], length, start))
                said = self._ask(model, asked, generator)
                for (row, turn), sample, answer in zip(part, asked, said, strict=True):
                    values = sample["answer"].replace(",", "").split() if "video" not in sample else []
                    hits = [value in answer for value in values or [sample["answer"]]]
                    found[row, column, turn], right[row, column, turn] = np.mean(hits), all(hits)
        self._grid = right.mean(axis=2)
        by_length = {f"accuracy_{length}": float(right[:, i].mean()) for i, length in enumerate(self.lengths)}
        return {"accuracy": float(right.mean()), "found": float(found.mean())} | by_length

    def chance(self, config: dict[str, Any]) -> dict[str, float]:
        """What values drawn at random come to, by who knows what is asked for."""
        guessed = float(self._source(config).guessing)
        return {name: guessed for name in self.metrics if name != "found"}

    def _source(self, config: dict[str, Any]) -> Any:
        source = build(config["data"] if self.data is None else self.data)
        if not hasattr(source, "sample"):
            told = (
                f"suite=needle asks for what lies at a depth, of which {type(source).__name__} knows nothing"
            )
            raise ValueError(f"{told}; set suite.data, or train on text_haystack or film_haystack")
        return source

    def _ask(self, model: Any, asked: list[dict[str, Any]], generator: torch.Generator) -> list[str]:
        questions = [sample["question"] for sample in asked]
        if "video" in asked[0]:
            video = collate(asked)["video"]
            if self.frames is not None and self.frames < video.shape[1]:  # the middles of equal parts
                middles = (torch.arange(self.frames) + 0.5) * video.shape[1] / self.frames
                video = video[:, middles.long()]
            video = pixels(video.to(model.device))
            answers: list[str] = model.answer(video, questions, generator=generator)
            return answers
        said: list[str] = model.complete([sample["text"] for sample in asked], questions, generator=generator)
        return said

    def notes(self) -> list[str]:
        error = 0.5 / (self.depths * self.rounds) ** 0.5
        return [f"{self.depths * self.rounds} questions a length; the standard error is at most {error:.2g}"]

    def pictures(self) -> dict[str, UInt8[Tensor, "3 h w"]]:
        """Share that was found, depth by length."""
        assert self._grid is not None
        from matplotlib.figure import Figure

        figure = Figure(
            figsize=(1.5 + 0.8 * len(self.lengths), 1.5 + 0.5 * self.depths), layout="constrained"
        )
        axes = figure.add_subplot()
        axes.imshow(self._grid, vmin=0, vmax=1, cmap="RdYlGn", aspect="auto")
        for (row, column), value in np.ndenumerate(self._grid):
            axes.text(column, row, f"{value:.2f}", ha="center", va="center")
        axes.set_xticks(range(len(self.lengths)), [str(length) for length in self.lengths])
        axes.set_yticks(range(self.depths), [f"{depth:.0%}" for depth in self._depths()])
        axes.set(title="needles found", xlabel=f"length of the context, {self._unit}", ylabel="depth")
        return {"needles": as_image(figure)}

    def files(self) -> dict[str, str]:
        assert self._grid is not None
        lines = [f"| depth | {' | '.join(f'{length} {self._unit}' for length in self.lengths)} |"]
        lines += ["|---" * (len(self.lengths) + 1) + "|"]
        for depth, row in zip(self._depths(), self._grid, strict=True):
            lines.append(f"| {depth:.0%} | " + " | ".join(f"{value:.3f}" for value in row) + " |")
        return {"needles.md": "\n".join(lines) + "\n"}

    def _depths(self) -> list[float]:
        return [row / (self.depths - 1) for row in range(self.depths)]
