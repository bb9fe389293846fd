"""A model trained on clips of several shapes: how the commands read them again."""

from pathlib import Path

import pytest
import torch

from checkpoints.own import export
from launch import evaluate, sample
from launch.predictors import TrainingMean
from tests.media import write_video
from tests.recipes.conftest import built
from tests.recipes.test_framepack import SMALL

SIZES = ["clip.height=48", "clip.width=48", "data.step=8", "data.max_aspect=1.5"]
SHAPES = {"long": (40, 64, 64), "tall": (30, 96, 48)}


@pytest.fixture(scope="module")
def videos(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("videos")
    for split in ("train", "val", "test"):
        for name, (frames, height, width) in SHAPES.items():
            write_video(folder / split / f"{name}.mp4", frames, height=height, width=width)
    return folder


@pytest.fixture(scope="module", params=[[], ["data.num_frames=[13,25]"]])
def trained(request, videos, tmp_path_factory) -> Path:
    """With the preset as it is, and with two lengths."""
    data = ["data=bucketed_videos", f"data.root={videos}", *SIZES, *request.param]
    model, _ = built("framepack", *SMALL, *data)
    return export(model, dict(model.hparams), tmp_path_factory.mktemp("buckets") / "model")


@pytest.mark.parametrize("options", [["clip=1"], ["clip=0", "horizon=40"]])
def test_samples_go_on_from_a_clip_of_any_shape(trained, tmp_path, options):
    """Also where no clip is as long as asked."""
    assert sample.main([f"ckpt={trained}", "samples=1", f"out={tmp_path}", *options]) == 0
    assert len(list(tmp_path.iterdir())) == 3


def test_an_evaluation_takes_clips_of_one_length(trained, tmp_path):
    tokens = [f"ckpt={trained}", "suite=video", "clips=2", "suite.samples=1"]
    assert evaluate.main([*tokens, f"out={tmp_path}"]) == 0


def test_the_training_mean_of_clips_of_two_sizes():
    clips = [{"video": torch.full((2, 3, *size), value)} for size, value in (((4, 6), 0.2), ((6, 4), 0.6))]
    mean = TrainingMean(clips)
    torch.testing.assert_close(mean(torch.zeros(2, 1, 3, 8, 8), 5), torch.full((2, 5, 3, 8, 8), 0.4))
