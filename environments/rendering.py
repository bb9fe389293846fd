"""Pictures from MuJoCo on machines without a display."""

import ctypes
import ctypes.util
import os
import sys
from types import ModuleType
from typing import Any

import numpy as np
from jaxtyping import UInt8

from environments import UnavailableError

_INSTALL = "apt-get install libegl1 libgl1-mesa-dri, or libosmesa6 and MUJOCO_GL=osmesa"


def load_mujoco() -> ModuleType:
    """MuJoCo, with a GL back end that works without a display.

    MUJOCO_GL is kept where the user set it; else it becomes egl, else osmesa, by what the machine has.
    MuJoCo reads it once, when it is imported, so this has to be the first import in the process.

    Raises UnavailableError where MuJoCo or every back end is missing.
    """
    # Mesa's threads wait for one another longer than a small frame takes; processes share the cores better
    os.environ.setdefault("LP_NUM_THREADS", "0")
    if "mujoco" not in sys.modules and sys.platform == "linux" and not os.environ.get("MUJOCO_GL"):
        os.environ["MUJOCO_GL"] = _headless_backend()
    try:
        import mujoco
    except ImportError as error:
        missing = "mujoco is missing" if error.name == "mujoco" else f"mujoco cannot be imported: {error}"
        raise UnavailableError(f"{missing}; pip install -e '.[control]'") from None
    except Exception as error:  # a broken back end fails in its own ways while it is imported
        raise UnavailableError(_broken(error)) from None
    return mujoco


def _headless_backend() -> str:
    if _egl_devices() > 0:
        return "egl"
    if ctypes.util.find_library("OSMesa"):
        return "osmesa"
    raise UnavailableError(f"no GL back end draws without a display here; {_INSTALL}")


def _egl_devices() -> int:
    """How many devices EGL could draw on; an EGL without any is installed on many machines."""
    name = ctypes.util.find_library("EGL")
    if name is None:
        return 0
    try:
        library = ctypes.CDLL(name)
        library.eglGetProcAddress.restype = ctypes.c_void_p
        address = library.eglGetProcAddress(b"eglQueryDevicesEXT")
    except (OSError, AttributeError):
        return 0
    if not address:
        return 0
    query = ctypes.CFUNCTYPE(ctypes.c_uint, ctypes.c_int, ctypes.c_void_p, ctypes.POINTER(ctypes.c_int))
    count = ctypes.c_int(0)
    return count.value if query(address)(0, None, ctypes.byref(count)) else 0


def _broken(error: Exception) -> str:
    backend = os.environ.get("MUJOCO_GL")
    reason = " ".join(str(error).split())
    if sys.platform == "linux" and not backend:
        return f"mujoco was imported before a GL back end was chosen ({reason}); set MUJOCO_GL=egl"
    return f"MuJoCo cannot draw with the GL back end {backend} ({reason}); {_INSTALL}"


class FrameRenderer:
    """Draws one model into arrays, without shadows, reflections and smoothed edges.

    Those cost ten times the rest of a small frame and are switched off: shadows and reflections here, the
    smoothing of edges by offsamples="0" in the model.

    supersample: each pixel is the mean of so many by so many, which smooths edges for less; the model's frame
    buffer has to be as much larger.
    Raises UnavailableError where the GL back end does not work.
    """

    def __init__(self, model: Any, *, height: int, width: int, supersample: int = 1) -> None:
        mujoco = load_mujoco()
        self.supersample = supersample
        height, width = height * supersample, width * supersample
        try:
            self.renderer = mujoco.Renderer(model, height, width, max_geom=200)
        except Exception as error:  # what fails, and how, is up to the driver
            raise UnavailableError(_broken(error)) from None
        flags = self.renderer.scene.flags
        for flag in (mujoco.mjtRndFlag.mjRND_SHADOW, mujoco.mjtRndFlag.mjRND_REFLECTION):
            flags[flag] = False

    def draw(self, data: Any, camera: str) -> UInt8[np.ndarray, "h w 3"]:
        """The scene as the camera of that name sees it."""
        self.renderer.update_scene(data, camera=camera)
        picture, k = self.renderer.render(), self.supersample
        if k > 1:
            parts = [picture[i::k, j::k].astype(np.uint16) for i in range(k) for j in range(k)]
            picture = ((sum(parts) + k * k // 2) // (k * k)).astype(np.uint8)
        return np.ascontiguousarray(picture)

    def close(self) -> None:
        """Free the GL context."""
        self.renderer.close()
