"""SAVP: stochastic adversarial video prediction (arXiv 1804.01523).

A VAE covers the modes of the future but blurs; a GAN is sharp but ignores its latents. One generator is
trained with L1 + KL on samples from the posterior and with two video discriminators, one for samples from
the prior and one for samples from the posterior.

Follows the official code (github.com/alexlee-gk/video_prediction); where its two histories differ, the
switch names both: `paper` is the code of April 2018, `master` that of January 2019.

Notation: x_1..x_T frames, C of them context. Step t feeds x_t, or the model's own frame, and z_t, and makes
x^_{t+1}; so tensors of predictions have T-1 frames and start with x^_2.
"""

import itertools
from collections.abc import Callable, Iterator
from typing import Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn
from torch.optim import Optimizer

from components.adversarial import AdversarialLoss
from components.adversarial.feature_matching import feature_matching
from components.backbones import FrameGenerator, FramePrediction
from components.backbones.unroll import unroll
from components.clip import Clip, ClipSpec
from components.discriminators import Discriminator
from components.discriminators.pieces import pieces
from components.gaussian import kl_divergence
from components.posteriors import Posterior
from components.priors import Prior
from components.randomness import ClipRandom
from components.schedules import Schedule
from recipes.world_model import WorldModel, pixels

Video = Float[Tensor, "b t c h w"]


