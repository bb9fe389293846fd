"""Video, states, actions and tasks of LeRobotDataset folders stay together: the dot shows whether they do."""

import json
import pickle
import runpy
import shutil
import sys

import datasets
import huggingface_hub
import numpy as np
import pytest
import torch

import tests.lerobot_folder
from datamodules import SourceError
from datamodules.lerobot import LeRobot
from tests.lerobot_folder import TASKS, write_lerobot_folder

LENGTHS = [24, 20, 31, 24, 26, 18, 24]
KINDS = {"v3.0": ("v3.0", False), "v2.1": ("v2.1", False), "images": ("v3.0", True)}


@pytest.fixture(scope="module", autouse=True)
def _cache(tmp_path_factory):
    """Tables that `datasets` prepares go where the test's other files are."""
    before = datasets.config.HF_DATASETS_CACHE
    datasets.config.HF_DATASETS_CACHE = tmp_path_factory.mktemp("cache")
    yield
    datasets.config.HF_DATASETS_CACHE = before


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    base = tmp_path_factory.mktemp("dots")
    for name, (version, images) in KINDS.items():
        write_lerobot_folder(base / name, version, frames=LENGTHS, images=images)
    return base


def source(folder, *, num_frames=8, size=64, **changes) -> LeRobot:
    return LeRobot(root=str(folder), num_frames=num_frames, height=size, width=size, **changes)


def dots(video) -> np.ndarray:
    """Where the dot is in each frame, (t, 2) as x, y."""
    light = np.clip(video.numpy().max(axis=1).astype(float) - 60, 0, None)
    y, x = np.mgrid[: light.shape[1], : light.shape[2]]
    total = light.sum(axis=(1, 2))
    return np.stack([(light * x).sum(axis=(1, 2)) / total, (light * y).sum(axis=(1, 2)) / total], axis=1)


def place(clip) -> tuple[int, int]:
    """Episode and first frame, out of the id."""
    episode, start = clip["id"].rpartition("/episode_")[2].split("@")
    return int(episode), int(start)


@pytest.mark.parametrize("kind", KINDS)
def test_frames_states_actions_and_tasks_belong_together(folders, kind):
    seen = set()
    for split in ("train", "val", "test"):
        clips = source(folders / kind).split(split)
        for clip in (clips[i] for i in range(0, len(clips), 3)):
            episode, start = place(clip)
            seen.add(episode)
            assert start + 8 <= LENGTHS[episode]
            assert clip["video"].shape == (8, 3, 64, 64)
            assert clip["video"].dtype == torch.uint8
            assert np.abs(dots(clip["video"]) - clip["state"].numpy()).max() < 1
            torch.testing.assert_close(clip["state"][:-1] + clip["actions"], clip["state"][1:])
            assert clip["text"] == TASKS[episode % 2]
            assert clip["fps"] == 10
            assert clip["id"].startswith(f"{kind}/")
    assert seen == set(range(len(LENGTHS)))


def test_episodes_share_a_file_and_windows_end_with_their_episode(folders):
    assert len(list((folders / "v3.0/videos/observation.images.top").rglob("*.mp4"))) == 4
    clips = source(folders / "v3.0").split("train")
    places = [place(clips[i]) for i in range(len(clips))]
    episodes = {episode for episode, _ in places}
    assert places == [(e, s) for e in sorted(episodes) for s in range(LENGTHS[e] - 8 + 1)]


