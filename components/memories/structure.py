"""The names of kernel structures: f1k1_x_g9_f1k1f2k2f16k4_td."""

import re
from typing import Any, Literal, NamedTuple

ITEM = re.compile(r"f(?P<frames>\d+)k(?P<kernel>\d+)(?:h(?P<height>\d+)w(?P<width>\d+))?")
TAILS = ("td", "ta", "tc")  # dropped, appended, compressed


class Item(NamedTuple):
    """Frames of the context, and the patch size that they are cut with: (k, 2k, 2k)."""

    frames: int
    kernel: int


class Structure(NamedTuple):
    """What stands around the section, in the order of time: start, history, section, history, end.

    history: on one side of the section. start, end: single known frames, far off; None: none.
    gap: what the frames left out behind the start, x, stand before; None: nothing is ever left out there.
    tail: what becomes of frames older than the history.
    """

    start: Item | None
    history: tuple[Item, ...]
    side: Literal["before", "after"]
    section: int
    end: Item | None
    gap: Literal["history", "section"] | None
    tail: Literal["td", "ta", "tc"]


def parse(text: str) -> Structure:
    """Read a structure: parts joined by _, in the order of time.

    g9: the section, 9 frames. f1k1f2k2f16k4: frames and their patch sizes, also f16k4h8w8. x: any number of
    frames left out; what stands beyond it is one known frame. td: frames older than the history are dropped;
    it may also be left unsaid.
    Raises ValueError, one line, for anything else.
    Source: FramePack (arXiv 2504.12626), names of the kernel structures.
    """
    parts = text.split("_")
    for part in parts:
        if part.endswith("+D"):
            raise ValueError(f"{text}: +D (discretised history) is no part of a structure; leave it out")
    tails = [part for part in parts if part in TAILS]
    if len(tails) > 1 or any(part in TAILS for part in parts[1:-1]):
        raise ValueError(f"{text}: {tails[0]} stands once, at the beginning or at the end")
    tail: Any = tails[0] if tails else "td"
    parts = [part for part in parts if part not in TAILS]
    sections = [place for place, part in enumerate(parts) if re.fullmatch(r"g[1-9]\d*", part)]
    if len(sections) != 1:
        raise ValueError(f"{text}: needs one section, such as g9; it has {len(sections)}")
    place = sections[0]
    before, start = _side(text, parts[:place][::-1])
    after, end = _side(text, parts[place + 1 :])
    if before and after:
        raise ValueError(f"{text}: history on both sides of the section; write x before what is far off")
    gap: Literal["history", "section"] | None = None
    if start is not None:
        gap = "history" if before else "section"
    return Structure(
        start=start,
        history=tuple(before or after),
        side="after" if after else "before",
        section=int(parts[place][1:]),
        end=end,
        gap=gap,
        tail=tail,
    )


def _side(text: str, parts: list[str]) -> tuple[list[Item], Item | None]:
    """What stands on one side of the section: history, and the frame beyond x.

    parts: read away from the section. The items of a part stay in the order of time.
    """
    near = parts[: parts.index("x")] if "x" in parts else parts
    far = parts[len(near) + 1 :]
    if len(near) > 1:
        raise ValueError(f"{text}: {'_'.join(near)} beside the section; join them, such as f16k4f2k2f1k1")
    history = [item for part in near for item in _items(text, part)]
    beyond = [item for part in far for item in _items(text, part)]
    if len(beyond) > 1 or (beyond and beyond[0].frames != 1) or ("x" in parts and not beyond):
        raise ValueError(f"{text}: beyond x stands one frame, such as f1k1")
    return history, beyond[0] if beyond else None


def _items(text: str, part: str) -> list[Item]:
    items, place = [], 0
    while place < len(part):
        match = ITEM.match(part, place)
        numbers = {name: int(value) for name, value in match.groupdict().items() if value} if match else {}
        kernel = numbers.get("kernel", 0)
        if not match or kernel < 1 or numbers["frames"] < 1:
            raise ValueError(f"{text}: {part[place:]} is no item; write such as f16k4: 16 frames, kernel 4")
        sides = {numbers.get(side, 2 * kernel) for side in ("height", "width")}
        if kernel & (kernel - 1) or sides != {2 * kernel}:
            raise ValueError(
                f"{text}: {match[0]}: kernels are powers of two, with patches of (k, 2k, 2k): k2 is k2h4w4"
            )
        items.append(Item(numbers["frames"], kernel))
        place = match.end()
    return items
