"""The play-table as a MuJoCo model, primitives only, in metres and radians.

Seen from the static camera x points right, y away from it, z up; the top of the table is z = 0. In front of
the table a drawer slides towards the camera, pulled by a bar that stands above it; at the back are a lamp
(left) and a button (right) that toggles it; between them lie three blocks. A single finger, moved along
x, y and z, does everything.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

import numpy as np

LookName = Literal["a", "b"]

BLOCKS = ("red", "blue", "pink")
BLOCK_HALF = 0.03
FINGER_RADIUS = 0.01
FINGER_LOW = np.array([-0.338, -0.45, 0.025])
FINGER_HIGH = np.array([0.338, 0.23, 0.2])
DRAWER_RANGE = 0.18
BAR_CLOSED_Y = -0.22  # the bar's middle while the drawer is closed; the table ends 4 cm behind its back
BUTTON_XY = (0.24, 0.185)
BUTTON_PRESSED = -0.008  # on its way down past here the button toggles the lamp
TIMESTEP = 0.005


@dataclass(frozen=True)
class Look:
    """How a table looks: colours as r g b, the static camera; what can be touched is the same in each.

    camera_place, camera_target: where the static camera stands and what it looks at, metres.
    camera_angle: its vertical field of view, degrees.
    """

    table: str
    table_pattern: str
    rim: str
    wall: str
    floor: str
    drawer: str
    bar: str
    button: str
    lamp_on: tuple[float, float, float]
    lamp_off: tuple[float, float, float]
    finger: str
    blocks: tuple[str, str, str]
    camera_place: tuple[float, float, float]
    camera_target: tuple[float, float, float]
    camera_angle: float
    light: str


LOOKS: dict[LookName, Look] = {
    "a": Look(
        table=".78 .66 .50",
        table_pattern=".78 .66 .50",
        rim=".55 .43 .30",
        wall=".62 .66 .70",
        floor=".30 .32 .35",
        drawer=".38 .52 .42",
        bar=".15 .25 .18",
        button=".93 .80 .20",
        lamp_on=(1.0, 0.95, 0.35),
        lamp_off=(0.18, 0.16, 0.14),
        finger=".12 .12 .14",
        blocks=(".85 .12 .10", ".12 .25 .85", ".95 .50 .75"),
        camera_place=(0.0, -0.50, 0.88),
        camera_target=(0.0, -0.075, 0.0),
        camera_angle=42.0,
        light="0 -.4 1.5",
    ),
    "b": Look(
        table=".25 .34 .38",
        table_pattern=".31 .41 .45",
        rim=".80 .80 .78",
        wall=".42 .34 .30",
        floor=".72 .70 .66",
        drawer=".70 .45 .22",
        bar=".90 .88 .80",
        button=".30 .75 .70",
        lamp_on=(0.45, 1.0, 0.50),
        lamp_off=(0.10, 0.12, 0.20),
        finger=".88 .88 .92",
        blocks=(".70 .16 .22", ".25 .45 .95", ".98 .62 .68"),
        camera_place=(0.20, -0.56, 0.88),
        camera_target=(0.0, -0.065, 0.0),
        camera_angle=45.0,
        light=".6 -.2 1.4",
    ),
}


def _picture_axes(place: tuple[float, float, float], target: tuple[float, float, float]) -> str:
    """Right and up of a level camera's picture, as MuJoCo's `xyaxes` wants them."""
    ahead = np.subtract(target, place)
    right = np.cross(ahead, (0.0, 0.0, 1.0))
    return _numbers(np.concatenate([right, np.cross(right, ahead)]))


def _numbers(values: Iterable[float]) -> str:
    return " ".join(f"{value:.6g}" for value in values)


def table_mjcf(look: Look, *, height: int, width: int) -> str:
    """The model as an XML string, with a frame buffer of height by width pixels."""
    blocks = "".join(
        f"""
    <body name="{name}" pos="0 0 {BLOCK_HALF}">
      <freejoint name="{name}"/>
      <geom class="touched" type="box" size="{BLOCK_HALF} {BLOCK_HALF} {BLOCK_HALF}" mass=".1"
        rgba="{rgb} 1"/>
    </body>"""
        for name, rgb in zip(BLOCKS, look.blocks, strict=True)
    )
    low, high = FINGER_LOW, FINGER_HIGH
    slides = "".join(
        f"""
      <joint name="finger_{axis}" type="slide" axis="{direction}" range="{low[i]} {high[i]}"/>"""
        for i, (axis, direction) in enumerate((("x", "1 0 0"), ("y", "0 1 0"), ("z", "0 0 1")))
    )
    motors = "".join(
        f"""
    <position joint="finger_{axis}" kp="800" kv="22" forcerange="-10 10" ctrlrange="{low[i]} {high[i]}"/>"""
        for i, axis in enumerate("xyz")
    )
    return f"""
