"""Codes of latent dynamics: are they in use, what do they give back, and what do they mean."""

from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torchmetrics import MeanMetric

from checkpoints.build import build
from components.clip import Clip
from components.latent_dynamics import LatentDynamics
from components.media import film_strip
from components.metrics.code_usage import CodeUsage
from components.metrics.psnr import psnr
from components.randomness import mix
from datamodules.batches import collate
from evaluation import Report
from evaluation.code_maps import draw_maps, flattened
from recipes.world_model import pixels

COLUMNS = 3  # of the actions that get a map
SHOWN = 4  # clips in the film strips


class CodesSuite:
    """Judge the latent dynamics of a model, on clips as long as they look ahead, of any source.

    psnr: of frames decoded from the first one and its true codes; to be compared to the first frame's own.
    exact_boards: share of decoded frames in which a source with a `reader` reads the true state.
    distinct_codes: of the clips' codes, mean over horizons. code_usage, code_perplexity: over all horizons.
    They are curves over horizons as well.
    Maps show features before they are quantised, coloured by the source's actions: where they are one whole
    number by that number, else by the sum of each of the first 3 up to the code's frame; without actions by
    how much the picture has changed.
    Source: VideoWorld (arXiv 2501.09781), section 4.4 and figures 6 to 8 (maps), section 3.2 (decoding).
    """

    metrics = ("psnr", "exact_boards", "distinct_codes", "code_usage", "code_perplexity")

    def __init__(self, *, clips: int = 512, batch_size: int = 32) -> None:
        if min(clips, batch_size) < 1:
            raise ValueError(f"clips is {clips} and batch_size {batch_size}; give at least 1")
        self.clips, self.batch_size = clips, batch_size
        self._copied: dict[str, float] = {}

    @torch.no_grad()
    def __call__(self, model: Any) -> Report:
        dynamics = getattr(model, "dynamics", None)
        if dynamics is None:
            told = f"suite=codes asks for latent dynamics; this {type(model).__name__} has none"
            raise ValueError(f"{told}: give a run with codes, or its stage `dynamics`")
        source = build(model.hparams["data"] | {"num_frames": dynamics.horizon + 1})
        dataset = source.split("test")
        count = min(self.clips, len(dataset))
        ids: list[str] = []
        kept: dict[str, list[Tensor]] = {"codes": [], "features": [], "change": [], "actions": []}
        found = Findings(dynamics)
        strips: dict[str, Tensor] = {}
        for start in range(0, count, self.batch_size):
            clip = collate([dataset[i] for i in range(start, min(start + self.batch_size, count))])
            video = pixels(clip["video"].to(model.device))
            codes = dynamics.encode(video)
            decoded = dynamics.decode(video[:, 0], codes)
            found.update(video, codes, decoded, clip, getattr(source, "reader", None))
            ids += clip["id"]
            kept["codes"].append(codes.cpu())
            kept["features"].append(dynamics.features(video).float().cpu())
            kept["change"].append((video[:, 1:] - video[:, :1]).abs().mean(dim=(2, 3, 4)).cpu())
            if "actions" in clip:
                kept["actions"].append(clip["actions"].cpu())
            if start == 0:
                strips = self.strips(model, clip, decoded)
        codes, features, change = (torch.cat(kept[name]) for name in ("codes", "features", "change"))
        actions = torch.cat(kept["actions"]) if kept["actions"] else None
        known = coloured_by(source.spec().action_names, actions, change)
        how, places = zip(*(flattened(column) for column in features.unbind(1)), strict=True)
        ahead = getattr(dynamics, "offsets", range(1, dynamics.horizon + 1))
        maps = {
            f"map_{name}": draw_maps(
                list(places), [values[:, h - 1] for h in ahead], how=how[0], title=f"features, by {name}"
            )
            for name, values in known.items()
        }
        self._copied = found.values_of("copied")
        return Report(
            values=found.values_of("decoded") | found.usage(),
            curves=found.curves(),
            pictures=maps | strips,
            files={"codes.csv": table(ids, codes, places)},
        )

    def chance(self, config: dict[str, Any]) -> dict[str, float]:
        """What the first frame itself scores, as a guess of those after it, on the clips last judged."""
        return self._copied

    def strips(self, model: Any, clip: Clip, decoded: Float[Tensor, "b k 3 h w"]) -> dict[str, Tensor]:
        """Films: the truth, what its codes give back and, of a model that writes codes, what it imagines."""
        video = pixels(clip["video"].to(model.device))
        rows: dict[str, Tensor] = {"codes of the truth": torch.cat([video[:, :1], decoded], dim=1)}
        if hasattr(model, "next_frame"):
            generator = torch.Generator(model.device).manual_seed(mix(model.hparams["seed"], 0))
            first = {"video": video[:SHOWN, :1], "text": clip.get("text", [])[:SHOWN]}
            if "second_video" in clip:
                first["second_video"] = clip["second_video"][:SHOWN, :1].to(model.device)
            written = model.next_frame(first, generator, temperature=0.0, draw=False).codes
            if written is not None:
                imagined = model.imagine(video[:SHOWN, 0], written)
                rows["codes the model writes"] = torch.cat([video[:SHOWN, :1], imagined], dim=1)
        films = {}
        for i in range(min(SHOWN, len(video))):
            labelled = [("truth", video[i]), *((label, made[i]) for label, made in rows.items())]
            shown = [(label, film.clamp(0, 1).mul(255).round().byte().cpu()) for label, film in labelled]
            films[f"imagined_{i + 1}"] = film_strip(shown, context_frames=1, truths=1)
        return films


