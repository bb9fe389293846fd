"""SVG: stochastic video generation with a learned prior (arXiv 1802.07687).

A frame becomes a vector; an LSTM predicts the next frame's vector from it and a latent; a decoder paints the
frame, copying what stands still from the skips of a true frame. In training the latent comes from a posterior
that has seen the next frame; a prior, which has not, learns to expect it (SVG-LP) or is fixed (SVG-FP).

Follows the official code (github.com/edenton/svg); where it parts from the paper, the key names both.

Notation: x_1..x_T frames, C of them context, h_t the code of x_t. Step t reads x_t, or the model's own frame,
and z_t, and makes x^_{t+1}. The paper counts latents by the frame they explain, so its z_{t+1} is this z_t.
"""

import itertools
from collections.abc import Callable, Iterable, Iterator
from typing import Literal, NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn
from torch.optim import Optimizer

from components.clip import Clip
from components.code_predictors import CodePredictor
from components.frame_coders import FrameCoder
from components.gaussian import DiagonalGaussian, kl_divergence
from components.latent_sequences import LatentSequence
from recipes.world_model import WorldModel, pixels

Video = Float[Tensor, "b t c h w"]


class Step(NamedTuple):
    """What one step of the recurrence made; every field is of the transition to the next frame."""

    frame: Float[Tensor, "b c h w"] | None  # x^_{t+1}; None where nobody asked for it
    posterior: DiagonalGaussian | None  # q(z_t | x_2..x_{t+1}); None where x_{t+1} is not known
    prior: DiagonalGaussian  # p(z_t | x_1..x_t)


class SVG(WorldModel):
    """A frame coder, an LSTM over codes, and two Gaussian sequences, trained by the variational bound.

    beta: weight of the KL against the mean squared error.
    skips: true frame whose features the decoder copies from: `last`, the last of the context, and inside the
        context the frame before the predicted one (paper); `before_last`, one frame earlier (what the
        official loop does); `previous`, the frame before the predicted one, in a rollout the model's own
        (last_frame_skip of the official code).
    """

    def __init__(
        self,
        *,
        coder: FrameCoder,
        predictor: CodePredictor,
        posterior: LatentSequence,
        prior: LatentSequence,
        optimizer: Callable[..., Optimizer],
        beta: float,
        skips: Literal["last", "before_last", "previous"],
        context_frames: int,
        seed: int,
    ) -> None:
        super().__init__(context_frames=context_frames, seed=seed)
        self.coder, self.predictor = coder, predictor
        self.posterior, self.prior = posterior, prior
        self.optimizer, self.beta, self.skips = optimizer, beta, skips

    # --------------------------------------------------------------------------------------------- training

    def training_step(self, clip: Clip, batch_index: int) -> Tensor:
        """Teacher forcing: every step reads the true frame and a latent of the posterior."""
        real = self.gray(pixels(clip["video"]))
        steps = real.shape[1] - 1
        noise = self.random(clip, step=batch_index).normal(steps, self.predictor.latent_dim)
        made = self.unroll(real, self.context_frames, noise.unbind(1), self.conditioning(clip))
        frames, posteriors, priors = zip(*made, strict=True)
        reconstruction = F.mse_loss(torch.stack(frames, dim=1), real[:, 1:])
        kl = kl_divergence(joined(posteriors), joined(priors))
        loss = steps * (reconstruction + self.beta * kl)  # eq. (3) and its code: both are sums over time
        self.log("train/loss", loss, prog_bar=True)
        self.log_dict({"train/reconstruction": reconstruction, "train/kl": kl})
        return loss

    def unroll(
        self,
        video: Video,
        context_frames: int,
        noise: Iterable[Float[Tensor, "b z"]],
        actions: Float[Tensor, "b t a"] | None,
        first_made: int = 0,
    ) -> Iterator[Step]:
        """Yield a step for each noise: on true frames while `video` lasts, then on the model's own.

        Latents are the posterior's where the next frame is in `video`, else the prior's. Frames are painted
        from step `first_made` on, which must cover all after the video's end.
        A step at a time in training too: so batch norm sees the clips of one time, as in the official code.
        """
        known = video.shape[1]
        last_skip = {"last": context_frames - 1, "before_last": max(context_frames - 2, 0)}.get(self.skips)
        predicting, explaining, expecting = (
            part.initial_state(video) for part in (self.predictor, self.posterior, self.prior)
        )
        ahead = self.coder.encode(video[:, 0])
        for t, epsilon in enumerate(noise):
            here = ahead if t < known else self.coder.encode(frame)
            if last_skip is None or t <= last_skip:
                skips = here.skips
            action = None if actions is None else actions[:, t]
            p, expecting = self.prior.step(here.code, expecting, action=action)
            q = None
            if t + 1 < known:
                ahead = self.coder.encode(video[:, t + 1])
                q, explaining = self.posterior.step(ahead.code, explaining, action=action)
            latent = (p if q is None else q).sample(epsilon)
            code, predicting = self.predictor.step(here.code, predicting, latent=latent, action=action)
            frame = self.coder.decode(code, skips) if t >= first_made else None
            yield Step(frame, q, p)

    def configure_optimizers(self) -> list[Optimizer]:
        return [self.optimizer(self.parameters())]

    def on_before_optimizer_step(self, optimizer: Optimizer) -> None:
        gradients = [p.grad for p in self.parameters() if p.grad is not None]
        self.log("optim/grad_norm", nn.utils.get_total_norm(gradients))
        self.log("optim/lr", optimizer.param_groups[0]["lr"])

    # --------------------------------------------------------------------------------------------- sampling

    @torch.no_grad()
    def rollout(self, context: Clip, horizon: int, *, generator: torch.Generator) -> Iterator[Video]:
        """Read the context with latents of the posterior, then go on with the prior's; any horizon."""
        known = self.gray(pixels(context["video"]))
        b, c = known.shape[:2]
        shape = (b, self.predictor.latent_dim)
        noise = (
            torch.randn(shape, generator=generator, device=generator.device).to(known)
            for _ in range(c - 1 + horizon)
        )
        steps = self.unroll(known, c, noise, self.conditioning(context), first_made=c - 1)
        for step in itertools.islice(steps, c - 1, None):
            yield step.frame.expand(-1, 3, -1, -1).unsqueeze(1)

    def conditioning(self, clip: Clip) -> Float[Tensor, "b t a"] | None:
        """The clip's actions, where the predictor takes them."""
        return clip["actions"] if self.predictor.action_dim else None

    def gray(self, video: Float[Tensor, "b t 3 h w"]) -> Video:
        """The channels that the coder works in: all three, or their mean for grey data such as KTH."""
        return video if self.coder.image_channels == 3 else video.mean(dim=2, keepdim=True)


def joined(steps: Iterable[DiagonalGaussian]) -> DiagonalGaussian:
    """Gaussians of one step each as one of shape (b, t, z)."""
    return DiagonalGaussian(*(torch.stack(field, dim=1) for field in zip(*steps, strict=True)))
