"""Clips out of `datasets` sources: the number in each frame says which row and which moment it came from."""

import io
import itertools
import json
import pickle
import tarfile

import datasets
import huggingface_hub
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from datasets import Dataset, Features, Image, List, Value, Video
from PIL import Image as Picture

from datamodules import SourceError
from datamodules.huggingface import HuggingFace
from datamodules.huggingface_rows import fingerprint
from datamodules.loader import ClipLoader
from tests.media import numbered_frame, read_numbers, write_video

ROWS, SPAN = 20, 32  # frame k of row r shows the number r * SPAN + k
LENGTHS = [12 + row % 5 for row in range(ROWS)]
SHARDS = [range(0, 8), range(8, 15), range(15, ROWS)]
KINDS = {
    "parquet": {"text_column": "caption"},
    "tar": {"text_column": "json.caption"},
    "folder": {},
    "named.jsonl": {"video_column": "film", "text_column": "caption"},
    "images": {"text_column": "caption"},
}


@pytest.fixture(scope="module", autouse=True)
def _cache(tmp_path_factory):
    """Tables that `datasets` prepares go where the test's other files are."""
    before = datasets.config.HF_DATASETS_CACHE
    datasets.config.HF_DATASETS_CACHE = tmp_path_factory.mktemp("cache")
    yield
    datasets.config.HF_DATASETS_CACHE = before


