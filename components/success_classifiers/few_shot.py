"""A classifier that one gradient step on a few successes adapts to a task (MAML with positives only)."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn
from torch.func import functional_call

from components.success_classifiers import Weights


def soft_argmax(maps: Float[Tensor, "n c h w"], temperature: float = 1.0) -> Float[Tensor, "n c 2"]:
    """The expected row and column of the softmax of each map over its temperature, each in [-1, 1].

    Source: deep spatial autoencoders (arXiv 1509.06113), the spatial softmax.
    """
    places = (maps / temperature).flatten(2).softmax(dim=2).view_as(maps)
    rows, columns = (torch.linspace(-1, 1, size).to(maps) for size in maps.shape[2:])
    return torch.stack([places.sum(3) @ rows, places.sum(2) @ columns], dim=2)


class FewShotClassifier(nn.Module):
    """Convolutions 3x3, where their features are, two linear layers; one step adapts all of it to a task.

    widths, strides: channels and stride of each convolution; layer norm over a whole picture and ReLU follow.
    temperature: of the softmax that finds where a feature is. Where it is high all places count, so that
    features hardly move at first and learning begins late. dim: of the hidden layer. step_size: of the inner
    step. gradient_clip: bound of each number of the inner gradient.
    Raises ValueError for as many strides as there are not widths, and for a temperature, a step or a bound
    that is not above 0.
    Source: few-shot goal inference (Xie et al. 2018, arXiv 1810.00482) and its official code: three layers of
    32, hidden 40, one step of size 1, gradients clipped to 80, second order. Its first layer may be VGG's,
    which this has not.
    """

    def __init__(
        self,
        *,
        widths: Sequence[int] = (32, 32, 32),
        strides: Sequence[int] = (1, 1, 1),
        temperature: float = 1.0,
        dim: int = 40,
        step_size: float = 1.0,
        gradient_clip: float = 80.0,
    ) -> None:
        super().__init__()
        if len(widths) != len(strides) or not widths:
            told = f"{len(widths)} widths and {len(strides)} strides"
            raise ValueError(f"{told}; give one of each for every convolution, at least one")
        if min(temperature, step_size, gradient_clip) <= 0:
            told = f"temperature is {temperature:g}, step_size {step_size:g}, gradient_clip {gradient_clip:g}"
            raise ValueError(f"{told}; give more than 0")
        self.temperature = temperature
        self.step_size, self.gradient_clip = step_size, gradient_clip
        layers: list[nn.Module] = []
        for before, after, stride in zip([3, *widths], widths, strides, strict=False):
            layers += [nn.Conv2d(before, after, 3, stride=stride, padding=1), nn.GroupNorm(1, after)]
            layers += [nn.ReLU()]
        self.features = nn.Sequential(*layers)
        self.head = nn.Sequential(nn.Linear(2 * widths[-1], dim), nn.ReLU(), nn.Linear(dim, 2))

    def forward(
        self, successes: Float[Tensor, "b k 3 h w"], frames: Float[Tensor, "b n 3 h w"]
    ) -> Float[Tensor, "b n 2"]:
        """Logits of the frames of each task after its own inner step, through which gradients flow."""
        tasks = zip(successes, frames, strict=True)
        return torch.stack([self.logits(seen, self.adapted(shown)) for shown, seen in tasks])

    def weights(self) -> Weights:
        """Its own, by name."""
        return dict(self.named_parameters())

    def adapted(self, successes: Float[Tensor, "k 3 h w"]) -> Weights:
        """theta - step_size * clipped gradient of the cross-entropy of calling every picture a success.

        Differentiable by theta, to second order, where gradients are on. What does not train stays as it is.
        """
        own = self.weights()
        training = {name: weight for name, weight in own.items() if weight.requires_grad}
        through = torch.is_grad_enabled()
        with torch.inference_mode(False), torch.enable_grad():
            shown = successes.clone()  # what was made in inference mode has no gradients
            gradients = torch.autograd.grad(
                self._loss(own, shown), list(training.values()), create_graph=through
            )
        steps = {
            name: self.step_size * gradient.clamp(-self.gradient_clip, self.gradient_clip)
            for name, gradient in zip(training, gradients, strict=True)
        }
        return {name: weight - steps[name] if name in steps else weight for name, weight in own.items()}

    def logits(
        self, frames: Float[Tensor, "n 3 h w"], weights: Weights | None = None
    ) -> Float[Tensor, "n 2"]:
        """Of failure and success. weights: as `adapted` gives them; None = its own."""
        own = self.weights() if weights is None else weights
        features = functional_call(self.features, _part(own, "features"), (2.0 * frames - 1.0,))
        places = soft_argmax(features, self.temperature).flatten(1)
        return functional_call(self.head, _part(own, "head"), (places,))

    def _loss(self, weights: Weights, successes: Float[Tensor, "k 3 h w"]) -> Float[Tensor, ""]:
        logits = self.logits(successes, weights)
        return F.cross_entropy(logits, torch.ones(len(logits), dtype=torch.long, device=logits.device))


def _part(weights: Weights, name: str) -> Weights:
    """Those of one child, by its own names."""
    return {key.removeprefix(f"{name}."): w for key, w in weights.items() if key.startswith(f"{name}.")}
