"""Which files are found, and that they are looked into once."""

import json
from pathlib import Path

import pytest

from datamodules import SourceError, video_index
from datamodules.video_index import CACHE_VARIABLE, find_videos, probe_all
from tests.media import write_images, write_three, write_video


def test_files_globs_folders_and_lists(tmp_path):
    for name in ("a.mp4", "more/b.mp4", "more/deep/c.mp4", ".hidden/d.mp4", "more/._b.mp4"):
        write_video(tmp_path / name, 5)
    write_images(tmp_path / "more" / "pictures", 5)
    (tmp_path / "notes.txt").write_text("not a video")
    (tmp_path / "more" / "loop").symlink_to(tmp_path / "more")
    (tmp_path / "more" / "same.mp4").symlink_to(tmp_path / "a.mp4")
    names = ["a.mp4", "more/b.mp4", "more/deep/c.mp4", "more/pictures"]

    def found(*root: Path | str) -> list[str]:
        return list(find_videos([str(r) for r in root] if len(root) > 1 else str(root[0])).videos)

    assert found(tmp_path) == names
    assert found(tmp_path / "a.mp4") == ["a.mp4"]
    assert found(tmp_path / "more" / "pictures") == ["pictures"]
    assert found(tmp_path / "*.mp4") == ["a.mp4"]
    assert found(tmp_path / "more" / "**" / "*.mp4") == ["b.mp4", "deep/c.mp4", "same.mp4"]
    assert found(tmp_path / "m*") == [*names[1:], "more/same.mp4"]
    assert found(tmp_path / "a.mp4", tmp_path / "more", tmp_path / "more" / "b.mp4") == names


@pytest.mark.parametrize("root", ["missing", "missing/*.mp4", [], "empty"])
def test_a_root_without_videos_is_an_error_of_one_line(tmp_path, monkeypatch, root):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    with pytest.raises(SourceError, match=r"data\.root=") as error:
        find_videos(root)
    assert "\n" not in str(error.value)


def test_files_are_probed_once_and_again_only_if_they_change(tmp_path, monkeypatch, cache):
    write_three(tmp_path)
    (tmp_path / "broken.mp4").write_bytes(b"")
    first = probe_all(find_videos(str(tmp_path)))
    assert len(list(cache.iterdir())) == 1
    probed = []
    real = video_index._probe
    monkeypatch.setattr(video_index, "_probe", lambda path: probed.append(path.name) or real(path))
    assert probe_all(find_videos(str(tmp_path))) == first
    assert probed == []
    write_video(tmp_path / "b.mp4", 20)
    write_video(tmp_path / "new.mp4", 5)
    infos, skipped = probe_all(find_videos(str(tmp_path)))
    assert sorted(probed) == ["b.mp4", "new.mp4"]
    assert infos["b.mp4"].num_frames == 20
    assert skipped == {"broken.mp4": "empty file"}
    next(cache.iterdir()).write_text("{")
    assert probe_all(find_videos(str(tmp_path))) == (infos, skipped)


def test_a_cache_that_cannot_be_written_is_no_problem(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path / "file" / "below"))
    infos, _ = probe_all(find_videos(str(write_three(tmp_path / "clips"))))
    assert len(infos) == 3


def test_the_index_is_plain_data(tmp_path, cache):
    write_three(tmp_path)
    probe_all(find_videos(str(tmp_path)))
    (entries,) = (json.loads(file.read_text()) for file in cache.iterdir())
    assert sorted(entries) == ["a.mp4", "b.mp4", "c.mp4"]
    assert entries["a.mp4"]["stamp"][0] == (tmp_path / "a.mp4").stat().st_size