@pytest.fixture(scope="module")
def sources(tmp_path_factory):
    """The same rows as parquet, tar, plain files, paths in JSON and images."""
    base = tmp_path_factory.mktemp("sources")
    for name in ("parquet", "tar", "images"):
        (base / name).mkdir()
    pictures, films = [], []
    for row, length in enumerate(LENGTHS):
        frames = [numbered_frame(row * SPAN + k, 24, 32) for k in range(length)]
        pictures.append([encode(frame) for frame in frames])
        films.append(write_video(base / f"folder/film_{row:02d}.mp4", length, frames=frames))
    for shard, rows in enumerate(SHARDS):
        captions = [f"row {row}" for row in rows]
        cells = [{"bytes": films[row].read_bytes(), "path": None} for row in rows]
        table = {"video": cells, "caption": captions}
        kinds = Features({"video": Video(), "caption": Value("string")})
        Dataset.from_dict(table, features=kinds).to_parquet(base / f"parquet/part-{shard}.parquet")
        table = {"frames": [pictures[row] for row in rows], "caption": captions}
        kinds = Features({"frames": List(Image()), "caption": Value("string")})
        Dataset.from_dict(table, features=kinds).to_parquet(base / f"images/part-{shard}.parquet")
        with tarfile.open(base / f"tar/part-{shard}.tar", "w") as archive:
            for row in rows:
                archive.add(films[row], f"{row:02d}.mp4")
                add(archive, f"{row:02d}.json", json.dumps({"caption": f"row {row}"}).encode())
    lines = [{"film": f"folder/{film.name}", "caption": f"row {row}"} for row, film in enumerate(films)]
    (base / "named.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return base


def encode(frame) -> dict:
    data = io.BytesIO()
    Picture.fromarray(frame).save(data, format="png")
    return {"bytes": data.getvalue(), "path": None}


def add(archive, name: str, data: bytes) -> None:
    entry = tarfile.TarInfo(name)
    entry.size = len(data)
    archive.addfile(entry, io.BytesIO(data))


def source(path, *, num_frames=6, **changes) -> HuggingFace:
    return HuggingFace(path=str(path), num_frames=num_frames, height=24, width=32, **changes)


def place(clip) -> tuple[int, int]:
    """Row and first frame of a clip, out of its pixels."""
    return divmod(read_numbers(clip["video"])[0], SPAN)


def every(clips) -> list:
    return [clips[i] for i in range(len(clips))]


def places(clips) -> list[tuple[int, int]]:
    return [place(clip) for clip in clips]


def streamed_rows(clips) -> list[int]:
    """Rows of one pass; a split that is drawn by a hash may have none of so few."""
    try:
        return [row for row, _ in places(clips)]
    except SourceError as problem:
        if "no row of the stream" not in str(problem):
            raise
        return []


@pytest.mark.parametrize("streaming", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_a_clip_is_consecutive_frames_of_one_row(sources, kind, streaming):
    clips = source(sources / kind, streaming=streaming, **KINDS[kind]).split("train")
    for clip in itertools.islice(iter(clips) if streaming else every(clips), 40):
        row, start = place(clip)
        assert read_numbers(clip["video"]) == [row * SPAN + start + k for k in range(6)]
        assert start + 6 <= LENGTHS[row]
        assert clip["video"].shape == (6, 3, 24, 32)
        assert clip["video"].dtype == torch.uint8
        assert clip["fps"] == 10
        assert clip.get("text") == (f"row {row}" if "text_column" in KINDS[kind] else None)


@pytest.mark.parametrize("streaming", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_rows_are_shared_out_among_splits(sources, kind, streaming):
    rows = {}
    for part in ("train", "val", "test"):
        clips = source(sources / kind, streaming=streaming, **KINDS[kind]).split(part)
        rows[part] = set(streamed_rows(clips) if streaming else [row for row, _ in places(every(clips))])
        assert rows[part] or streaming
    assert sorted(itertools.chain(*rows.values())) == list(range(ROWS))
    assert len(rows["train"]) > 8


def test_map_style_splits_do_not_depend_on_the_format(sources):
    a, b = (source(sources / kind).split("val") for kind in ("parquet", "images"))
    assert {row for row, _ in places(every(a))} == {row for row, _ in places(every(b))}


def test_splits_of_the_source_are_kept(sources, tmp_path):
    for shard, name in enumerate(("train", "validation", "other")):
        data = (sources / f"parquet/part-{shard}.parquet").read_bytes()
        (tmp_path / f"{name}-00000-of-00001.parquet").write_bytes(data)
    for streaming in (False, True):
        three = source(tmp_path, streaming=streaming, test_split="train")
        assert sorted(row for row, _ in places(list(three.split("val")))) == list(SHARDS[1])
        train, test = (source(tmp_path, streaming=streaming).split(part) for part in ("train", "test"))
        if streaming:  # few rows: the hash may leave none to test
            assert {row for row, _ in places(train)} <= set(SHARDS[0])
        else:
            both = places(every(train)) + places(every(test))
            assert sorted(row for row, _ in both) == list(SHARDS[0])


def test_a_data_set_saved_to_disk_opens(sources, tmp_path):
    datasets.load_dataset(str(sources / "parquet"), split="train").save_to_disk(tmp_path / "saved")
    saved, stored = (source(path).split("train") for path in (tmp_path / "saved", sources / "parquet"))
    assert places(every(saved)) == places(every(stored))


def test_image_sequences_give_every_window(sources):
    train, val = (source(sources / "images").split(part) for part in ("train", "val"))
    rows = sorted({row for row, _ in places(every(train))})
    assert places(every(train)) == [(row, s) for row in rows for s in range(LENGTHS[row] - 5)]
    rows = sorted({row for row, _ in places(every(val))})
    assert places(every(val)) == [(row, s) for row in rows for s in range(0, LENGTHS[row] - 5, 6)]
    thin = source(sources / "images", stride=4).split("train")
    assert {start % 4 for _, start in places(every(thin))} == {0}


def test_several_clips_of_a_video_are_spread_over_it(sources):
    clips = source(sources / "parquet", clips_per_row=3).split("train")
    for row, group in itertools.groupby(places(every(clips)), key=lambda where: where[0]):
        third = (LENGTHS[row] - 5) / 3
        for i, (_, start) in enumerate(group):
            assert i * third - 1 < start < (i + 1) * third


@pytest.mark.parametrize("kind", ["parquet", "images"])
def test_frames_are_picked_at_the_asked_rate(sources, kind):
    clips = source(sources / kind, fps=5).split("train")
    for clip in every(clips)[:5]:
        numbers = read_numbers(clip["video"])
        assert numbers == list(range(numbers[0], numbers[0] + 12, 2))
        assert clip["fps"] == 5


def test_images_count_as_the_assumed_rate(sources):
    clip = source(sources / "images", assumed_fps=30, fps=10).split("train")[0]
    assert read_numbers(clip["video"])[1] - read_numbers(clip["video"])[0] == 3


def test_a_clip_depends_on_its_index_alone(sources):
    clips = source(sources / "parquet").split("train")
    again = pickle.loads(pickle.dumps(clips))
    later = again[5]["video"]
    assert again[2]["id"] == clips[2]["id"]
    assert torch.equal(later, clips[5]["video"])


@pytest.mark.parametrize(("kind", "shuffle_rows"), [("parquet", 4), ("tar", 4), ("parquet", 1)])
def test_a_stream_goes_on_where_it_stopped(sources, kind, shuffle_rows):
    def stream():
        return pickle.loads(fresh)

    fresh = pickle.dumps(source(sources / kind, streaming=True, shuffle_rows=shuffle_rows).split("train"))
    whole = stream()
    passes = [[clip["id"] for clip in whole] for _ in range(2)]
    assert sorted(id.split("@")[0] for id in passes[0]) == sorted(id.split("@")[0] for id in passes[1])
    assert passes[0] != passes[1]
    for cut in (0, 1, 4, 7, len(passes[0]) - 1, len(passes[0])):
        stopped = stream()
        assert [clip["id"] for clip in itertools.islice(stopped, cut)] == passes[0][:cut]
        state = pickle.loads(pickle.dumps(stopped.state_dict()))
        resumed = stream()
        resumed.load_state_dict(state)
        assert resumed.state_dict() == state
        if cut < len(passes[0]):  # at the very end the pass may be over or about to be
            assert [clip["id"] for clip in resumed] == passes[0][cut:]
        else:
            assert list(resumed) == []
        assert [clip["id"] for clip in resumed] == passes[1]


def test_the_loader_resumes_in_the_middle_of_a_stream(sources):
    def loader():
        clips = source(sources / "parquet", streaming=True, shuffle_rows=4).split("train")
        return ClipLoader(clips, batch_size=4, num_batches=12, seed=0)

    whole = [batch["id"] for batch in loader()]
    stopped = loader()
    head = [batch["id"] for batch in itertools.islice(stopped, 8)]
    resumed = loader()
    resumed.load_state_dict(stopped.state_dict())
    assert head + [batch["id"] for batch in resumed] == whole


def test_blocks_are_shuffled(sources):
    in_order, shuffled = (
        [row for row, _ in places(source(sources / "tar", streaming=True, shuffle_rows=n).split("train"))]
        for n in (1, 8)
    )
    assert in_order == sorted(in_order)
    assert shuffled != in_order
    assert sorted(shuffled[:8]) == in_order[:8]


@pytest.mark.parametrize("world_size", [2, 3])
@pytest.mark.parametrize("kind", ["parquet", "tar"])
def test_processes_share_a_stream_without_overlap(sources, kind, world_size, monkeypatch):
    def rows(part: str) -> list[int]:
        return streamed_rows(source(sources / kind, streaming=True).split(part))

    whole = {part: rows(part) for part in ("train", "val")}
    monkeypatch.setattr(torch.distributed, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.distributed, "get_world_size", lambda: world_size)
    together = {"train": [], "val": []}
    for rank in range(world_size):
        monkeypatch.setattr(torch.distributed, "get_rank", lambda rank=rank: rank)
        for part in together:
            share = rows(part)
            assert len(share) < max(2, len(whole[part]))
            together[part] += share
    assert {part: sorted(rows) for part, rows in together.items()} == {
        part: sorted(rows) for part, rows in whole.items()
    }


def test_a_named_video_is_known_by_its_name_wherever_it_lies():
    assert fingerprint("/a/b/film.mp4") == fingerprint("/c/b/film.mp4") != fingerprint("/a/b/other.mp4")
    assert fingerprint({"bytes": b"1", "path": "x"}) == fingerprint({"bytes": b"1", "path": None})
    assert fingerprint([b"1", b"2", b"3"]) != fingerprint([b"1", b"3"])


@pytest.fixture(scope="module")
def damaged(sources, tmp_path_factory):
    """Every third row cannot be used: not a video, too short, no file, nothing at all."""
    folder = tmp_path_factory.mktemp("damaged")
    short = write_video(folder / "short.mp4", 3, frames=[numbered_frame(k, 24, 32) for k in range(3)])
    bad = [{"bytes": b"no video", "path": None}, {"bytes": None, "path": str(short)}]
    bad += [{"bytes": None, "path": "gone.mp4"}, None]
    films = [{"bytes": None, "path": str(sources / f"folder/film_{row:02d}.mp4")} for row in range(ROWS)]
    cells = [bad[row // 3 % 4] if row % 3 == 0 else film for row, film in enumerate(films)]
    kinds = Features({"video": Video()})
    pq.write_table(pa.table({"video": cells}, schema=kinds.arrow_schema), folder / "films.parquet")
    return folder / "films.parquet"


def test_a_stream_leaves_out_bad_rows_and_counts_them(damaged, caplog):
    clips = source(damaged, streaming=True, val_split="train", test_split="train").split("train")
    assert sorted(row for row, _ in places(clips)) == [row for row in range(ROWS) if row % 3]
    assert "rows left out so far: 1," in caplog.text
    assert "rows left out so far: 4," in caplog.text
    assert caplog.text.count("left out") == 3


def test_a_table_replaces_bad_rows_the_same_way_each_time(damaged, caplog):
    clips = source(damaged, val_split="train", test_split="train").split("train")
    assert len(clips) == ROWS
    first = [clip["id"] for clip in every(clips)]
    again = source(damaged, val_split="train", test_split="train").split("train")
    assert first[::-1] == [again[i]["id"] for i in range(ROWS - 1, -1, -1)]
    assert {row % 3 for row, _ in places(every(clips))} == {1, 2}
    reported = caplog.text.count("row 9: nothing in it")
    assert reported == 2  # once by each of the two


def test_mistakes_are_named_in_one_line(sources, tmp_path, monkeypatch):
    def complaint(path=sources / "parquet", part="train", **changes) -> str:
        with pytest.raises(SourceError) as caught:
            next(iter(source(path, **changes).split(part)))
        assert "\n" not in str(caught.value)
        return str(caught.value)

    assert "no column 'film'; there are: video, caption" in complaint(video_column="film")
    assert "no column 'label'; there are: video, caption" in complaint(text_column="label", streaming=True)
    assert "no 'title' in a row; it has: caption" in complaint(sources / "tar", text_column="json.title")
    assert "name it with video_column; there are: film, caption" in complaint(sources / "named.jsonl")
    assert "does not open (Unknown split" in complaint(val_split="dev", part="val")
    assert "none of 18 rows is long enough" in complaint(sources / "images", num_frames=99)
    assert "20 rows in turn cannot be used" in complaint(num_frames=99)
    assert "no row of the stream gives a clip for train" in complaint(num_frames=99, streaming=True)
    assert "single videos are for data=videos" in complaint(sources / "folder/film_00.mp4")
    assert "does not open" in complaint(tmp_path)
    assert "at least 1" in complaint(num_frames=0)
    assert "fps=null" in complaint(fps=0.0)

    (tmp_path / "broken.parquet").write_bytes(b"no table")
    assert "does not open" in complaint(tmp_path / "broken.parquet")
    Dataset.from_dict({"video": ["a.mp4", "b.mp4"]}).to_parquet(tmp_path / "two.parquet")
    assert "2 rows cannot give train, val and test" in complaint(
        tmp_path / "two.parquet", video_column="video"
    )

    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    for streaming in (False, True):
        offline = complaint("somebody/films", streaming=streaming)
        assert offline.startswith("data.path=somebody/films: does not open (")
        assert "check it, or the hub id and the network" in offline


def test_only_one_worker_may_read_a_stream(sources, monkeypatch):
    clips = source(sources / "parquet", streaming=True).split("train")
    two = type("Worker", (), {"num_workers": 2, "id": 0})
    monkeypatch.setattr("datamodules.huggingface_clips.get_worker_info", lambda: two)
    with pytest.raises(SourceError, match="num_workers=1"):
        next(iter(clips))


def test_small_sources_open_without_progress_bars(sources, tmp_path, monkeypatch, capfd):
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path)
    source(sources / "parquet").split("train")
    assert capfd.readouterr().err == ""
    assert not datasets.are_progress_bars_disabled()