class Findings:
    """Means over clips, of each horizon."""

    def __init__(self, dynamics: LatentDynamics) -> None:
        self.size = dynamics.codebook_size
        self.usages = [CodeUsage(codebook_size=self.size) for _ in range(dynamics.num_codes)]
        self.all = CodeUsage(codebook_size=self.size)
        self.means: dict[tuple[str, str], list[MeanMetric]] = {}

    def update(
        self,
        video: Float[Tensor, "b f 3 h w"],
        codes: Int[Tensor, "b n"],
        decoded: Float[Tensor, "b k 3 h w"],
        clip: Clip,
        reader: Any,
    ) -> None:
        """Take in a batch; where a clip ends early, only the frames it has are compared."""
        for usage, column in zip(self.usages, codes.cpu().unbind(1), strict=True):
            usage.update(column)
        self.all.update(codes.cpu())
        truth = video[:, 1:]
        guesses = {"decoded": decoded[:, : truth.shape[1]], "copied": video[:, :1].expand_as(truth)}
        for name, guess in guesses.items():
            self._add(name, "psnr", psnr(guess, truth))
            if reader is not None:
                boards = torch.as_tensor(reader.boards(guess.flatten(0, 1).cpu().numpy()))
                right = boards.flatten(1) == clip["state"][:, 1:].flatten(0, 1)
                self._add(name, "exact_boards", right.all(dim=1).float().unflatten(0, truth.shape[:2]))

    def _add(self, name: str, metric: str, values: Float[Tensor, "b k"]) -> None:
        means = self.means.setdefault((name, metric), [MeanMetric() for _ in range(values.shape[1])])
        for mean, column in zip(means, values.cpu().unbind(1), strict=True):
            mean.update(column)

    def values_of(self, name: str) -> dict[str, float]:
        return {m: float(curve.mean()) for (of, m), curve in self._curves().items() if of == name}

    def usage(self) -> dict[str, float]:
        shares = {f"code_{name}": float(value) for name, value in self.all.compute().items()}
        return {"distinct_codes": float(self._distinct().mean())} | shares

    def curves(self) -> dict[str, Float[Tensor, " k"]]:
        suffix = {"decoded": "", "copied": "_first_frame"}
        found = {metric + suffix[of]: curve for (of, metric), curve in self._curves().items()}
        return found | {"distinct_codes": self._distinct()}

    def _curves(self) -> dict[tuple[str, str], Float[Tensor, " k"]]:
        return {key: torch.stack([mean.compute() for mean in means]) for key, means in self.means.items()}

    def _distinct(self) -> Float[Tensor, " n"]:
        return torch.stack([usage.compute()["usage"] for usage in self.usages]) * self.size


def coloured_by(
    names: tuple[str, ...], actions: Float[Tensor, "n k a"] | None, change: Float[Tensor, "n k"]
) -> dict[str, Float[Tensor, "n k"]]:
    """What a point's colour says, by name: a number for each frame ahead."""
    if actions is None:
        return {"change": change}
    if actions.shape[2] == 1 and torch.equal(actions, actions.round()):
        return {names[0] if names else "action": actions[:, :, 0]}
    moved = actions.cumsum(dim=1)
    names = names or tuple(f"action_{i}" for i in range(moved.shape[2]))
    return {name: moved[:, :, i] for i, name in enumerate(names[:COLUMNS])}


def table(ids: list[str], codes: Int[Tensor, "n m"], places: tuple[Float[Tensor, "n 2"], ...]) -> str:
    """A line a clip: its id, its codes, and where they lie on their maps."""
    numbers = range(1, codes.shape[1] + 1)
    head = ["id", *(f"code_{h}" for h in numbers), *(f"{axis}_{h}" for h in numbers for axis in "xy")]
    lines = [",".join(head)]
    for i, name in enumerate(ids):
        coordinates = [f"{value:.4g}" for column in places for value in column[i].tolist()]
        lines.append(",".join([f'"{name}"', *map(str, codes[i].tolist()), *coordinates]))
    return "\n".join(lines) + "\n"
