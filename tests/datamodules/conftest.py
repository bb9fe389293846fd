"""Data tests leave no trace in the user's cache."""

from pathlib import Path

import pytest

from datamodules.video_index import CACHE_VARIABLE


@pytest.fixture(autouse=True)
def cache(tmp_path_factory, monkeypatch) -> Path:
    folder = tmp_path_factory.mktemp("cache")
    monkeypatch.setenv(CACHE_VARIABLE, str(folder))
    return folder
