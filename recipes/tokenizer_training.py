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
from jaxtyping import Float
from torch import Tensor, nn
from torch.optim import Optimizer

from components.adversarial import AdversarialLoss
from components.adversarial.adaptive_weight import adaptive_weight
from components.clip import Clip, ClipSpec
from components.discriminators import Discriminator
from components.latent_tokenizers import LatentTokenizer
from components.metrics.code_usage import CodeUsage
from components.metrics.lpips import SMALLEST as LPIPS_SMALLEST
from components.metrics.lpips import lpips, lpips_available
from components.metrics.psnr import psnr
from components.schedules import Schedule
from components.tokenizers import VideoTokenizer
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
        self.tokenizer.grid(spec.num_frames, spec.height, spec.width)
        if self.discriminator is not None and self.discriminator.num_frames > spec.num_frames:
            told = f"judges {self.discriminator.num_frames} frames, a clip has {spec.num_frames}"
            raise ValueError(f"the discriminator {told}: set its num_frames or clip.num_frames")

    @property
    def judges(self) -> list[Discriminator]:
        return [] if self.discriminator is None else [self.discriminator]

    def training_step(self, clip: Clip, batch_index: int) -> None:
        real = pixels(clip["video"])
        optimizers = self.optimizers() if self.judges else [self.optimizers()]
        self.set_learning_rate(self.learning_rate(batch_index))
        made = self.tokenizer.reconstruct(real, self.random(clip, batch_index))
        losses = {"reconstruction": self.distance(made.video, real), "waist": made.loss}
        pixel_loss = losses["reconstruction"]
        if self.weights["perceptual"] and min(real.shape[-2:]) >= LPIPS_SMALLEST and lpips_available():
            losses["perceptual"] = lpips(made.video, real).mean()
            pixel_loss = pixel_loss + self.weights["perceptual"] * losses["perceptual"]
        loss = pixel_loss + made.loss
        if self.discriminator is not None and batch_index >= self.adversarial_begin:
            judged = self.discriminator_loss(real, made.video.detach())
            self.update(optimizers[1], judged)
            losses["discriminator"] = judged
            losses["adversarial"] = self.adversarial.generator(self.logits(made.video))
            weight = adaptive_weight(pixel_loss, losses["adversarial"], self.tokenizer.last_layer)
            loss = loss + self.weights["adversarial"] * weight * losses["adversarial"]
            self.log("train/adaptive_weight", weight)
        self.update(optimizers[0], loss)
        self.log("train/loss", loss, prog_bar=True)
        self.log_dict({f"train/{name}": value for name, value in losses.items()})

    def discriminator_loss(self, real: Tensor, fake: Tensor) -> Tensor:
        return self.adversarial.discriminator(*self.logits(torch.cat([real, fake])).chunk(2))

    def logits(self, video: Float[Tensor, "b t 3 h w"]) -> Tensor:
        """Of the first piece as long as the discriminator judges; every frame where that is one."""
        length = self.discriminator.num_frames
        pieces = video.flatten(0, 1).unsqueeze(1) if length == 1 else video[:, :length]
        return self.discriminator(pieces)[0]

    def update(self, optimizer: Optimizer, loss: Tensor) -> None:
        optimizer.zero_grad()
        self.manual_backward(loss)
        optimizer.step()

    def configure_optimizers(self) -> list[Optimizer]:
        modules: list[nn.Module] = [self.tokenizer, *self.judges]
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
