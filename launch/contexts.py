"""What a sample starts from: a clip of the run's data, a video or an image by its path."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from launch.problems import CommandError, Problem

if TYPE_CHECKING:
    from launch.sample import SampleOptions


def clip_of(model: Any, options: "SampleOptions") -> Any:
    """The clip that the options name."""
    from datamodules import SourceError

    try:
        return take_clip(options, model.hparams)
    except SourceError as error:
        raise CommandError([Problem("data", str(error))]) from error


def take_clip(options: "SampleOptions", config: Any) -> Any:
    """One clip as a batch of one: of the run's own data, or of a video by its path."""
    from checkpoints.build import build
    from datamodules import SourceError
    from datamodules.batches import collate
    from datamodules.videos import first_clip

    frames = config["clip"]["context_frames"] + (options.horizon or 0)
    node = config["data"] | {"num_frames": max(frames, config["clip"]["num_frames"])}
    if options.video is not None:
        shape = {key: config["clip"][key] for key in ("height", "width", "fps")}
        context = config["clip"]["context_frames"]
        return collate([first_clip(str(options.video), num_frames=context, **shape)])
    if options.split not in ("train", "val", "test"):
        raise CommandError([Problem("split", f"expected one of train, val, test, got {options.split!r}")])
    try:
        dataset = build(node).split(options.split)
    except SourceError:  # no clip is that long: then there is no truth to show beside the samples
        dataset = build(config["data"]).split(options.split)
    if not 0 <= options.clip < len(dataset):
        raise CommandError(
            [Problem("clip", f"the split has clips 0 to {len(dataset) - 1}, got {options.clip}")]
        )
    return collate([dataset[options.clip]])


def image(path: Path, model: Any) -> Any:
    """A picture as the model's clips are, (1, 3, h, w).

    Raises:
        CommandError: it cannot be read, or the model was not trained to arrive anywhere.
    """
    from datamodules import SourceError
    from datamodules.videos import first_clip

    shape = {key: model.hparams["clip"][key] for key in ("height", "width", "fps")}
    try:
        next(model.order.steps(1, ending=True))
        return first_clip(str(path), num_frames=1, **shape)["video"]
    except (ValueError, SourceError) as error:
        raise CommandError([Problem("end_image", str(error))]) from error
