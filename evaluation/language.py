"""Language about video: does a text make its clip, is a clip described, is a question about it answered."""

from collections import Counter
from typing import Any

import torch
from torchmetrics import MeanMetric

from checkpoints.build import build
from components.randomness import mix
from datamodules.batches import collate
from recipes.world_model import pixels


class LanguageSuite:
    """Judge a model of video and text on captioned clips whose captions can be read back from pixels.

    imagine_*: share of clips made from a caption in which the source's `describe` reads that attribute.
    describe_*: share of captions written for true clips that hold the attribute's word in its place.
    *_all: all attributes at once; describe_all is the caption, letter by letter.
    answer: share of questions about true clips answered letter by letter.
    The model has `imagine`, `describe` and `answer`; the data source `describe` and `attributes`.
    """

    def __init__(self, *, clips: int = 128, batch_size: int = 32) -> None:
        if min(clips, batch_size) < 1:
            raise ValueError(f"clips is {clips} and batch_size {batch_size}; give at least 1")
        self.clips, self.batch_size = clips, batch_size

    metrics = (
        "answer",
        "describe_all",
        "imagine_all",
    )

    @torch.no_grad()
    def __call__(self, model: Any) -> dict[str, float]:
        config = model.hparams
        source = build(config["data"])
        _check(model, source)
        dataset, means = source.split("test"), {}
        for start in range(0, self.clips, self.batch_size):
            clip = collate([dataset[i] for i in range(start, min(start + self.batch_size, self.clips))])
            generator = torch.Generator(model.device).manual_seed(mix(config["seed"], start))
            truth = pixels(clip["video"].to(model.device))
            made = model.imagine(
                clip["text"], truth.shape[1], size=tuple(truth.shape[-2:]), generator=generator
            )
            found = {
                "imagine": source.describe(made.cpu()),
                "describe": model.describe(truth, generator=generator),
            }
            answers = model.answer(truth, clip["question"], generator=generator)
            right: dict[str, list[bool]] = {
                "answer": [a == b for a, b in zip(answers, clip["answer"], strict=True)]
            }
            for task, texts in found.items():
                pairs = list(zip(texts, clip["text"], strict=True))
                for name, place in source.attributes.items():
                    right[f"{task}_{name}"] = [word(a, place) == word(b, place) for a, b in pairs]
                right[f"{task}_all"] = [a == b for a, b in pairs]
            for name, values in right.items():
                means.setdefault(name, MeanMetric()).update(torch.tensor(values, dtype=torch.float32))
        return {name: float(mean.compute()) for name, mean in sorted(means.items())}

    def chance(self, config: dict[str, Any]) -> dict[str, float]:
        """What always giving the commonest caption or answer of these clips would score."""
        source = build(config["data"])
        dataset = source.split("test")
        clips = [dataset[i] for i in range(self.clips)]
        shares = {"answer": _commonest([clip["answer"] for clip in clips])}
        for task in ("imagine", "describe"):
            for name, place in source.attributes.items():
                shares[f"{task}_{name}"] = _commonest([word(clip["text"], place) for clip in clips])
            shares[f"{task}_all"] = _commonest([clip["text"] for clip in clips])
        return dict(sorted(shares.items()))


def word(text: str, place: int) -> str | None:
    """A word by its place, from behind where that is negative; None where the text is too short."""
    words = text.split()
    return words[place] if -len(words) <= place < len(words) else None


def _commonest(values: list[Any]) -> float:
    return Counter(values).most_common(1)[0][1] / len(values)


def _check(model: Any, source: Any) -> None:
    for method in ("imagine", "describe", "answer"):
        if not hasattr(model, method):
            raise ValueError(f"suite=language asks for text; {type(model).__name__} has no `{method}`")
    if not hasattr(source, "attributes"):
        raise ValueError(
            f"{type(source).__name__} cannot read captions back from pixels; use data=moving_shapes"
        )
