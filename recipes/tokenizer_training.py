"""The training of a video tokenizer, into codes or latents: the stage before every recipe that models these.

Reconstruction, a perceptual distance, a patch discriminator whose weight balances its gradient against the
reconstruction's at the last layer, and what the waist itself asks for: the quantiser's loss, or the weighted
divergence of a variational autoencoder. Source: VQGAN (arXiv 2012.09841, eqs. 4-7);
MAGVIT-v2, Loong, VideoWorld and the weights behind LWM were trained in variations of it.
"""

from collections.abc import Callable
from typing import ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim import Optimizer

from components.adversarial import AdversarialLoss
from components.clip import Clip, ClipSpec
from components.discriminators import Discriminator
from components.latent_tokenizers import LatentTokenizer
from components.metrics.code_usage import CodeUsage
from components.metrics.psnr import psnr
from components.schedules import Schedule
from components.tokenizers import VideoTokenizer
from recipes.reconstruction import check_discriminator, reconstruction_step
from recipes.stage import Stage
from recipes.world_model import pixels


class TokenizerTraining(Stage):
    """Train `tokenizer` to give clips back.

    discriminator: judges single frames or pieces; None = no adversarial loss.
    weights: of `perceptual` (where LPIPS weights are installed) and `adversarial`, times the adaptive weight.
    adversarial_begin: step from which the discriminator counts; it trains from there on too.
    """

    sharded_calls: ClassVar = {"tokenizer": ("reconstruct", "encode", "decode")}
    automatic_optimization = False  # two optimisers, the tokenizer's step after the discriminator's

    def __init__(
        self,
        *,
        tokenizer: VideoTokenizer | LatentTokenizer,
        discriminator: Discriminator | None,
        adversarial: AdversarialLoss,
        optimizer: Callable[..., Optimizer],
        learning_rate: Schedule,
        reconstruction: Literal["l1", "l2"],
        weights: dict[str, float],
        adversarial_begin: int,
        seed: int,
    ) -> None:
        super().__init__(seed=seed)
        self.tokenizer, self.discriminator, self.adversarial = tokenizer, discriminator, adversarial
        self.optimizer, self.learning_rate = optimizer, learning_rate
        self.distance = {"l1": F.l1_loss, "l2": F.mse_loss}[reconstruction]
        self.weights, self.adversarial_begin = weights, adversarial_begin
        coded = isinstance(tokenizer, VideoTokenizer)
        self.usage = CodeUsage(codebook_size=tokenizer.codebook_size) if coded else None

    def check_fits(self, spec: ClipSpec) -> None:
        for size in spec.sizes():
            self.tokenizer.grid(*size)
        check_discriminator(self.discriminator, spec)

    def training_step(self, clip: Clip, batch_index: int) -> None:
        self.set_learning_rate(self.learning_rate(batch_index))
        real = pixels(clip["video"])
        made = self.tokenizer.reconstruct(real, self.random(clip, batch_index))
        losses = reconstruction_step(
            self, made.video, real, made.loss, self.tokenizer.last_layer, batch_index
        )
        self.log("train/loss", losses.pop("loss"), prog_bar=True)
        self.log_dict({f"train/{name}": value for name, value in losses.items()})

    def configure_optimizers(self) -> list[Optimizer]:
        judges = [] if self.discriminator is None else [self.discriminator]
        modules: list[nn.Module] = [self.tokenizer, *judges]
        return self.with_initial_rate([self.optimizer(module.parameters()) for module in modules])

    def validation_step(self, clip: Clip, batch_index: int) -> None:
        """Log what comes back, and how many codes it took or how far latents are from unit variance."""
        real = pixels(clip["video"])
        coded = self.tokenizer.encode(real)
        if self.usage is not None:
            self.usage.update(coded)
        else:
            self.log_validation("latent_std", coded.std(dim=(1, 2, 3, 4)))
        self.log_validation("psnr", psnr(self.tokenizer.decode(coded), real), bar=True)

    def on_validation_epoch_end(self) -> None:
        if self.usage is not None:
            self.log_dict({f"val/code_{name}": value for name, value in self.usage.compute().items()})
            self.usage.reset()

    @torch.no_grad()
    def show(self, clip: Clip, samples: int, generator: torch.Generator) -> dict[str, Tensor]:
        """The truth and what comes back from its codes or latents."""
        return {
            "truth": clip["video"],
            "reconstructed": self.tokenizer.decode(self.tokenizer.encode(pixels(clip["video"]))),
        }