class SAVP(WorldModel):
    """One recurrent generator, judged by reconstruction, KL and two discriminators.

    Ablations are overrides: no discriminator = VAE; kl 0 and no posterior discriminator = GAN; no latent and
    no posterior = deterministic.
    """

    automatic_optimization = (
        False  # two optimisers, the generator's step after and against the discriminators'
    )

    def __init__(
        self,
        *,
        generator: FrameGenerator,
        posterior: Posterior | None,
        prior: Prior | None,
        prior_discriminator: Discriminator | None,
        posterior_discriminator: Discriminator | None,
        adversarial: AdversarialLoss,
        optimizer: Callable[..., Optimizer],
        learning_rate: Schedule,
        kl_weight: Schedule,
        truth_probability: Schedule,
        reconstruction: Literal["l1", "l2"],
        weights: dict[str, float],
        reconstruct_context: bool,
        context_latents: Literal["posterior", "prior"],
        posterior_begin: int,
        same_clip_start: bool,
        context_frames: int,
        seed: int,
    ) -> None:
        super().__init__(context_frames=context_frames, seed=seed)
        if posterior is not None and prior is None:
            raise ValueError("a posterior needs a prior to be close to: set model.prior")
        if posterior is not None and context_latents == "posterior" and not posterior.pairs_only:
            raise ValueError("this posterior sees the whole clip: set model.context_latents=prior")
        self.generator, self.posterior, self.prior = generator, posterior, prior
        self.prior_discriminator = prior_discriminator
        self.posterior_discriminator = posterior_discriminator
        self.adversarial = adversarial
        self.optimizer = optimizer
        self.learning_rate, self.kl_weight, self.truth_probability = (
            learning_rate,
            kl_weight,
            truth_probability,
        )
        self.distance = {"l1": F.l1_loss, "l2": F.mse_loss}[reconstruction]
        self.weights = weights  # of every part of the generator's loss but KL, which has a schedule
        self.reconstruct_context = reconstruct_context
        self.context_latents, self.posterior_begin = context_latents, posterior_begin
        self.same_clip_start = same_clip_start

    def check_fits(self, spec: ClipSpec) -> None:
        super().check_fits(spec)
        for name, judge in self.judges.items():
            if judge.num_frames > spec.num_frames - 1:
                told = f"judges {judge.num_frames} frames, a clip gives {spec.num_frames - 1} predictions"
                raise ValueError(f"{name}_discriminator {told}: set its num_frames or clip.num_frames")

    # --------------------------------------------------------------------------------------------- training

    def training_step(self, clip: Clip, batch_index: int) -> None:
        """Discriminators first, then the generator, on the same frames, against the updated ones."""
        random = self.random(clip, step=batch_index)
        real = self.gray(pixels(clip["video"]))
        optimizers = [self.optimizers()] if self.judges == {} else self.optimizers()
        self.set_learning_rate(self.learning_rate(batch_index))
        fake, losses = self.passes(clip, real, random, batch_index)
        starts = {name: self.draw_starts(judge, real, random) for name, judge in self.judges.items()}
        if self.judges:
            judged = {
                name: self.discriminator_loss(name, real, fake[name], starts[name]) for name in self.judges
            }
            self.update(optimizers[1], sum(judged.values()), self.judges.values(), "grad_norm_discriminator")
            self.log_dict({f"train/discriminator_{name}": loss for name, loss in judged.items()})
            for name in self.judges:
                losses |= self.generator_losses(name, real, fake[name], starts[name])

        weights = self.weights | {"kl": self.kl_weight(batch_index)}
        loss = sum(weights[name] * value for name, value in losses.items())
        self.update(optimizers[0], loss, self.players, "grad_norm")
        self.log("train/loss", loss, prog_bar=True)
        self.log_dict({f"train/{name}": value for name, value in losses.items()})
        self.log_dict({
            "schedule/kl_weight": weights["kl"],
            "schedule/truth_probability": self.truth_probability(batch_index),
        })  # fmt: skip

    def passes(
        self, clip: Clip, real: Video, random: ClipRandom, step: int
    ) -> tuple[dict[str, Video], dict[str, Tensor]]:
        """Roll out with latents of the posterior and of the prior; the losses that need no discriminator.

        Both rollouts run as one batch: every operation of the generator is per clip.
        """
        b, t, c = real.shape[0], real.shape[1] - 1, self.context_frames
        actions, states = self.conditioning(clip)
        losses, latents = {}, {"prior": None}
        if self.prior is not None:
            prior = self.prior(real[:, :c], t, None if actions is None else actions[:, : c - 1])
            latents["prior"] = prior.sample(random.normal(t, self.prior.latent_dim))
        if self.posterior is not None and step >= self.posterior_begin:
            posterior = self.posterior(real, actions)
            latents["posterior"] = posterior.sample(random.normal(t, self.prior.latent_dim))
            losses["kl"] = kl_divergence(posterior, prior)
            if self.context_latents == "posterior":  # both frames of these pairs are context: nothing leaks
                both = latents["posterior"][:, : c - 1], latents["prior"][:, c - 1 :]
                latents["prior"] = torch.cat(both, dim=1)
            if self.prior_discriminator is None:
                del latents["prior"]  # nothing judges these samples
        n = len(latents)
        truth = random.uniform(n, t) < self.truth_probability(step)  # scheduled sampling
        truth[:, :, :c] = True
        predictions = unroll(
            self.generator,
            torch.cat([real] * n),
            t,
            latents=None if self.prior is None else torch.cat(list(latents.values())),
            actions=None if actions is None else torch.cat([actions] * n),
            states=None if states is None else torch.cat([states] * n),
            truth=torch.cat(truth.unbind(1)),
        )
        frames, states_ahead, regulariser = zip(
            *((p.frame, p.proprioception, p.regulariser) for p in predictions), strict=True
        )
        fake = dict(zip(latents, torch.stack(frames, dim=1).split(b), strict=True))
        reconstructed = fake["posterior"] if "posterior" in fake else fake["prior"]
        first = 0 if self.reconstruct_context else c - 1
        losses["reconstruction"] = self.distance(reconstructed[:, first:], real[:, 1 + first :])
        losses["regulariser"] = torch.stack(regulariser).mean()
        if states is not None:
            losses["state"] = F.mse_loss(torch.stack(states_ahead, dim=1), torch.cat([states[:, 1:]] * n))
        return fake, losses

    # ------------------------------------------------------------------------------------------ adversaries

    @property
    def judges(self) -> dict[str, Discriminator]:
        """Discriminators by the latents of the samples they judge."""
        both = {"prior": self.prior_discriminator, "posterior": self.posterior_discriminator}
        return {name: judge for name, judge in both.items() if judge is not None}

    @property
    def players(self) -> list[nn.Module]:
        """What the generator's optimiser trains."""
        return [part for part in (self.generator, self.posterior, self.prior) if part is not None]

    def draw_starts(self, judge: Discriminator, real: Video, random: ClipRandom) -> dict[str, Tensor]:
        """Where the judged pieces begin in x_2..x_T, per clip."""
        last = real.shape[1] - 1 - judge.num_frames
        begin = random.integers(0, last + 1)
        return {"fake": begin, "real": begin if self.same_clip_start else random.integers(0, last + 1)}

    def discriminator_loss(self, name: str, real: Video, fake: Video, starts: dict[str, Tensor]) -> Tensor:
        judge = self.judges[name]
        x = pieces(real[:, 1:], starts["real"], judge.num_frames)
        y = pieces(fake.detach(), starts["fake"], judge.num_frames)
        logits, _ = judge(torch.cat([x, y]))
        return self.adversarial.discriminator(*logits.chunk(2))

    def generator_losses(
        self, name: str, real: Video, fake: Video, starts: dict[str, Tensor]
    ) -> dict[str, Tensor]:
        judge = self.judges[name].requires_grad_(False)
        logits, features = judge(pieces(fake, starts["fake"], judge.num_frames))
        losses = {f"gan_{name}": self.adversarial.generator(logits)}
        if self.weights[f"feature_{name}"]:
            with torch.no_grad():
                _, wanted = judge(pieces(real[:, 1:], starts["real"], judge.num_frames))
            losses[f"feature_{name}"] = feature_matching(features, wanted)
        judge.requires_grad_(True)
        return losses

    def update(self, optimizer: Optimizer, loss: Tensor, modules: list[nn.Module], norm: str) -> None:
        optimizer.zero_grad()
        self.manual_backward(loss)
        gradients = [p.grad for module in modules for p in module.parameters() if p.grad is not None]
        self.log(f"optim/{norm}", nn.utils.get_total_norm(gradients))
        optimizer.step()

    def configure_optimizers(self) -> list[Optimizer]:
        groups = [self.players] + ([list(self.judges.values())] if self.judges else [])
        optimizers = [self.optimizer([p for m in modules for p in m.parameters()]) for modules in groups]
        return self.with_initial_rate(optimizers)

    # --------------------------------------------------------------------------------------------- sampling

    @torch.no_grad()
    def rollout(self, context: Clip, horizon: int, *, generator: torch.Generator) -> Iterator[Video]:
        """Feed the context, then the model's own frames; any horizon, one frame at a time."""
        for prediction in self.sample(context, horizon, generator):
            yield prediction.frame.expand(-1, 3, -1, -1).unsqueeze(1)

    @torch.no_grad()
    def track(
        self,
        context: Clip,
        horizon: int,
        designated: Float[Tensor, "b c n h w"],
        *,
        generator: torch.Generator,
    ) -> Float[Tensor, "b t n h w"]:
        """Where n designated pixels go: distributions over the image, moved and blended as the frames are.

        designated: where they are in each context frame, maps that sum to 1.
        """
        predictions = self.sample(context, horizon, generator, designated)
        return torch.stack([prediction.pixels for prediction in predictions], dim=1)

    def sample(
        self, context: Clip, horizon: int, generator: torch.Generator, designated: Tensor | None = None
    ) -> Iterator[FramePrediction]:
        """Predictions of the frames after the context, latents drawn from the prior."""
        real = self.gray(pixels(context["video"]))
        c, t = real.shape[1], real.shape[1] + horizon - 1
        actions, states = self.conditioning(context)
        latents = None
        if self.prior is not None:
            known = None if actions is None else actions[:, : c - 1]
            shape = (len(real), t, self.prior.latent_dim)
            noise = torch.randn(shape, generator=generator, device=generator.device).to(real)
            latents = self.prior(real, t, known).sample(noise)
            if self.posterior is not None and self.context_latents == "posterior" and c > 1:
                latents[:, : c - 1] = self.posterior(real, known).sample(noise[:, : c - 1])
        predictions = unroll(
            self.generator, real, t, latents=latents, actions=actions, states=states, designated=designated
        )
        yield from itertools.islice(predictions, c - 1, None)

    def conditioning(self, clip: Clip) -> tuple[Tensor | None, Tensor | None]:
        """The clip's actions and robot states, where the generator takes them."""
        actions = clip["actions"] if self.generator.action_dim else None
        return actions, clip["state"].float() if self.generator.state_dim else None

    def gray(self, video: Float[Tensor, "b t 3 h w"]) -> Video:
        """The channels that the generator works in: all three, or their mean for grey data such as KTH."""
        return video if self.generator.image_channels == 3 else video.mean(dim=2, keepdim=True)