<mujoco model="play table">
  <compiler angle="radian"/>
  <option timestep="{TIMESTEP}" integrator="implicitfast"/>
  <visual>
    <global offwidth="{width}" offheight="{height}"/>
    <quality offsamples="0" shadowsize="0" numslices="14" numstacks="7" numquads="1"/>
    <headlight ambient=".45 .45 .45" diffuse=".25 .25 .25" specular="0 0 0"/>
    <map znear=".01" zfar="20"/>
  </visual>
  <default>
    <default class="seen"> <geom contype="0" conaffinity="0"/> </default>
    <default class="touched"> <geom contype="1" conaffinity="1" friction=".5 .005 .0001"/> </default>
    <!-- what moves inside furniture meets the finger alone -->
    <default class="moved"> <geom contype="2" conaffinity="2" friction=".3 .005 .0001"/> </default>
  </default>
  <asset>
    <texture name="table" type="2d" builtin="checker" rgb1="{look.table}" rgb2="{look.table_pattern}"
      width="64" height="64"/>
    <material name="table" texture="table" texrepeat="5 3" specular="0"/>
  </asset>
  <worldbody>
    <light directional="true" castshadow="false" pos="{look.light}" dir="0 .25 -1" diffuse=".45 .45 .45"/>
    <camera name="static" pos="{_numbers(look.camera_place)}" fovy="{look.camera_angle}"
      xyaxes="{_picture_axes(look.camera_place, look.camera_target)}"/>
    <geom class="seen" type="plane" size="3 3 .1" pos="0 0 -.4" rgba="{look.floor} 1"/>
    <geom class="touched" type="box" size=".37 .21 .1" pos="0 .04 -.1" material="table"/>
    <geom class="touched" type="box" size=".01 .21 .0125" pos="-.36 .04 .0125" rgba="{look.rim} 1"/>
    <geom class="touched" type="box" size=".01 .21 .0125" pos=".36 .04 .0125" rgba="{look.rim} 1"/>
    <geom class="touched" type="box" size=".37 .005 .0125" pos="0 -.165 .0125" rgba="{look.rim} 1"/>
    <geom class="touched" type="box" size=".37 .01 .06" pos="0 .26 .06" rgba="{look.wall} 1"/>
    <geom class="touched" type="cylinder" size=".036 .01" pos="{BUTTON_XY[0]} {BUTTON_XY[1]} .01"
      rgba="{look.rim} 1"/>
    <geom class="touched" type="cylinder" size=".012 .015" pos="-.24 .2 .015" rgba="{look.rim} 1"/>
    <geom name="lamp" class="touched" type="sphere" size=".03" pos="-.24 .2 .05" rgba="0 0 0 1"/>
    <body name="button" pos="{BUTTON_XY[0]} {BUTTON_XY[1]} .035" gravcomp="1">
      <joint name="button" type="slide" axis="0 0 1" range="-.015 0" stiffness="60" damping="2"/>
      <geom class="moved" type="cylinder" size=".024 .012" mass=".05" rgba="{look.button} 1"/>
    </body>
    <body name="drawer">
      <joint name="drawer" type="slide" axis="0 -1 0" range="0 {DRAWER_RANGE}" frictionloss="1" damping="4"/>
      <geom class="seen" type="box" size=".13 .09 .004" pos="0 -.082 -.07" mass=".3" rgba="{look.drawer} 1"/>
      <geom class="seen" type="box" size=".13 .005 .035" pos="0 -.176 -.04" mass=".05"
        rgba="{look.drawer} 1"/>
      <geom class="seen" type="box" size=".004 .09 .03" pos="-.126 -.082 -.04" mass=".01"
        rgba="{look.drawer} 1"/>
      <geom class="seen" type="box" size=".004 .09 .03" pos=".126 -.082 -.04" mass=".01"
        rgba="{look.drawer} 1"/>
      <geom class="seen" type="box" size=".006 .022 .006" pos="-.08 -.2 -.01" mass=".01" rgba="{look.bar} 1"/>
      <geom class="seen" type="box" size=".006 .022 .006" pos=".08 -.2 -.01" mass=".01" rgba="{look.bar} 1"/>
      <geom class="moved" type="box" size=".09 .008 .025" pos="0 {BAR_CLOSED_Y} .015" mass=".05"
        rgba="{look.bar} 1"/>
    </body>{blocks}
    <body name="finger" gravcomp="1">{slides}
      <geom type="capsule" size="{FINGER_RADIUS}" fromto="0 0 0 0 0 .09" mass=".2" contype="3" conaffinity="3"
        friction=".3 .005 .0001" rgba="{look.finger} 1"/>
      <geom class="seen" type="box" size=".015 .015 .02" pos="0 0 .1" mass=".001" rgba="{look.finger} 1"/>
      <camera name="wrist" pos="0 -.09 .14" xyaxes="1 0 0 0 .85 .53" fovy="75"/>
    </body>
  </worldbody>
  <actuator>{motors}
  </actuator>
</mujoco>
"""
