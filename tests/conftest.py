"""Every test checks the shapes of the components it touches, on one thread, and asks no hub for anything."""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ["HF_HUB_OFFLINE"] = "1"  # what is not there is told at once, without retries

from jaxtyping import install_import_hook

install_import_hook("components", "beartype.beartype")

import pytest  # noqa: E402
import torch  # noqa: E402
from hypothesis import settings  # noqa: E402

torch.set_num_threads(1)
settings.register_profile("repeatable", derandomize=True)  # the same examples every time
settings.load_profile("repeatable")


@pytest.fixture(scope="module", autouse=True)
def the_environment_as_it_was():
    """Lightning leaves ranks and ports in the environment, which commands run by later tests would take."""
    before = os.environ.copy()
    yield
    os.environ.clear()
    os.environ.update(before)
