"""FramePack: next-section diffusion over a packed history (arXiv 2504.12626).

A video is made section by section, S latent frames at a time. What was made before enters the transformer at
a constant cost: the farther a frame, the larger the patches it is cut into. Training draws its sections from
the same planner as sampling, so that the model meets in training what it meets later.

Follows the released code where the paper is silent (orders, indices, zero frames before the beginning).

Notation: z (b, l, c, i, j) latents of a clip, x0 (b, S, c, i, j) the section to make, sigma its noise level.
"""

from collections.abc import Callable, Iterator
from functools import partial

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.optim import Optimizer

from components.backbones.denoiser import Condition, VideoDenoiser
from components.clip import Clip, ClipSpec, clip_size
from components.feature_caches import FeatureCache, Reuse
from components.finetuning import Finetuning
from components.flow_path import Velocity
from components.flow_samplers import FlowSampler
from components.guidance import Guidance, guided
from components.history_codes import HistoryCodes
from components.history_noises import HistoryNoise
from components.image_encoders import ImageEncoder
from components.latent_tokenizers import LatentTokenizer
from components.memories import Context, Memory
from components.objectives.flow_matching import FlowMatching
from components.orders import SamplingOrder, SectionPlan
from components.randomness import ClipRandom
from components.schedules import Schedule
from components.section_canvas import Canvas, Known, with_text_of
from components.section_decodings import SectionDecoding
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
        stays as it is. None: nothing. history_noise: noise on what is seen of it.
    history_dropout: share of clips that see nothing of the video in training, for history_guidance, which
        draws away from what the model makes without it.
    feature_cache: what sampling takes over from step to step; None: nothing.
    decoding: how frames are made of sections.
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
        history_noise: HistoryNoise,
        history_dropout: float = 0.0,
        history_guidance: Guidance,
        feature_cache: FeatureCache | None = None,
        decoding: SectionDecoding,
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
            raise ValueError(f"{told} {memory.side} it: variant=inverted and its like swap both")
        if lacking := set(self.order.needs) - set(memory.shows):
            told = f"model.order tells of a frame of the {max(lacking)}, model.memory has no place for it"
            raise ValueError(f"{told}: take a structure with f1k1 there, as variant=endpoint and its like do")
        self.history_codes = None if history_codes is None else history_codes(channels=tokenizer.channels)
        self.history_noise, self.history_dropout = history_noise, history_dropout
        self.flow, self.sampler, self.guidance = flow, sampler, guidance
        self.history_guidance, self.feature_cache, self.decoding = history_guidance, feature_cache, decoding
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
        context = self.history_noise.trained(context, noised.sigma, random)
        if self.history_dropout:
            context = context.kept(random.uniform() >= self.history_dropout)
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
        return Context.joined([self.seen(Known.of(z[i : i + 1], plan)) for i, plan in enumerate(plans)])

    def seen(self, known: Known) -> Context:
        """What the model sees of what is known; made of codes where there are such, but for the start."""
        if (codes := self.history_codes) is not None:
            end = None if known.end is None else codes(known.end)
            known = known._replace(history=codes(known.history), end=end)
        return known.seen(self.memory)

    def velocity(
        self, x: Latents, sigma: Tensor, context: Context, condition: Condition, reuse: Reuse | None = None
    ) -> Latents:
        seen = {"indices": context.indices, "context": context.segments, "condition": condition}
        return self.backbone(x, sigma, **seen, reuse=reuse)

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
        """Features of the start image, the clip's first frame, in the middle to those of a given end."""
        if self.image_encoder is None:
            return None
        if "image_tokens" in clip:
            return clip["image_tokens"]
        start = self.image_encoder(pixels(clip["video"][:, 0]))
        if "end_image" not in clip:
            return start
        return torch.lerp(start, self.image_encoder(pixels(clip["end_image"])), 0.5)

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
        begin, end = z.shape[1], z.shape[1] + num_sections * self.memory.section
        canvas, decode = Canvas(z, self.memory), self.decoding(self.tokenizer, z, section=self.memory.section)
        if ending := "end_image" in context:
            canvas.put(self.tokenizer.encode(pixels(context["end_image"][:, None])), end)
        frames = horizon
        for plan in self.order.steps(num_sections, begin, ending=ending):
            clip = with_text_of(context, (plan.first - begin) // self.memory.section)
            canvas.put(self.sample(canvas.known(plan), clip, generator), plan.first)
            if (ready := canvas.ready(end)) is not None:
                new = decode(ready, canvas.shown == end)[:, :frames]
                frames -= new.shape[1]
                yield new
            canvas.forget(plan)

    def sample(self, known: Known, clip: Clip, generator: torch.Generator) -> Latents:
        """One section from noise."""
        start, context = known.start, self.seen(known)
        draw = partial(torch.randn, generator=generator, device=start.device, dtype=start.dtype)
        noise = draw(len(start), self.memory.section, *start.shape[2:])
        nobody = torch.zeros(len(start), dtype=torch.bool, device=start.device)
        condition = self.condition(clip, nobody)

        def toward(condition: Condition, context: Context) -> Velocity:
            seen = self.history_noise.sampling(context, draw)
            reuse = None if self.feature_cache is None else self.feature_cache.start(self.sampler.num_steps)
            return lambda x, sigma: self.velocity(x, sigma, seen(sigma), condition, reuse)

        velocity = toward(condition, context)
        if self.history_guidance.needs_unconditional:
            velocity = guided(self.history_guidance, velocity, toward(condition, context.kept(nobody)))
        if self.guidance.needs_unconditional:
            velocity = guided(self.guidance, velocity, toward(self.condition(clip, ~nobody), context))
        return self.sampler(velocity, noise)

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
