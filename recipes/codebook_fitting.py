"""Codes of the history, fitted to latents before the model trains on a history made of them."""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.optim import Optimizer

from components.clip import Clip, ClipSpec
from components.history_codes import HistoryCodes
from components.latent_tokenizers import LatentTokenizer
from recipes.stage import Stage
from recipes.world_model import pixels


class CodebookFitting(Stage):
    """Each step shows the codes one batch of latents, from the cache or made here; nothing has a gradient.

    val/unexplained: squared distance of latents from their codes, over that from their own mean.
    """

    def __init__(
        self, *, tokenizer: LatentTokenizer, history_codes: Callable[..., HistoryCodes], seed: int
    ) -> None:
        super().__init__(seed=seed)
        self.automatic_optimization = False
        self.tokenizer = tokenizer.requires_grad_(False).eval()
        self.history_codes = history_codes(channels=tokenizer.channels)
        self.idle = torch.nn.Parameter(torch.zeros(1))  # of an optimiser whose steps are counted

    def check_fits(self, spec: ClipSpec) -> None:
        for size in spec.sizes():
            self.tokenizer.grid(*size)

    def training_step(self, clip: Clip, batch_index: int) -> None:
        distance = self.history_codes.learn(self.latents(clip))
        self.log("train/loss", distance, prog_bar=True)
        self.optimizers().step()  # type: ignore[union-attr]

    def validation_step(self, clip: Clip, batch_index: int) -> None:
        z = self.latents(clip)
        spread = (z - z.mean(dim=(0, 1, 3, 4), keepdim=True)).square().mean()
        unexplained = (z - self.history_codes(z)).square().mean() / spread
        self.log("val/unexplained", unexplained, batch_size=len(z), sync_dist=True, prog_bar=True)

    def typical_step(self, clip: Clip) -> Tensor:
        return self.history_codes(self.latents(clip)).mean() + self.idle.sum()

    @torch.no_grad()
    def latents(self, clip: Clip) -> Tensor:
        return clip["latents"] if "latents" in clip else self.tokenizer.encode(pixels(clip["video"]))

    def configure_optimizers(self) -> Optimizer:
        return torch.optim.SGD([self.idle], lr=0.0)

    def train(self, mode: bool = True) -> "CodebookFitting":
        super().train(mode)
        self.tokenizer.eval()
        return self
