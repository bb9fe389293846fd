"""Folders in CALVIN's layout: pictures, actions and states tell the number of their frame."""

import json
import shutil

import numpy as np
import pytest
import torch

from components.frame_codes import views
from datamodules import ClipSource, SourceError
from datamodules.calvin import Calvin
from tests.calvin_folder import frame, write_folder
from tests.datamodules.test_plain_pickles import Command, save

TRAINING = [(100, 119), (120, 133), (150, 152)]
TOLD = [(100, 109, "push it left"), (104, 115, "lift it"), (125, 133, "turn it on"), (118, 124, "too far")]
VALIDATION = [(10, 21), (30, 41), (42, 53)]
TOLD_THERE = [(10, 21, "open it"), (31, 40, "close it"), (42, 53, "push it right")]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    root = tmp_path_factory.mktemp("calvin") / "task_D_D"
    write_folder(root / "training", TRAINING, TOLD)
    write_folder(root / "validation", VALIDATION, TOLD_THERE)
    return root


@pytest.fixture
def copy(folder, tmp_path):
    return shutil.copytree(folder, tmp_path / "copy")


def source(folder, **changes) -> Calvin:
    return Calvin(**{"root": str(folder), "num_frames": 4, "height": 200, "width": 200} | changes)


def first_of(clip) -> int:
    return int(clip["id"].rpartition("episode_")[2])


def firsts(folder, split, **changes) -> list[int]:
    clips = source(folder, **changes).split(split)
    return [first_of(clips[i]) for i in range(len(clips))]


def test_frames_actions_and_states_are_those_of_the_files(folder):
    made = source(folder, state_key="all", second_camera="gripper")
    assert isinstance(made, ClipSource)
    spec = made.spec()
    assert (spec.action_dim, spec.state_dim) == (7, 39)
    assert spec.action_names == ("x", "y", "z", "roll", "pitch", "yaw", "gripper")
    assert (spec.state_names[0], spec.state_names[6], spec.state_names[15]) == (
        "tcp_x",
        "gripper_width",
        "sliding_door",
    )
    for split in ("train", "val", "test"):
        clips = made.split(split)
        for clip in (clips[i] for i in range(len(clips))):
            truth = [frame(first_of(clip) + i) for i in range(4)]
            pictures = np.stack([t["rgb_static"] for t in truth]).transpose(0, 3, 1, 2)
            assert np.array_equal(clip["video"].numpy(), pictures)
            assert clip["video"].dtype == torch.uint8
            numbers = [t["rgb_gripper"][0, 0, 0] for t in truth]
            assert clip["second_video"].shape == (4, 3, 200, 200)
            assert clip["second_video"][:, 0, 0, 0].tolist() == numbers
            assert len(views(clip)) == 2
            assert np.allclose(clip["actions"], [t["rel_actions"] for t in truth[:-1]], rtol=1e-6)
            states = [np.concatenate([t["robot_obs"], t["scene_obs"]]) for t in truth]
            assert np.allclose(clip["state"], states, rtol=1e-6)
            assert clip["fps"] == 30


def test_segments_bring_their_words_and_all_frames_come_without(folder):
    clips = source(folder).split("train")
    found = {(first_of(clips[i]), clips[i]["text"]) for i in range(len(clips))}
    expected = {(n, text) for a, b, text in TOLD[:3] for n in range(a, b - 3 + 1)}
    assert found == expected
    assert len({clips[i]["id"] for i in range(len(clips))}) == len(clips)
    whole = source(folder, language_only=False).split("train")
    assert [first_of(whole[i]) for i in range(len(whole))] == [*range(100, 117), *range(120, 131)]
    assert {whole[i]["text"] for i in range(len(whole))} == {""}
    assert whole[3]["id"] == "task_D_D/training/episode_0000103"


def test_the_halves_of_validation_are_val_and_test(folder, caplog):
    assert firsts(folder, "val", language_only=False) == [10, 14, 18, 30, 34, 38]
    assert firsts(folder, "test", language_only=False) == [42, 46, 50]
    assert firsts(folder, "val") == [10, 14, 18, 31, 35]
    assert firsts(folder, "test") == [42, 46, 50]
    source(folder).split("train")
    left_out = "0 of 4 annotated segments in train have fewer than 4 frames, 1 end beyond their episode"
    assert left_out in caplog.text


