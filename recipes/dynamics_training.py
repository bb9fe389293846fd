"""The training of latent dynamics: frames are given back from the first of them and a few codes.

It begins as that of an autoencoder, then true features give way to codes. Source: VideoWorld
(arXiv 2501.09781), section 3.2 with squared error alone; the released code adds a perceptual distance and a
discriminator, and begins from an autoencoder of natural images.
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
from components.latent_dynamics import LatentDynamics
from components.latent_dynamics.frames_ahead import frames_ahead
from components.metrics.code_usage import CodeUsage
from components.metrics.psnr import psnr
from components.schedules import Schedule
from recipes.reconstruction import check_discriminator, reconstruction_step
from recipes.stage import Stage
from recipes.world_model import pixels


class DynamicsTraining(Stage):
    """Train `dynamics` to give frames 0 to H of clips back.

    discriminator: judges single frames or pieces; None = no adversarial loss.
    weights: of `perceptual` (where LPIPS weights are installed) and `adversarial`, times the adaptive weight.
    autoencoder_steps: first steps, that train without codes.
    adversarial_begin: step from which the discriminator counts; it trains from there on too.
    """

    sharded_calls: ClassVar = {"dynamics": ("reconstruct", "autoencode", "encode", "features", "decode")}
    automatic_optimization = False  # two optimisers, the dynamics' step after the discriminator's
    context_frames = 1

    def __init__(
        self,
        *,
        dynamics: LatentDynamics,
        discriminator: Discriminator | None,
        adversarial: AdversarialLoss,
        optimizer: Callable[..., Optimizer],
        learning_rate: Schedule,
        reconstruction: Literal["l1", "l2"],
        weights: dict[str, float],
        autoencoder_steps: int,
        adversarial_begin: int,
        seed: int,
    ) -> None:
        super().__init__(seed=seed)
        self.dynamics, self.discriminator, self.adversarial = dynamics, discriminator, adversarial
        self.optimizer, self.learning_rate = optimizer, learning_rate
        self.distance = {"l1": F.l1_loss, "l2": F.mse_loss}[reconstruction]
        self.weights = weights
        self.autoencoder_steps, self.adversarial_begin = autoencoder_steps, adversarial_begin
        self.usage = CodeUsage(codebook_size=dynamics.codebook_size)
        self.usages = nn.ModuleList(
            CodeUsage(codebook_size=dynamics.codebook_size) for _ in range(dynamics.num_codes)
        )

    def check_fits(self, spec: ClipSpec) -> None:
        factor = getattr(self.dynamics, "factor", 1)
        for frames, height, width in spec.sizes():
            if frames < 2:
                raise ValueError(
                    "a clip of one frame has no change to learn from: set clip.num_frames to more"
                )
            if height % factor or width % factor:
                told = f"a clip has frames of {height}x{width}, the dynamics takes multiples of {factor}"
                raise ValueError(f"{told}: set clip.height and clip.width, or other widths or patch")
        check_discriminator(self.discriminator, spec)

    def training_step(self, clip: Clip, batch_index: int) -> None:
        self.set_learning_rate(self.learning_rate(batch_index))
        real = frames_ahead(pixels(clip["video"]), self.dynamics.horizon)
        coded = batch_index >= self.autoencoder_steps
        make = self.dynamics.reconstruct if coded else self.dynamics.autoencode
        made = make(real, self.random(clip, batch_index))
        losses = reconstruction_step(self, made.video, real, made.loss, self.dynamics.last_layer, batch_index)
        self.log("train/loss", losses.pop("loss"), prog_bar=True)
        self.log_dict({f"train/{name}": value for name, value in losses.items()})

    def typical_step(self, clip: Clip) -> Tensor | None:
        return self.training_step(clip, self.autoencoder_steps)

    def configure_optimizers(self) -> list[Optimizer]:
        judges = [] if self.discriminator is None else [self.discriminator]
        modules: list[nn.Module] = [self.dynamics, *judges]
        return self.with_initial_rate([self.optimizer(module.parameters()) for module in modules])

    def validation_step(self, clip: Clip, batch_index: int) -> None:
        """Log how near frames decoded from codes come, beside the first frame itself, and count codes."""
        video = pixels(clip["video"])
        codes = self.dynamics.encode(video)
        for usage, column in zip(self.usages, codes.unbind(1), strict=True):
            usage.update(column)
        self.usage.update(codes)
        truth = video[:, 1 : 1 + self.dynamics.horizon]
        decoded = self.dynamics.decode(video[:, 0], codes)[:, : truth.shape[1]]
        self.log_validation("psnr", psnr(decoded, truth), bar=True)
        self.log_validation("psnr_copy_last", psnr(video[:, :1].expand_as(truth), truth))

    def on_validation_epoch_end(self) -> None:
        """Log how much of the codebook is in use; distinct codes that stay at one say nothing of a change."""
        self.log_dict({f"val/code_{name}": value for name, value in self.usage.compute().items()})
        for number, usage in enumerate(self.usages, start=1):
            distinct = usage.compute()["usage"] * self.dynamics.codebook_size
            self.log(f"val/distinct_codes_{number}", distinct)
        for usage in [self.usage, *self.usages]:
            usage.reset()

    @torch.no_grad()
    def show(self, clip: Clip, samples: int, generator: torch.Generator) -> dict[str, Tensor]:
        """The truth, and frames decoded from the first one and its codes."""
        video = clip["video"][:, : 1 + self.dynamics.horizon]
        known = pixels(video)
        decoded = self.dynamics.decode(known[:, 0], self.dynamics.encode(known))[:, : video.shape[1] - 1]
        return {"truth": video, "decoded from codes": torch.cat([known[:, :1], decoded], dim=1)}
