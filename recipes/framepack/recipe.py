"""FramePack: next-section diffusion over a packed history (arXiv 2504.12626).

A video is made section by section, S latent frames at a time. What was made before enters the transformer at
a constant cost: the farther a frame, the larger the patches it is cut into. Training draws its sections from
the same planner as sampling, so that the model meets in training what it meets later.

Follows the released code where the paper is silent (orders, indices, zero frames before the beginning).

Notation: z (b, l, c, i, j) latents of a clip, x0 (b, S, c, i, j) the section to make, sigma its noise level.
"""

from collections.abc import Callable, Iterator
from functools import partial
from itertools import count, takewhile

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.optim import Optimizer

from components.backbones.denoiser import Condition, VideoDenoiser
from components.clip import Clip, ClipSpec, clip_size
from components.finetuning import Finetuning
from components.flow_samplers import FlowSampler
from components.guidance import Guidance
from components.history_codes import HistoryCodes
from components.image_encoders import ImageEncoder
from components.latent_tokenizers import LatentTokenizer
from components.memories import Context, Memory
from components.objectives.flow_matching import FlowMatching
from components.orders import SamplingOrder, SectionPlan
from components.randomness import ClipRandom
from components.schedules import Schedule
from components.text_encoders import TextEncoder, TextFeatures
from recipes.world_model import Frames, WorldModel, pixels

Latents = Float[Tensor, "b l c i j"]
QUANTILES = (0.1, 0.3, 0.5, 0.7, 0.9)  # of the noise levels, at which validation measures the loss


