"""One table for all tests of it; without MuJoCo or a GL back end they are skipped, and say why."""

from collections.abc import Iterator

import pytest
from jaxtyping import install_import_hook

install_import_hook("environments", "beartype.beartype")

from environments import UnavailableError  # noqa: E402


@pytest.fixture(scope="session")
def table() -> Iterator:
    try:
        from environments.play_table import PlayTable

        made = PlayTable(cameras=("static", "wrist"))
        made.reset(seed=0)
    except UnavailableError as reason:
        pytest.skip(str(reason))
    yield made
    made.close()


@pytest.fixture(scope="session")
def blind_table() -> Iterator:
    """A table that draws nothing, for tests of what happens on it."""
    try:
        from environments.play_table import PlayTable

        made = PlayTable(cameras=())
    except UnavailableError as reason:
        pytest.skip(str(reason))
    yield made
    made.close()
