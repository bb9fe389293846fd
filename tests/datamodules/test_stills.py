"""Image folders and arrays as videos."""

from pathlib import Path

import numpy as np
import pytest
import torch

from components.clip import ClipSpec
from datamodules.video_index import open_video
from datamodules.videos import Videos
from tests.media import read_numbers, write_images, write_npz, write_three, write_video


def source(root: Path, num_frames: int = 4, **options) -> Videos:
    return Videos(root=str(root), num_frames=num_frames, height=24, width=32, **options)


def test_numbered_images_are_a_video_in_the_order_of_their_numbers(tmp_path):
    write_images(tmp_path / "walk", 12)
    (tmp_path / "walk.txt").write_text("a walk")
    write_video(tmp_path / "b.mp4", 12)
    write_video(tmp_path / "c.mp4", 12)
    (found,) = [
        s for part in source(tmp_path, fps=5)._library.splits.values() for s in part if s.name == "walk"
    ]
    assert (found.info.fps, found.fps, found.end, found.text) == (10.0, 5, 6, "a walk")
    video = open_video(found.info).read([0.0, 0.2, 1.1], 24, 32)["video"]
    assert read_numbers(video) == [0, 2, 11]


@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize("channels_first", [False, True])
def test_arrays_come_with_their_actions_and_states(tmp_path, channels_first, compressed):
    actions = np.arange(39 * 2, dtype=np.float64).reshape(39, 2)
    state = np.arange(40 * 3).reshape(40, 3)
    for name in "abc":
        write_npz(
            tmp_path / f"{name}.npz", fps=20, channels_first=channels_first, compressed=compressed,
            actions=actions, state=state,
        )  # fmt: skip
    videos = source(tmp_path, fps=10)
    assert videos.spec() == ClipSpec(4, 24, 32, action_dim=4, state_dim=3)
    clip = videos.split("train")[1]
    assert read_numbers(clip["video"]) == [2, 4, 6, 8]
    assert clip["actions"].dtype == clip["state"].dtype == torch.float32
    assert clip["actions"].tolist() == [[4, 5, 6, 7], [8, 9, 10, 11], [12, 13, 14, 15]]  # two a step
    assert clip["state"].tolist() == state[[2, 4, 6, 8]].tolist()


def test_arrays_whose_actions_cannot_follow_are_skipped(tmp_path):
    write_three(tmp_path)
    write_npz(tmp_path / "moved.npz", fps=20, actions=np.zeros((39, 2)))
    assert source(tmp_path, fps=7).skipped == {
        "moved.npz": "has actions at 20 fps, which fps=7 does not divide"
    }


def test_actions_are_left_out_where_videos_disagree(tmp_path, caplog):
    write_three(tmp_path)
    write_npz(tmp_path / "train.npz", fps=10, actions=np.zeros((39, 2)))
    videos = source(tmp_path)
    assert videos.spec().action_dim == 0
    assert "do not agree in the size of actions" in caplog.text
    for split in ("train", "val", "test"):
        assert all("actions" not in clip for clip in videos.split(split))


@pytest.mark.parametrize(
    ("arrays", "words"),
    [
        ({"frames": np.zeros((9, 8, 8, 3), np.uint8)}, "no array `video`, only frames"),
        ({"video": np.zeros((9, 8, 8, 3), np.float32)}, "float32, not"),
        ({"video": np.zeros((9, 8, 8), np.uint8)}, "not (t, h, w, 3)"),
        (
            {"video": np.zeros((9, 8, 8, 3), np.uint8), "actions": np.zeros((3, 2))},
            "`actions` is (3, 2) beside",
        ),
        ({"video": np.zeros((9, 8, 8, 3), np.uint8), "fps": np.float64(0)}, "fps is 0.0"),
        ({"video": np.array([{}])}, "object"),
    ],
)
def test_other_arrays_are_skipped_with_a_reason(tmp_path, arrays, words):
    write_three(tmp_path)
    np.savez(tmp_path / "x.npz", **arrays)
    (tmp_path / "y.npz").write_bytes((tmp_path / "x.npz").read_bytes()[:-30])
    skipped = source(tmp_path).skipped
    assert words in skipped["x.npz"]
    assert "not an .npz of arrays" in skipped["y.npz"]