class FramePack(WorldModel):
    """Make a video section by section with a context that never outgrows a constant.

    image_encoder: of the start image, which the backbone may be told of beside its latent.
    backbone: velocity of a section from its noised latents and the packed history.
    memory: what of the history the model sees, and at which patch size. order: which section comes when.
    history_codes: what the history becomes before the model sees it, so that errors in it are lost; the start
        stays as it is. None: nothing.
    distilled_guidance: the guidance scale that a guidance-distilled backbone is told; None: it takes none.
    text_dropout: share of clips whose text is left out in training, for guidance.
    finetuning: which of the backbone's weights are trained; all, or low-rank additions.
    """

    def __init__(
        self,
        *,
        tokenizer: LatentTokenizer,
        text_encoder: TextEncoder,
        image_encoder: ImageEncoder | None,
        backbone: Callable[..., VideoDenoiser],
        memory: Memory,
        order: Callable[..., SamplingOrder],
        history_codes: Callable[..., HistoryCodes] | None = None,
        flow: FlowMatching,
        sampler: FlowSampler,
        guidance: Guidance,
        distilled_guidance: float | None,
        text_dropout: float,
        finetuning: Finetuning,
        optimizer: Callable[..., Optimizer],
        learning_rate: Schedule,
        context_frames: int,
        seed: int,
    ) -> None:
        super().__init__(context_frames=context_frames, seed=seed)
        self.tokenizer = tokenizer.requires_grad_(False).eval()
        self.text_encoder, self.image_encoder = text_encoder, image_encoder
        self.no_text: TextFeatures | None = None  # where the cache has it, the encoder need not be loaded
        self.backbone = backbone(
            latent_channels=tokenizer.channels,
            text_dim=text_encoder.dim,
            pooled_dim=text_encoder.pooled_dim,
            image_dim=0 if image_encoder is None else image_encoder.dim,
        )
        self.memory, self.order = memory, order(section=memory.section)
        if unknown := set(memory.kernels) - set(self.backbone.context_kernels):
            told = f"model.memory has kernel {max(unknown)}, model.backbone has patch layers for"
            raise ValueError(f"{told} {list(self.backbone.context_kernels)}: set its context_kernels")
        if self.order.side != memory.side:
            told = f"model.order knows what lies {self.order.side} a section, model.memory keeps what lies"
            raise ValueError(f"{told} {memory.side} it: swap both, packed_inverted goes with inverted")
        self.history_codes = None if history_codes is None else history_codes(channels=tokenizer.channels)
        self.flow, self.sampler, self.guidance = flow, sampler, guidance
        self.distilled_guidance, self.text_dropout = distilled_guidance, text_dropout
        self.finetuning = finetuning
        finetuning.prepare(self.backbone)
        self.optimizer, self.learning_rate = optimizer, learning_rate

    def check_fits(self, spec: ClipSpec) -> None:
        super().check_fits(spec)
        least = self.begun + self.memory.section
        for frames, height, width in spec.sizes():
            length, *_ = self.tokenizer.grid(frames, height, width)
            if length < least:
                told = f"a clip has {length} latent frames, what is known and one section {least}"
                raise ValueError(f"{told}: set clip.num_frames to more, or less g in model.memory.structure")
            self.tokenizer.grid(self.known(self.context_frames), height, width)

    # ------------------------------------------------------------------------------------- training (2.8)

    def training_step(self, clip: Clip, batch_index: int) -> Tensor:
        """Rectified flow on one section a clip; its history is clean and has no loss."""
        self.set_learning_rate(self.learning_rate(self.steps_taken(batch_index)))
        random = self.random(clip, batch_index)
        z = self.latents(clip)
        plans = self.order.draw(z.shape[1], random, self.begun)
        x0, context = self.section(z, plans), self.context(z, plans)
        noised = self.flow.corrupt(x0, random)
        dropped = random.uniform() < self.text_dropout
        velocity = self.velocity(noised.x, noised.sigma, context, self.condition(clip, dropped))
        loss = self.flow.loss(velocity, noised.velocity, noised.sigma).mean()
        self.log("train/loss", loss, prog_bar=True)
        return loss

    def typical_step(self, clip: Clip) -> Tensor:
        """A first section behind an empty history, with as long a text as fits."""
        b, t, _, height, width = clip["video"].shape
        length, i, j = self.tokenizer.grid(t, height, width)
        z = torch.zeros(b, length, self.tokenizer.channels, i, j, device=clip["video"].device)
        plans = [next(self.order.steps(1, self.begun))] * b
        encoder, scale = self.text_encoder, self.distilled_guidance
        condition = Condition(
            tokens=z.new_zeros(b, encoder.length, encoder.dim),
            mask=None,
            pooled=z.new_zeros(b, encoder.pooled_dim) if encoder.pooled_dim else None,
            guidance=None if scale is None else z.new_full((b,), scale),
        )
        x0, context = self.section(z, plans), self.context(z, plans)
        return self.velocity(x0, z.new_full((b,), 0.5), context, condition).square().mean()

    def latents(self, clip: Clip) -> Latents:
        """From the cache, or made here."""
        return clip["latents"] if "latents" in clip else self.tokenizer.encode(pixels(clip["video"]))

    def section(self, z: Latents, plans: list[SectionPlan]) -> Latents:
        return torch.stack([z[i, plan.first : plan.last] for i, plan in enumerate(plans)])

    def context(self, z: Latents, plans: list[SectionPlan]) -> Context:
        """The packed history of every clip's section, as sampling would have it there (2.4)."""
        packed = []
        for i, plan in enumerate(plans):
            first, last = plan.history
            clip = z[i : i + 1]
            start, history = clip[:, plan.start : plan.start + 1], clip[:, first:last]
            if self.history_codes is not None:
                history = self.history_codes(history)
            packed.append(self.memory(start, history, gap=plan.gap))
        return Context.joined(packed)

    def velocity(self, x: Latents, sigma: Tensor, context: Context, condition: Condition) -> Latents:
        return self.backbone(x, sigma, indices=context.indices, context=context.segments, condition=condition)

    def condition(self, clip: Clip, dropped: Bool[Tensor, " b"]) -> Condition:
        """The text, or the empty one where it is dropped, and the distilled guidance scale."""
        texts = clip["text"] if "text" in clip else [""] * clip_size(clip)
        if "text_tokens" in clip:
            features = TextFeatures(clip["text_tokens"], clip["text_mask"], clip["text_pooled"])
            nothing = self.text_encoder([""]) if self.no_text is None else self.no_text
            features = features.where(dropped, nothing.like(features.tokens))
        else:
            kept = ["" if none else text for text, none in zip(texts, dropped.tolist(), strict=True)]
            features = self.text_encoder(kept)
        scale = self.distilled_guidance
        guidance = None if scale is None else torch.full((len(texts),), scale, device=self.device)
        pooled = features.pooled if self.text_encoder.pooled_dim else None
        return Condition(features.tokens, features.mask, pooled, self.image(clip), guidance)

    def image(self, clip: Clip) -> Float[Tensor, "b m e"] | None:
        """Features of the start image, the clip's first frame."""
        if self.image_encoder is None:
            return None
        if "image_tokens" in clip:
            return clip["image_tokens"]
        return self.image_encoder(pixels(clip["video"][:, 0]))

    def configure_optimizers(self) -> list[Optimizer]:
        parts = [weight for weight in self.parameters() if weight.requires_grad]
        return self.with_initial_rate([self.optimizer(parts)])

    def train(self, mode: bool = True) -> "FramePack":
        super().train(mode)
        self.tokenizer.eval()  # trained in a stage of its own
        return self

    # ------------------------------------------------------------------------------------- sampling (2.9)

    def known(self, num_frames: int) -> int:
        """How many of the newest context frames make whole latent frames."""
        factor = self.tokenizer.time_factor
        return 1 + (num_frames - 1) // factor * factor

    @property
    def begun(self) -> int:
        """Latent frames that are known before the first section."""
        return 1 + (self.known(self.context_frames) - 1) // self.tokenizer.time_factor

    @torch.no_grad()
    def rollout(self, context: Clip, horizon: int, *, generator: torch.Generator) -> Iterator[Frames]:
        """Go on with a video, or with one image: sections are decoded as soon as all before them are made."""
        video = pixels(context["video"])
        z = self.tokenizer.encode(video[:, -self.known(video.shape[1]) :])
        per_section = self.memory.section * self.tokenizer.time_factor
        num_sections = -(-horizon // per_section)
        decode = self.tokenizer.decoding()
        decode(z)
        latents, shown, frames = dict(enumerate(z.unbind(dim=1))), z.shape[1], horizon
        for plan in self.order.steps(num_sections, shown):
            made = self.sample(*self.beside(latents, plan), context, generator)
            latents |= enumerate(made.unbind(dim=1), plan.first)
            ready = list(takewhile(latents.__contains__, count(shown)))
            if ready:
                new = decode(torch.stack([latents[place] for place in ready], dim=1))[:, :frames]
                shown, frames = shown + len(ready), frames - new.shape[1]
                yield new
            self.forget(latents, plan)

    def beside(self, latents: dict[int, Tensor], plan: SectionPlan) -> tuple[Latents, SectionPlan]:
        """The start and as much history as the memory reaches, and the plan for a clip of these."""
        first, last = plan.history
        if (reach := self.memory.reach) is not None:
            before = self.memory.side == "before"
            first, last = (max(first, last - reach), last) if before else (first, min(last, first + reach))
        z = torch.stack([latents[place] for place in (plan.start, *range(first, last))], dim=1)
        return z, plan._replace(start=0, history=(1, z.shape[1]))

    def forget(self, latents: dict[int, Tensor], plan: SectionPlan) -> None:
        """Let go of what is shown and will not be looked at again, so that a video may be of any length."""
        if self.memory.side == "before" and self.memory.reach is not None:
            for place in [p for p in latents if plan.start < p < plan.last - self.memory.reach]:
                del latents[place]

    def sample(self, z: Latents, plan: SectionPlan, clip: Clip, generator: torch.Generator) -> Latents:
        """One section from noise."""
        context = self.context(z, [plan] * len(z))
        shape = (len(z), plan.last - plan.first, *z.shape[2:])
        noise = torch.randn(shape, generator=generator, device=z.device, dtype=z.dtype)
        nobody = torch.zeros(len(z), dtype=torch.bool, device=z.device)
        conditional = partial(self.velocity, context=context, condition=self.condition(clip, nobody))
        if not self.guidance.needs_unconditional:
            return self.sampler(conditional, noise)
        unconditional = partial(self.velocity, context=context, condition=self.condition(clip, ~nobody))

        def guided(x: Latents, sigma: Tensor) -> Latents:
            return self.guidance(conditional(x, sigma), unconditional(x, sigma), x, sigma)

        return self.sampler(guided, noise)

    # ----------------------------------------------------------------------------------------- validation

    def validation_step(self, clip: Clip, batch_index: int) -> None:
        """A rollout, and the loss at fixed noise levels with fixed noise.

        It shows over-fitting; a loss at random levels is too noisy to.
        """
        super().validation_step(clip, batch_index)
        z = self.latents(clip)
        random = ClipRandom(self.seed, batch_index, first=0, size=len(z), device=self.device)
        plans = self.order.draw(z.shape[1], random, self.begun)
        x0, context = self.section(z, plans), self.context(z, plans)
        condition = self.condition(clip, torch.zeros(len(z), dtype=torch.bool, device=self.device))
        noise = random.normal(*x0.shape[1:])
        losses = []
        for quantile in QUANTILES:
            noised = self.flow.at_quantile(x0, quantile, noise)
            velocity = self.velocity(noised.x, noised.sigma, context, condition)
            losses.append((velocity - noised.velocity).square().mean(dim=(1, 2, 3, 4)))
            self.log_validation(f"loss_at_{quantile:g}", losses[-1])
        self.log_validation("loss", torch.stack(losses).mean(dim=0), bar=True)