def test_few_episodes_are_split_all_the_same(tmp_path):
    def parts(training, validation):
        root = tmp_path / str(len(list(tmp_path.iterdir())))
        write_folder(root / "training", training, [])
        if validation:
            write_folder(root / "validation", validation, [])
        clips = source(root, num_frames=2, language_only=False)
        found = {}
        for name in ("train", "val", "test"):
            split = clips.split(name)
            found[name] = {first_of(split[i]) for i in range(len(split))}
        return found

    episodes = [(n, n + 1) for n in range(0, 40, 2)]
    drawn = parts(episodes, [])
    assert sorted(n for of in drawn.values() for n in of) == list(range(0, 40, 2))
    assert len(drawn["train"]) > 12
    one = parts(episodes[:3], [(90, 93)])
    assert one["val"] == {90, 92}
    assert len(one["train"]) == 2
    assert one["train"] | one["test"] == {0, 2, 4}
    assert parts([(0, 9)], [(90, 98)]) == {"train": set(range(9)), "val": {90, 92}, "test": {94, 96}}
    with pytest.raises(SourceError, match=r"2 episodes in training/ and none in validation/; train, val and"):
        parts(episodes[:2], [])


def test_skipped_frames_leave_macro_actions(folder):
    half = source(folder, fps=15, num_frames=3, language_only=False)
    assert half.spec().action_dim == 14
    assert half.spec().action_names[6:8] == ("gripper@0", "x@1")
    clip = half.split("train")[2]
    every = source(folder, num_frames=5, language_only=False).split("train")[2]
    assert first_of(clip) == first_of(every)
    assert torch.equal(clip["video"], every["video"][::2])
    assert torch.equal(clip["actions"], every["actions"].reshape(2, 14))
    assert torch.equal(clip["state"], every["state"][::2])
    assert clip["fps"] == 15
    nearest = source(folder, fps=20, num_frames=3, language_only=False, action_key=None).split("train")[2]
    assert torch.equal(nearest["video"], every["video"][[0, 2, 3]])


def test_a_window_beyond_the_end_repeats_the_last_frame(folder):
    clips = source(folder, num_frames=8, repeat_last=True).split("val")
    clip = next(clips[i] for i in range(len(clips)) if first_of(clips[i]) == 39)
    assert torch.equal(clip["video"][1:], clip["video"][1:2].expand(7, -1, -1, -1))
    assert np.allclose(clip["actions"][0], frame(39)["rel_actions"], rtol=1e-6)
    assert not clip["actions"][1:].any()
    assert torch.equal(clip["state"][1:], clip["state"][1:2].expand(7, -1))


def test_what_is_asked_for_is_what_comes(folder):
    clip = source(folder, camera="rgb_gripper", height=42, width=21, action_key="actions").split("val")[0]
    assert clip["video"].shape == (4, 3, 42, 21)
    assert clip["video"][:, 0, 0, 0].tolist() == [10, 11, 12, 13]
    assert np.allclose(clip["actions"][0], frame(10)["actions"])
    bare = source(folder, action_key=None, state_key=None)
    assert (bare.spec().action_dim, bare.spec().state_dim) == (0, 0)
    assert set(bare.split("val")[0]) == {"video", "fps", "text", "id"}
    scene = source(folder, state_key="scene_obs", stride=5).split("train")
    assert np.allclose(scene[0]["state"][0], frame(100)["scene_obs"])
    assert first_of(scene[1]) == 105
    few = source(folder, share=0.3, language_only=False).split("train")
    assert len(few.stretches) == 1


