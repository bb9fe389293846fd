"""Curves as a picture for TensorBoard."""

from typing import Any

import torch
from jaxtyping import Float, UInt8
from torch import Tensor


def draw_curves(
    curves: dict[str, Float[Tensor, " t"]], *, title: str, x: str, y: str
) -> UInt8[Tensor, "3 h w"]:
    """One line a name over 1..t, with a legend."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6, 4), dpi=100, layout="constrained")
    axes = figure.add_subplot()
    for name, values in curves.items():
        axes.plot(range(1, len(values) + 1), values.tolist(), label=name)
    axes.set(title=title, xlabel=x, ylabel=y)
    axes.grid(alpha=0.3)
    axes.legend()
    return as_image(figure)


def as_image(figure: Any) -> UInt8[Tensor, "3 h w"]:
    """A figure of matplotlib as pixels, without a screen."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    image = torch.frombuffer(bytearray(canvas.buffer_rgba()), dtype=torch.uint8)
    width, height = canvas.get_width_height()
    return image.view(height, width, 4)[..., :3].permute(2, 0, 1).contiguous()
