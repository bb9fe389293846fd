"""Which frames of a recording are successes, which failures, and that no episode gives both."""

import datasets
import numpy as np
import pytest
import torch

from components.clip import ClipSpec
from datamodules import SourceError
from datamodules.lerobot_episodes import RecordedEpisode, keep_episode
from datamodules.lerobot_writer import LeRobotWriter
from datamodules.success_examples import SuccessExamples
from tests.lerobot_folder import write_lerobot_folder

SHOWN, JUDGED, LENGTH, EPISODES = 3, 2, 6, 240
TEXTS = ["open it", "pull it open", "close it"]
SIZES = {"num_frames": SHOWN + 2 * JUDGED, "context_frames": SHOWN, "height": 8, "width": 8}


@pytest.fixture(scope="module", autouse=True)
def _cache(tmp_path_factory):
    before = datasets.config.HF_DATASETS_CACHE
    datasets.config.HF_DATASETS_CACHE = tmp_path_factory.mktemp("cache")
    yield
    datasets.config.HF_DATASETS_CACHE = before


def successes_of(index: int) -> np.ndarray:
    """After each action. Every fifth episode fails, others succeed for a moment or from the first one on."""
    if index % 5 == 4:
        return np.zeros(LENGTH - 1, bool)
    return np.array([0, 0, 1, 0, 0], bool) | (index % 2 == 0)


def write(root, episodes=range(EPISODES), success=successes_of):
    """Frame f of episode e is (e, f, ...) everywhere."""
    writer = LeRobotWriter(
        root=root, fps=10, robot="none", cameras={"static": (8, 8)}, state_names=("s",), action_names=("a",),
        made_by={},
    )  # fmt: skip
    for index in episodes:
        video = np.zeros((LENGTH, 8, 8, 3), np.uint8)
        video[..., 0], video[..., 1] = index, np.arange(LENGTH)[:, None, None]
        episode = RecordedEpisode(
            videos={"static": video},
            states=np.zeros((LENGTH, 1), np.float32),
            actions=np.zeros((LENGTH - 1, 1), np.float32),
            success=success(index),
            text=TEXTS[index % 3],
        )
        keep_episode(root, index, episode, fps=10)
    writer.join(len(episodes))
    writer.close()
    return str(root)


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return write(tmp_path_factory.mktemp("tasks") / "data")


def origins(clip) -> list[tuple[int, int]]:
    """Episode and frame of each picture."""
    return [(int(picture[0, 0, 0]), int(picture[1, 0, 0])) for picture in clip["video"]]


def shown_at(index: int) -> np.ndarray:
    """In which frames of an episode its task is done."""
    return np.append(False, successes_of(index))


@pytest.mark.parametrize("name", ["train", "val", "test"])
def test_a_clip_is_successes_to_learn_by_and_frames_to_judge(root, name):
    patterns = {"open": "open", "close": "^close"}
    dataset = SuccessExamples(root=root, **SIZES, tasks=patterns, num_clips=40).split(name)
    assert len(dataset) == 40
    for clip in map(dataset.__getitem__, range(40)):
        assert clip["state"][:, 0].tolist() == [1.0] * (SHOWN + JUDGED) + [0.0] * JUDGED
        places = origins(clip)
        texts = {TEXTS[e % 3] for e, _ in places}
        assert texts <= ({"close it"} if clip["text"] == "close" else {"open it", "pull it open"})
        assert clip["id"].startswith(f"data/{clip['text']}#")
        for episode, frame in places[: SHOWN + JUDGED]:
            assert frame == np.flatnonzero(shown_at(episode))[-1]
        for episode, frame in places[SHOWN + JUDGED :]:
            assert not shown_at(episode)[: frame + 1].any()
        learned = {episode for episode, _ in places[:SHOWN]}
        assert len(learned) == SHOWN
        assert not learned & {episode for episode, _ in places[SHOWN:]}