def test_frames_that_do_not_open_are_replaced_and_told(copy, caplog):
    (copy / "training/episode_0000130.npz").write_bytes(b"half of it")
    (copy / "training/episode_0000127.npz").unlink()
    objects = {**frame(104), "rel_actions": np.array([Command(copy / "ran")], dtype=object)}
    np.savez(copy / "training/episode_0000104.npz", **objects)
    np.savez(copy / "training/episode_0000107.npz", **frame(7) | {"robot_obs": np.zeros(3)})
    clips = source(copy, language_only=False).split("train")
    whole = {100, 101} | set(range(108, 117)) | set(range(120, 124))
    found = [first_of(clips[i]) for i in range(len(clips))]
    assert set(found) <= whole
    assert found == [first_of(clips[i]) for i in range(len(clips))]
    assert caplog.text.count("take the place of its broken ones") == 2
    assert not (copy / "ran").exists()
    for path in (copy / "training").glob("episode_*.npz"):
        if path.name > "episode_0000100.npz":
            path.write_bytes(b"")
    with pytest.raises(SourceError, match="19 other windows neither; fetch the frames again"):
        source(copy, language_only=False).split("train")[0]


def test_annotations_run_nothing(copy, tmp_path):
    save(copy / "training/lang_annotations/auto_lang_ann.npy", {"info": Command(tmp_path / "ran")})
    with pytest.raises(SourceError, match=r"auto_lang_ann.npy is not read: it asks for posix\.system"):
        source(copy).split("train")
    save(copy / "training/ep_start_end_ids.npy", [Command(tmp_path / "ran")])
    with pytest.raises(SourceError, match=r"ep_start_end_ids.npy is not read: it asks for posix\.system"):
        source(copy).spec()
    assert not (tmp_path / "ran").exists()


def test_mistakes_are_named_in_one_line(copy, tmp_path):
    def complaint(folder=copy, split="train", **changes) -> str:
        with pytest.raises(SourceError) as caught:
            source(folder, **changes).split(split)
        assert "\n" not in str(caught.value)
        return str(caught.value)

    assert "no training/ep_start_end_ids.npy; give a folder in CALVIN's layout" in complaint(
        tmp_path / "none"
    )
    assert "no camera 'wrist' in its frames; there are: rgb_static, rgb_gripper" in complaint(camera="wrist")
    assert "no camera 'tactile'" in complaint(second_camera="tactile")
    assert "no action_key='action' in its frames; there are: actions, rel_actions" in complaint(
        action_key="action"
    )
    assert "no state_key='rgb_static' in its frames" in complaint(state_key="rgb_static")
    assert "data.fps=20 does not divide the 30 frames per second" in complaint(fps=20)
    assert "at least 1" in complaint(num_frames=0)
    assert "data.share=2" in complaint(share=2.0)
    told = complaint(num_frames=13)
    assert "4 annotated segments in train have fewer than 13 frames" in told
    assert told.endswith("ask for fewer frames; data.language_only=false takes all frames")
    assert complaint(num_frames=99, language_only=False).endswith("99 frames; ask for fewer frames")

    (copy / "recording.json").write_text("{")
    assert "recording.json is no JSON" in complaint()
    (copy / "recording.json").unlink()
    annotations = copy / "training/lang_annotations/auto_lang_ann.npy"
    save(annotations, {"info": {"indx": [(1, 2)]}, "language": {"ann": []}})
    assert "lacks info.indx or language.ann (ValueError: 1 segments, 0 texts)" in complaint()
    annotations.unlink()
    assert "no training/lang_annotations/auto_lang_ann.npy, so nothing is told in words" in complaint()
    save(
        copy / "validation/lang_annotations/auto_lang_ann.npy",
        {"info": {"indx": []}, "language": {"ann": []}},
    )
    assert "no annotated segments in val; data.language_only=false takes all frames" in complaint(split="val")
    np.save(copy / "training/ep_start_end_ids.npy", np.zeros(3))
    assert "is (3,) float64, not (n, 2) whole numbers" in complaint()


def test_names_and_rate_that_a_recording_notes_are_kept(copy):
    (copy / "state_names.json").write_text(
        json.dumps({"robot_obs": ["finger_x"], "scene_obs": ["lamp", "door"]})
    )
    (copy / "recording.json").write_text(json.dumps({"fps": 20}))
    made = source(copy, state_key="all", fps=10)
    assert made.spec().state_names == ("finger_x", "lamp", "door")
    clip = made.split("val")[0]
    truth = frame(first_of(clip))
    assert np.allclose(clip["state"][0], [truth["robot_obs"][0], *truth["scene_obs"][:2]])
    assert clip["fps"] == 10
