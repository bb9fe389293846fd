"""Maps of what codes are made of: every clip a point, coloured by what is known of it."""

from importlib.util import find_spec

import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from evaluation.curves import as_image

COLOURED = 10  # most frequent whole numbers that get a colour each
BINS = 20
PERPLEXITY = 30.0  # of t-SNE; the released code has 100, for more clips than a small run has
SEED = 0


def principal(features: Float[Tensor, "n d"]) -> Float[Tensor, "n 2"]:
    """Coordinates along the two directions of largest variance; a direction's largest weight is positive."""
    centred = features.double() - features.double().mean(dim=0)
    directions = torch.linalg.svd(centred, full_matrices=False).Vh[:2]
    largest = directions.gather(1, directions.abs().argmax(dim=1, keepdim=True))
    found = centred @ (directions * largest.sign()).T
    return torch.nn.functional.pad(found, (0, 2 - found.shape[1])).float()  # of fewer than 2 dimensions


def flattened(features: Float[Tensor, "n d"]) -> tuple[str, Float[Tensor, "n 2"]]:
    """Two dimensions and how they were found: t-SNE where scikit-learn is installed, else principal ones."""
    if find_spec("sklearn") is None or len(features) <= 3 * PERPLEXITY:
        return "principal components", principal(features)
    from sklearn.manifold import TSNE

    tsne = TSNE(init="pca", perplexity=PERPLEXITY, random_state=SEED)
    return "t-SNE", torch.from_numpy(tsne.fit_transform(features.double().numpy())).float()


def draw_maps(
    places: list[Float[Tensor, "n 2"]], known: list[Float[Tensor, " n"]], *, how: str, title: str
) -> UInt8[Tensor, "3 h w"]:
    """A map for each code, side by side.

    known: of each map's points, a number to colour them by. Whole numbers are names, the most frequent of
    which get colours of their own; others get one of 20 bins between their 1st and 99th percentile.
    how: the coordinates were found.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(4.2 * len(places), 4.2), dpi=100, layout="constrained")
    for number, (points, values) in enumerate(zip(places, known, strict=True), start=1):
        axes = figure.add_subplot(1, len(places), number)
        axes.set(title=f"code {number}", xticks=[], yticks=[])
        if torch.equal(values, values.round()):
            names, counts = values.unique(return_counts=True)
            shown = names[counts.argsort(descending=True, stable=True)[:COLOURED]]
            rest = ~torch.isin(values, shown)
            axes.scatter(*points[rest].T.tolist(), s=6, color="0.85")
            for colour, name in enumerate(shown.sort().values.tolist()):
                chosen = points[values == name]
                axes.scatter(*chosen.T.tolist(), s=6, color=f"C{colour}", label=f"{name:g}")
            axes.legend(markerscale=2, fontsize="x-small")
        else:
            low, high = (float(values.quantile(q)) for q in (0.01, 0.99))
            bins = ((values - low) / max(high - low, 1e-9) * BINS).floor().clamp(0, BINS - 1)
            middles = low + (bins + 0.5) * (high - low) / BINS
            points_drawn = axes.scatter(*points.T.tolist(), s=6, c=middles.tolist(), cmap="viridis")
            figure.colorbar(points_drawn, ax=axes, shrink=0.7)
    figure.suptitle(f"{title} ({how})")
    return as_image(figure)
