"""Pictures of Go boards, in the style of Video-GoBench."""

import math

import numpy as np
from jaxtyping import Int8, UInt8

from datamodules import SourceError
from datamodules.go.rules import BLACK, WHITE

ORANGE = (255, 165, 0)
RADIUS = 0.45  # of a stone, over the distance of lines
MARGIN = 0.4  # of that distance, around the outer lines: as in Video-GoBench, stones there may lose their rim


class Renderer:
    """Boards to pictures: black lines one pixel wide on orange, discs with soft edges, nothing else.

    Video-GoBench's pictures are size=9, side=256, cell=29: its lines lie at 12 + 29 i pixels
    (VideoWorld, arXiv 2501.09781, and the released drawing code).

    Args:
        size: points along a side.
        side: pixels of the picture, which is square.
        cell: pixels from line to line.

    centres: pixel of each line, of rows and of columns alike; the first pixel's centre is at 0.
    ground: the empty board, float32 (3, side, side).

    Raises: SourceError where stones would not fit into the picture, or be too small to see.
    """

    def __init__(self, *, size: int, side: int, cell: int) -> None:
        first = (side - (size - 1) * cell) // 2
        if cell < 3 or first < MARGIN * cell:
            most = max((c for c in range(side) if (side - (size - 1) * c) // 2 >= MARGIN * c), default=0)
            advice = f"give a cell of 3 to {most}" if most >= 3 else "give a larger picture"
            raise SourceError(f"go: {size} lines every {cell} pixels on {side}x{side} pixels; {advice}")
        self.size, self.side, self.cell = size, side, cell
        self.centres = first + cell * np.arange(size)
        on_line = np.zeros((side, side), dtype=bool)
        span = slice(self.centres[0], self.centres[-1] + 1)
        on_line[self.centres, span] = on_line[span, self.centres] = True
        self.ground = np.where(on_line, 0, np.array(ORANGE)[:, None, None]).astype(np.float32)
        self._lay_out()

    def __call__(self, boards: Int8[np.ndarray, "n s s"]) -> UInt8[np.ndarray, "n 3 side side"]:
        stones = boards.reshape(len(boards), -1)
        black, white = (np.zeros((len(boards), self.side**2), dtype=np.float32) for _ in range(2))
        for point, cover in self._layers:
            here = stones.take(point, axis=1)
            black += cover * (here == BLACK)
            white += cover * (here == WHITE)
        pictures = (1 - black - white)[:, None] * self.ground.reshape(3, -1)
        pictures += (255 * white + 0.5)[:, None]
        return pictures.astype(np.uint8).reshape(-1, 3, self.side, self.side)

    def _lay_out(self) -> None:
        """Which point's stone covers a pixel, and how much of it.

        Soft edges of neighbours may share a pixel, those of points of one colour of a chequerboard never do:
        two layers hold all.
        """
        radius = RADIUS * self.cell
        reach = math.ceil(radius + 0.5)
        points = np.zeros((2, self.side, self.side), dtype=np.intp)
        covers = np.zeros((2, self.side, self.side), dtype=np.float32)
        for row, y in enumerate(self.centres):
            for column, x in enumerate(self.centres):
                layer = (row + column) % 2
                rows = np.arange(max(y - reach, 0), min(y + reach + 1, self.side))
                columns = np.arange(max(x - reach, 0), min(x + reach + 1, self.side))
                disc = (radius + 0.5 - np.hypot(rows[:, None] - y, columns - x)).clip(0, 1)
                place = (layer, *np.ix_(rows, columns))
                points[place] = np.where(disc > 0, row * self.size + column, points[place])
                covers[place] = np.where(disc > 0, disc, covers[place])
        self._layers = list(zip(points.reshape(2, -1), covers.reshape(2, -1), strict=True))
