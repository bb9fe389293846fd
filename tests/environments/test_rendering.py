"""The choice of a GL back end, in processes of their own: MuJoCo reads it once."""

import os
import subprocess
import sys

import pytest

HIDDEN = "import sys; sys.modules['{}'] = None; "
BUILD = """
from environments import UnavailableError
try:
    from environments.play_table import PlayTable
    PlayTable(height=16, width=16).reset(seed=0)
    import os; print("drew with", os.environ["MUJOCO_GL"])
except UnavailableError as error:
    print("unavailable:", error)
"""
NO_LIBRARIES = "import ctypes.util; ctypes.util.find_library = lambda name: None; "


def say(code: str, **variables: str) -> str:
    """What a fresh Python prints; it may not fail."""
    clean = {key: value for key, value in os.environ.items() if key not in ("MUJOCO_GL", "PYOPENGL_PLATFORM")}
    done = subprocess.run(
        [sys.executable, "-c", code], env=clean | variables, capture_output=True, text=True, check=True
    )
    return done.stdout.strip()


@pytest.mark.usefixtures("table")
def test_a_headless_back_end_is_found():
    assert say(BUILD) in ("drew with egl", "drew with osmesa")


@pytest.mark.usefixtures("table")
@pytest.mark.parametrize("package", ["mujoco", "gymnasium"])
def test_a_missing_extra_is_told_in_one_line(package):
    said = say(HIDDEN.format(package) + BUILD)
    assert said == f"unavailable: {package} is missing; pip install -e '.[control]'"


@pytest.mark.usefixtures("table")
@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere MuJoCo draws without a display by itself")
def test_a_machine_without_gl_is_told_what_to_install():
    said = say(NO_LIBRARIES + BUILD)
    assert said.startswith("unavailable: no GL back end draws without a display here; apt-get install")
    assert "\n" not in said


@pytest.mark.usefixtures("table")
def test_the_users_choice_is_kept_and_its_failure_told_in_one_line():
    said = say(BUILD, MUJOCO_GL="osmesa")
    if said != "drew with osmesa":
        assert said.startswith("unavailable: MuJoCo cannot draw with the GL back end osmesa")
        assert "\n" not in said


@pytest.mark.usefixtures("table")
@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere MuJoCo draws without a display by itself")
def test_mujoco_imported_too_early_is_told_in_one_line():
    said = say("import mujoco" + BUILD, DISPLAY="")
    assert said.startswith("unavailable: mujoco was imported before a GL back end was chosen")
    assert said.endswith("set MUJOCO_GL=egl")
