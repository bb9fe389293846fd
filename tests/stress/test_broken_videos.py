"""Forty broken videos beside four good ones, as the run's own command meets them."""

from tests.stress.broken_videos import finite, listed, train, write_folder


def test_trains_on_the_good_ones_and_lists_the_forty(tmp_path):
    broken = write_folder(tmp_path / "videos")
    assert len(broken) == 40
    assert sorted(listed(tmp_path / "videos", broken)) == sorted(broken)
    said = train(tmp_path / "videos", tmp_path / "run", steps=2)
    assert "skipped 40 of 44" in said
    assert finite(tmp_path / "run")