def test_splits_share_no_episode_and_every_kind_of_frame_is_drawn(root):
    seen = {}
    for name in ("train", "val", "test"):
        dataset = SuccessExamples(root=root, **SIZES, tasks={"all": "it"}, num_clips=60).split(name)
        seen[name] = {place for i in range(60) for place in origins(dataset[i])}
    episodes = {name: {episode for episode, _ in places} for name, places in seen.items()}
    assert not episodes["train"] & episodes["val"]
    assert not episodes["train"] & episodes["test"]
    assert not episodes["val"] & episodes["test"]
    assert any(not successes_of(episode).any() for episode in episodes["train"])  # failed ones, as failures
    assert {frame for _, frame in seen["train"]} == set(range(LENGTH))


def test_a_clip_depends_on_seed_and_index_alone(root):
    first, again, other = (
        SuccessExamples(root=root, **SIZES, num_clips=9, tasks={"all": "it"}, seed=seed).split("train")
        for seed in (0, 0, 1)
    )
    assert torch.equal(first[7]["video"], again[7]["video"])
    assert not torch.equal(first[7]["video"], first[6]["video"])
    assert not torch.equal(first[7]["video"], other[7]["video"])
    with pytest.raises(IndexError):
        first[9]


def test_each_text_is_a_task_where_none_is_named(root):
    dataset = SuccessExamples(root=root, **SIZES, num_clips=30).split("train")
    assert {dataset[i]["text"] for i in range(30)} == set(TEXTS)


def test_successes_to_judge_repeat_where_there_are_too_few(root):
    every = SuccessExamples(root=root, **SIZES, tasks={"all": "it"}).split("val").attempts["all"]
    shown = sum(attempt.done is not None for attempt in every) - 1  # one is left to judge
    sizes = SIZES | {"context_frames": shown, "num_frames": shown + 4}
    places = origins(SuccessExamples(root=root, **sizes, tasks={"all": "it"}).split("val")[0])
    assert places[shown] == places[shown + 1]
    assert len(set(places[: shown + 1])) == shown + 1


def test_the_spec_tells_what_the_state_is(root):
    source = SuccessExamples(root=root, **SIZES)
    assert source.spec() == ClipSpec(7, 8, 8, state_dim=1, state_names=("success",))


def test_what_does_not_fit_is_told_in_a_line(root, tmp_path):
    for shape in ({"num_frames": 6}, {"context_frames": 0}, {"num_frames": 3}):
        with pytest.raises(SourceError, match="give at least 1 success to learn by"):
            SuccessExamples(root=root, **SIZES | shape)
    with pytest.raises(SourceError, match=r"data\.tasks\.open='\(' is no regular expression"):
        SuccessExamples(root=root, **SIZES, tasks={"open": "("})
    with pytest.raises(SourceError, match="num_clips=0"):
        SuccessExamples(root=root, **SIZES, num_clips=0)
    never = write(tmp_path / "never", range(9), lambda index: np.zeros(LENGTH - 1, bool))
    with pytest.raises(
        SourceError, match=r"no success in the \d train episodes; record some with policy=exp"
    ):
        SuccessExamples(root=never, **SIZES).split("train")
    with pytest.raises(SourceError, match=r"no success in the \d+ train episodes of data\.tasks"):
        SuccessExamples(root=root, **SIZES, tasks={"turn": "turn"}).split("train")
    with pytest.raises(
        SourceError, match=r"no task has 101 train episodes with success, at most \d+ \('.*it"
    ):
        SuccessExamples(root=root, num_frames=102, context_frames=100, height=8, width=8).split("train")
    write_lerobot_folder(tmp_path / "plain", "v3.0", episodes=8, frames=6)
    with pytest.raises(SourceError, match=r"no column next\.success.*record\.py writes it"):
        SuccessExamples(root=str(tmp_path / "plain"), **SIZES).split("train")


def test_tasks_with_too_few_successes_are_left_out_and_named(root, caplog):
    few = {"rare": "close", "common": "open"}
    source = SuccessExamples(root=root, num_frames=72, context_frames=70, height=8, width=8, tasks=few)
    dataset = source.split("train")
    assert dataset.names == ["common"]
    assert "tasks with fewer than 71 train successes: rare" in caplog.text
