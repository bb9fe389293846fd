"""The sample script: a trained model goes on from a context, several times."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from launch.contexts import clip_of, image
from launch.loading import load_changed, of_the_model
from launch.options import run_command
from launch.problems import CommandError, Problem


@dataclass
class SampleOptions:
    """What to sample."""

    ckpt: Path = field(metadata={"help": "a run folder, a checkpoint or an exported folder"})
    out: Path = field(default=Path("samples"), metadata={"help": "folder to write to"})
    split: str = field(
        default="test", metadata={"help": "contexts from train, val or test of the run's data"}
    )
    clip: int = field(default=0, metadata={"help": "which clip of the split"})
    video: Path | None = field(default=None, metadata={"help": "take the context from this video instead"})
    samples: int = field(default=4, metadata={"help": "futures of the one context"})
    horizon: int | None = field(default=None, metadata={"help": "frames to predict; null = as in training"})
    num_seconds: float | None = field(
        default=None,
        metadata={"help": "instead of horizon: so long a video, written to the file while it is made"},
    )
    text: str | None = field(
        default=None,
        metadata={"help": "make videos of this text; for framepack a caption of what follows the context"},
    )
    section_texts: list[str] | None = field(
        default=None,
        metadata={"help": "framepack: a caption for each section; the last one for all that follow"},
    )
    end_image: Path | None = field(
        default=None, metadata={"help": "framepack in inverted or endpoint order: an image to arrive at"}
    )
    question: str | None = field(
        default=None, metadata={"help": "answer this about the clip instead; question=caption describes it"}
    )
    seed: int = field(default=0, metadata={"help": "of the samples"})
    fps: float | None = field(
        default=None, metadata={"help": "speed of the written video; null = the clip's"}
    )


def main(tokens: list[str]) -> int:
    """Run the command; returns the exit code. Tokens model.KEY=VALUE change the model that was trained."""
    own, others = of_the_model(tokens)
    return run_command(SampleOptions, "sample.py", others, lambda options: write_samples(options, own))


def write_samples(options: SampleOptions, changes: list[str]) -> None:
    """Sample, and say where the files are."""
    if options.question is not None:
        print(answer(options, changes))
        return
    print("\n".join(f"wrote {file}" for file in sample(options, changes)))
    print(f"longer:    python sample.py ckpt={options.ckpt} num_seconds=20")


def sample(options: SampleOptions, changes: list[str]) -> list[Path]:
    """Sample futures and write them as mp4, gif and film strip; returns the files.

    Raises:
        CommandError: the checkpoint, the video or the clip cannot be had.
    """
    import torch

    from recipes.world_model import pixels

    model = load(options, changes)
    if options.num_seconds is not None and (options.horizon is not None or options.num_seconds <= 0):
        told = f"{options.num_seconds:g}; give seconds above 0, and no horizon beside them"
        raise CommandError([Problem("num_seconds", told)])
    if options.text is not None and hasattr(model, "describe"):  # it knows language
        return imagine(model, options)
    if options.text is not None and getattr(model, "text_encoder", None) is None:
        told = f"{type(model).__name__} reads no text; recipe=lwm and recipe=framepack do"
        raise CommandError([Problem("text", told)])
    for key in ("section_texts", "end_image"):
        if getattr(options, key) is not None and not hasattr(model, "order"):
            told = f"{type(model).__name__} makes no video in sections; recipe=framepack does"
            raise CommandError([Problem(key, told)])
    clip = clip_of(model, options)
    known = model.context_frames
    if clip["video"].shape[1] < known:
        raise CommandError(
            [Problem("video", f"has {clip['video'].shape[1]} frames, the model starts from {known}")]
        )
    context, truth = model.split(clip)
    if options.text is not None:
        context["text"] = [options.text]
    if options.section_texts:
        context["section_texts"] = [options.section_texts]
    if options.end_image is not None:
        context["end_image"] = image(options.end_image, model)
    fps = options.fps or float(clip["fps"][0])
    horizon = options.horizon or model.hparams["clip"]["num_frames"] - known
    if options.num_seconds is not None:
        horizon = max(round(options.num_seconds * fps) - known, 1)
    action_dim = model.hparams["clip"]["action_dim"]
    if action_dim and "actions" not in context:
        print("note: the video has no actions; the model is given zeros")
        context["actions"] = torch.zeros(1, known + horizon - 1, action_dim)
    if action_dim and horizon > (most := context["actions"].shape[1] + 1 - known):
        told = f"the clip has actions for {most} frames, asked for {horizon}"
        raise CommandError([Problem("horizon", told)])
    many: Any = {key: _repeat(value, options.samples) for key, value in context.items()}
    generator = torch.Generator().manual_seed(options.seed)
    told = options.text or " then ".join(options.section_texts or [])
    name = "_".join(filter(None, (Path(clip["id"][0]).stem.replace("/", "_"), _words(told))))
    if options.num_seconds is not None:
        return [stream(model, many, horizon, fps, options.out / f"{name}_seed{options.seed}.mp4", generator)]
    futures = model.predict(many, horizon, generator=generator)
    first = pixels(context["video"])
    true = len(truth[0]) >= horizon and not told and options.end_image is None
    videos = {"truth": torch.cat([first[0], truth[0, :horizon]])} if true else {}
    videos |= {f"sample {i + 1}": torch.cat([first[0], future]) for i, future in enumerate(futures)}
    return write(options.out / f"{name}_seed{options.seed}", videos, fps, known)


def stream(model: Any, context: Any, horizon: int, fps: float, file: Path, generator: Any) -> Path:
    """Futures side by side, each piece written when it is made; none of it is held."""
    import torch

    from components.media import Mp4Writer, side_by_side
    from recipes.world_model import pixels

    def shown(videos: Any, known: int) -> Any:
        frames = videos.mul(255).round().clamp(0, 255).to(torch.uint8)
        return side_by_side(
            [(f"sample {i + 1}", video) for i, video in enumerate(frames)], context_frames=known
        )

    known = context["video"].shape[1]
    file.parent.mkdir(parents=True, exist_ok=True)
    made = 0
    with Mp4Writer(file, fps) as video:
        video.write(shown(pixels(context["video"]), known))
        for piece in model.rollout(context, horizon, generator=generator):
            video.write(shown(piece, 0))
            made += piece.shape[1]
            print(f"\r{(known + made) / fps:.1f} of {(known + horizon) / fps:.1f} s", end="", flush=True)
    print()
    return file


def imagine(model: Any, options: SampleOptions) -> list[Path]:
    """Videos of nothing but a text, from a model of video and language; returns the files."""
    import torch

    clip = model.hparams["clip"]
    generator = torch.Generator().manual_seed(options.seed)
    frames = options.horizon or clip["num_frames"]
    if options.num_seconds is not None:
        frames = max(round(options.num_seconds * (options.fps or 4.0)), 1)
    made = model.imagine(
        [options.text] * options.samples, frames, size=(clip["height"], clip["width"]), generator=generator
    )
    videos = {f"sample {i + 1}": video for i, video in enumerate(made)}
    name = f"{_words(options.text)}_seed{options.seed}"
    return write(options.out / name, videos, options.fps or 4.0, 0)


def answer(options: SampleOptions, changes: list[str]) -> str:
    """What a model of video and language says about a clip."""
    import torch

    from recipes.world_model import pixels

    model = load(options, changes)
    if not hasattr(model, "answer"):
        told = f"{type(model).__name__} knows no language; recipe=lwm does"
        raise CommandError([Problem("question", told)])
    clip = clip_of(model, options)
    video, generator = pixels(clip["video"]), torch.Generator().manual_seed(options.seed)
    if options.question == "caption":
        return model.describe(video, generator=generator)[0]
    return model.answer(video, [options.question], generator=generator)[0]


def load(options: SampleOptions, changes: list[str]) -> Any:
    from recipes.world_model import WorldModel

    model = load_changed(WorldModel, options.ckpt, changes)
    if model.hparams["clip"]["num_frames"] == 0:
        told = f"{options.ckpt} has learned texts alone and makes no video"
        raise CommandError([Problem("ckpt", f"{told}; evaluate.py suite=needle asks it")])
    return model


def write(name: Path, videos: dict[str, Any], fps: float, known: int) -> list[Path]:
    """Videos in [0, 1] side by side: as mp4, gif and film strip; returns the files."""
    import torch

    from components.media import film_strip, side_by_side, write_gif, write_mp4, write_png

    rows = [(label, video.mul(255).round().clamp(0, 255).to(torch.uint8)) for label, video in videos.items()]
    truths = int("truth" in videos)
    name.parent.mkdir(parents=True, exist_ok=True)
    animation = side_by_side(rows, context_frames=known, truths=truths)
    files = [name.with_name(name.name + suffix) for suffix in (".mp4", ".gif", ".png")]
    write_mp4(files[0], animation, fps)
    write_gif(files[1], animation, fps)
    write_png(files[2], film_strip(rows, context_frames=known, truths=truths))
    return files


def _words(text: str | None) -> str:
    """A text as a part of a file's name."""
    return "_".join("".join(c if c.isalnum() else " " for c in text or "").split())[:60]


def _repeat(value: Any, times: int) -> Any:
    import torch

    if isinstance(value, torch.Tensor):
        return value.expand(times, *value.shape[1:])
    if isinstance(value, dict):
        return {key: _repeat(part, times) for key, part in value.items()}
    return value * times