def test_versions_hold_the_same_clips(folders):
    new, old = source(folders / "v3.0").split("train"), source(folders / "v2.1").split("train")
    assert len(new) == len(old)
    for i in (0, len(new) // 2, len(new) - 1):
        torch.testing.assert_close(new[i]["state"], old[i]["state"])
        assert np.abs(dots(new[i]["video"]) - dots(old[i]["video"])).max() < 0.2


def test_a_clip_depends_on_its_index_alone(folders):
    clips = source(folders / "v3.0").split("train")
    again = pickle.loads(pickle.dumps(clips))
    later = again[40]["video"]
    assert again[3]["id"] == clips[3]["id"]
    assert torch.equal(later, clips[40]["video"])


@pytest.mark.parametrize("camera", ["side", "observation.images.side"])
def test_the_other_camera_sees_the_mirror_image(folders, camera):
    clip = source(folders / "v3.0", camera=camera).split("test")[1]
    x, y = clip["state"].numpy().T
    assert np.abs(dots(clip["video"]) - np.stack([63 - x, y], axis=1)).max() < 1
    assert clip["video"][:, 0].max() < 100  # it is green


def test_both_cameras_see_the_same_moments(folders):
    both = source(folders / "v3.0", camera="top", second_camera="side")
    assert both.spec().zeros(2)["second_video"].shape == (2, 8, 3, 64, 64)
    clips = both.split("train")
    for clip in (clips[0], clips[len(clips) - 1]):
        mine, mirrored = dots(clip["video"]), dots(clip["second_video"])
        assert np.abs(mirrored - [63, 0] - mine * [-1, 1]).max() < 1


@pytest.mark.parametrize("kind", KINDS)
def test_a_window_beyond_the_end_repeats_the_last_frame(folders, kind):
    whole = source(folders / kind, num_frames=2).split("train")
    clips = source(folders / kind, num_frames=8, repeat_last=True).split("train")
    assert len(clips) == len(whole)
    for i in range(0, len(clips), 5):
        clip, (episode, start) = clips[i], place(clips[i])
        left = LENGTHS[episode] - start
        assert place(whole[i]) == (episode, start)
        assert torch.equal(clip["video"][:2], whole[i]["video"])
        for k in range(left, 8):
            assert torch.equal(clip["video"][k], clip["video"][left - 1])
        assert torch.equal(clip["state"][left:], clip["state"][left - 1 : left].expand(max(8 - left, 0), -1))
        assert not clip["actions"][left - 1 :].any()


def test_frames_are_resized(folders):
    clip = source(folders / "v3.0", size=32).split("val")[0]
    assert np.abs(dots(clip["video"]) - (clip["state"].numpy() - 0.5) / 2).max() < 1


def test_splits_are_disjoint_and_do_not_depend_on_the_clip(folders):
    def episodes(**changes):
        clips = {name: source(folders / "v3.0", **changes).split(name) for name in ("train", "val", "test")}
        return {name: {place(c[i])[0] for i in range(len(c))} for name, c in clips.items()}

    split = episodes()
    assert sorted(e for part in split.values() for e in part) == list(range(len(LENGTHS)))
    assert split == episodes(num_frames=3, fps=5)


def test_splits_of_the_folder_are_kept(tmp_path):
    write_lerobot_folder(tmp_path, frames=[8] * 6, splits={"train": "0:4", "validation": "4:6"})
    parts = {}
    for name in ("train", "val", "test"):
        clips = source(tmp_path).split(name)
        parts[name] = {place(clips[i])[0] for i in range(len(clips))}
    assert parts["val"] == {4, 5}
    assert len(parts["test"]) == 1
    assert parts["train"] | parts["test"] == {0, 1, 2, 3}
    assert not parts["train"] & parts["test"]


def test_held_out_windows_do_not_overlap(folders):
    clips = source(folders / "v3.0").split("val")
    places = [place(clips[i]) for i in range(len(clips))]
    assert places == [(e, s) for e in sorted({e for e, _ in places}) for s in range(0, LENGTHS[e] - 7, 8)]


def test_stride_thins_out_the_training_windows(folders):
    clips = source(folders / "v3.0", stride=5).split("train")
    assert {place(clips[i])[1] % 5 for i in range(len(clips))} == {0}


def test_skipped_frames_leave_macro_actions(folders):
    half = source(folders / "v3.0", fps=5)
    spec = half.spec()
    assert spec.action_dim == 4
    assert spec.action_names == ("dx@0", "dy@0", "dx@1", "dy@1")
    assert spec.state_names == ("x", "y")
    clips, whole = half.split("train"), source(folders / "v3.0", num_frames=15).split("train")
    clip, every = clips[2], whole[2]
    assert place(clip) == place(every)
    torch.testing.assert_close(clip["actions"], every["actions"].reshape(7, 4))
    torch.testing.assert_close(clip["state"], every["state"][::2])
    assert torch.equal(clip["video"], every["video"][::2])
    assert clip["fps"] == 5
    moved = clip["actions"].reshape(7, 2, 2).sum(dim=1)
    torch.testing.assert_close(clip["state"][:-1] + moved, clip["state"][1:])


def test_without_actions_any_lower_rate_takes_the_nearest_frames(folders):
    clip = source(folders / "v3.0", fps=4, action_key=None).split("train")[3]
    every = source(folders / "v3.0", num_frames=19).split("train")[3]
    nearest = [0, 3, 5, 8, 10, 13, 15, 18]
    assert "actions" not in clip
    assert torch.equal(clip["video"], every["video"][nearest])
    torch.testing.assert_close(clip["state"], every["state"][nearest])


def test_actions_and_states_can_be_left_out(folders):
    bare = source(folders / "v3.0", action_key=None, state_key=None)
    assert (bare.spec().action_dim, bare.spec().state_dim) == (0, 0)
    assert set(bare.split("val")[0]) == {"video", "fps", "text", "id"}


def test_short_episodes_are_left_out_and_counted(folders, caplog):
    clips = source(folders / "v3.0", num_frames=24).split("train")
    assert min(LENGTHS[e.index] for e in clips.episodes) == 24
    assert "have fewer than 24 frames" in caplog.text
    with pytest.raises(SourceError, match="have fewer than 99 frames"):
        source(folders / "v3.0", num_frames=99).split("train")


def test_a_damaged_video_is_replaced_by_windows_of_others(folders, tmp_path, caplog):
    shutil.copytree(folders / "v2.1", tmp_path / "dots")
    whole = source(tmp_path / "dots").split("train")
    broken = whole.episodes[-1]
    data = broken.video.read_bytes()
    broken.video.write_bytes(data[: len(data) // 2])
    clips = source(tmp_path / "dots").split("train")
    replaced = clips[len(clips) - 1]
    assert place(replaced)[0] != broken.index
    assert replaced["id"] == clips[len(clips) - 1]["id"]
    assert caplog.text.count("take the place") == 1
    broken.video.unlink()
    fewer = source(tmp_path / "dots").split("train")
    assert broken.index not in {e.index for e in fewer.episodes}
    assert "1 no observation.images.top" in caplog.text


def edit_info(folder, **changes) -> None:
    path = folder / "meta/info.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def test_mistakes_are_named_in_one_line(folders, tmp_path):
    def complaint(folder=folders / "v3.0", **changes) -> str:
        with pytest.raises(SourceError) as caught:
            source(folder, **changes).split("train")
        assert "\n" not in str(caught.value)
        return str(caught.value)

    assert "meta/info.json; is this a LeRobotDataset folder?" in complaint(folders)
    assert "no such folder" in complaint(tmp_path / "nowhere")
    assert "observation.images.top, observation.images.side" in complaint(camera="wrist")
    assert "there are: observation.state, action" in complaint(state_key="state")
    assert "take 10, 5, 3.33333" in complaint(fps=4)
    assert "does not divide" in complaint(fps=20, action_key=None)
    assert "at least 1" in complaint(num_frames=0)

    copy = tmp_path / "copy"
    shutil.copytree(folders / "v3.0", copy)
    edit_info(copy, codebase_version="v1.6")
    assert "codebase_version v1.6" in complaint(copy)
    edit_info(copy, codebase_version="v3.0", splits={"train": "all"})
    assert "splits.train='all'" in complaint(copy)
    table = next((copy / "data").rglob("*.parquet"))
    table.write_bytes(b"not a table")
    assert "tables under data/ do not open" in complaint(copy)
    shutil.rmtree(copy / "data")
    assert "no parquet file" in complaint(copy)

    write_lerobot_folder(tmp_path / "two", frames=[10, 10])
    assert "2 episodes; train, val and test need one each" in complaint(tmp_path / "two")


def test_of_a_hub_data_set_only_one_camera_is_fetched(folders, monkeypatch):
    asked = []

    def snapshot(repo, *, repo_type, allow_patterns):
        asked.append((repo, repo_type, allow_patterns))
        return str(folders / "v3.0")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot)
    clips = source("somebody/dots", camera="side").split("val")
    assert clips[0]["id"].startswith("dots/episode_")
    assert asked[0] == ("somebody/dots", "dataset", ["meta/**"])
    assert not any("images.top" in pattern for _, _, patterns in asked for pattern in patterns)


def test_offline_is_said_in_one_line(monkeypatch):
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(
        SourceError, match=r"somebody/dots: no such folder, and not to be had from the hub .*\)"
    ):
        source("somebody/dots").spec()


def test_the_script_writes_a_folder(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(
        sys, "argv", ["lerobot_folder.py", str(tmp_path / "dots"), "--episodes=3", "--frames=9"]
    )
    runpy.run_path(tests.lerobot_folder.__file__, run_name="__main__")
    assert "3 episodes of 9 frames" in capsys.readouterr().out
    assert len(source(tmp_path / "dots").split("train")) == 2
