"""VideoWorld: rules and tactics from unlabelled video (arXiv 2501.09781).

A frame is a row of image codes. What changes after it is a handful of codes of a latent dynamics model, one
for each of the next H frames. One decoder learns, over one vocabulary, to write the codes of a frame and then
the frame that follows: it decides what happens before it draws it.

Follows the paper, and for the sequence of a Go position the released code; the README names each place.

Notation: images (b, f, v, n) are n codes a frame in each of v views; codes (b, g, m) m for each but the last.
"""

from collections.abc import Callable, Iterator
from typing import ClassVar, Literal, NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.optim import Optimizer

from components.backbones import TokenDecoder
from components.clip import Clip, ClipSpec
from components.frame_codes import FrameCodes, frame_codes, views
from components.latent_dynamics import LatentDynamics
from components.samplers import TokenSampler
from components.samplers.fill import fill
from components.samplers.next_token import NextToken
from components.schedules import Schedule
from components.sequences.union_layout import Slots, Targets, UnionLayout
from components.text_encoders import TextEncoder
from components.tokenizers import VideoTokenizer
from components.vocabularies.table import Table
from recipes.world_model import Frames, WorldModel

Images = Int[Tensor, "b f v n"]


class Step(NamedTuple):
    """The next frame in each view, and the codes that were written before it; None for what was not made."""

    frames: Float[Tensor, "b v 3 h w"] | None
    codes: Int[Tensor, "b m"] | None


class VideoWorld(WorldModel):
    """A decoder over frames and the changes between them.

    dynamics: whose codes are written between frames; None with targets=frames.
    targets: what is learned: both; codes, with frames only read; frames, without codes in the sequence.
    window: frames of a sequence. advance: frames that a rollout goes on by what one frame's codes say; those
        after the first are decoded by the dynamics model. 2 where the model has seen every other turn only.
    softmax: over the union of all ids, or over those of a token's own type.
    learn_context: learn the first frame of a sequence too.
    text_encoder: of instructions, an embedding before every frame; None = no language.
    Raises ValueError for targets that need codes without a dynamics model.
    """

    sharded_calls: ClassVar = {"table": ("embed", "logits", "loss")}

    def __init__(
        self,
        *,
        tokenizer: VideoTokenizer,
        dynamics: LatentDynamics | None,
        layout: Callable[..., UnionLayout],
        decoder: TokenDecoder,
        text_encoder: TextEncoder | None = None,
        targets: Targets,
        window: int,
        advance: int = 1,
        softmax: Literal["union", "type"] = "union",
        learn_context: bool = False,
        frame_sampling: TokenSampler,
        code_sampling: TokenSampler,
        optimizer: Callable[..., Optimizer],
        learning_rate: Schedule,
        context_frames: int,
        seed: int,
    ) -> None:
        super().__init__(context_frames=context_frames, seed=seed)
        if dynamics is None and targets != "frames":
            raise ValueError(f"targets={targets} needs codes: set model.dynamics, or model.targets=frames")
        if window < 2 or advance < 1:
            told = f"window is {window}, advance {advance}"
            raise ValueError(f"{told}; a sequence has at least 2 frames, and a rollout goes on by at least 1")
        self.tokenizer = tokenizer.requires_grad_(False).eval()
        self.dynamics = None if dynamics is None else dynamics.requires_grad_(False).eval()
        self.text_encoder = text_encoder
        self.layout = layout(
            image_size=tokenizer.codebook_size,
            codes_size=0 if dynamics is None else dynamics.codebook_size,
            language=text_encoder is not None,
        )
        self.decoder = decoder
        self.table = Table(size=self.layout.size, dim=decoder.dim)
        self.language = None if text_encoder is None else nn.Linear(text_encoder.pooled_dim, decoder.dim)
        self.targets, self.window, self.advance = targets, window, advance
        self.softmax, self.learn_context = softmax, learn_context
        self.samplers = (code_sampling, frame_sampling)
        self.optimizer, self.learning_rate = optimizer, learning_rate
        self.num_codes = 0 if dynamics is None or targets == "frames" else dynamics.num_codes

    def check_fits(self, spec: ClipSpec) -> None:
        super().check_fits(spec)
        frames, *_ = self.tokenizer.grid(spec.num_frames, spec.height, spec.width)
        if frames != spec.num_frames:
            raise ValueError("this tokenizer joins frames, and the sequence is frame by frame: use vqgan")
        if spec.num_frames < self.window:
            told = f"a clip has {spec.num_frames} frames, a sequence {self.window}"
            raise ValueError(f"{told}: set clip.num_frames to more, or model.window to less")

    # ------------------------------------------------------------------------------------- training (2.6)

    def training_step(self, clip: Clip, batch_index: int) -> Tensor:
        self.set_learning_rate(self.learning_rate(self.steps_taken(batch_index)))
        losses, counts = self.losses(clip)
        loss = torch.stack(list(losses.values())).sum() / sum(counts.values())
        self.log("train/loss", loss, prog_bar=True)
        self.log_dict({f"train/{name}": losses[name] / count for name, count in counts.items()})
        return loss

    def losses(self, clip: Clip) -> tuple[dict[str, Float[Tensor, ""]], dict[str, int]]:
        """Sums of cross-entropy over the targets that are images and codes, and how many there are."""
        images, codes = self.encoded(clip)
        slots, tokens = self.sequence(images, codes)
        learned = slots.learned(self.targets, context_too=self.learn_context)
        end = int(learned.nonzero().max()) + 1  # what comes after the last target changes nothing
        slots, tokens, learned = slots.part(end), tokens[:, :end], learned[1:end]
        hidden = self.decoder(self.embed(tokens, slots, self.instruction(clip)))[:, :-1]
        targets, weights = tokens[:, 1:], hidden.new_ones(len(tokens), end - 1)
        losses, counts = {}, {}
        for name, part in (("frames", "image"), ("codes", "codes")):
            chosen = learned & (slots.of_codes[1:] if part == "codes" else ~slots.of_codes[1:])
            ids = slice(0, self.layout.size)
            if self.softmax == "type":  # a delimiter has no other id to be told from
                chosen = chosen & (slots.is_codes if part == "codes" else slots.is_image)[1:]
                start = self.layout.starts[part]
                ids = slice(start, start + self.layout.sizes[part])
            if count := int(chosen.sum()):
                chosen = chosen.to(targets.device).expand_as(targets)
                losses[name] = self.table.loss(hidden, targets, weights, chosen, ids)
                counts[name] = count * len(tokens)
        return losses, counts

    def encoded(self, clip: Clip) -> FrameCodes:
        """From the cache, or made here."""
        if "codes" not in clip:
            dynamics = self.dynamics if self.num_codes else None
            return frame_codes(clip, self.tokenizer, dynamics, self.window)
        images = clip["codes"].long()
        codes = clip["dynamics_codes"].long() if self.num_codes and "dynamics_codes" in clip else None
        if images.shape[1] != self.window or (self.num_codes and codes is None):
            told = f"the cached clips have codes of {images.shape[1]} frames"
            told += "" if codes is not None or not self.num_codes else " and none of what changes"
            raise ValueError(f"{told}; model.window is {self.window}: run the stage that caches codes again")
        return FrameCodes(images, codes)

    def sequence(self, images: Images, codes: Tensor | None) -> tuple[Slots, Int[Tensor, "b s"]]:
        flat = images.flatten(2)
        slots = self.layout.slots(flat.shape[1], flat.shape[2], self.num_codes)
        return slots, self.layout.tokens(slots, flat, codes)

    def instruction(self, clip: Clip) -> Float[Tensor, "b d"] | None:
        """One embedding a clip, of length 1 before it is projected."""
        if self.language is None or self.text_encoder is None:
            return None
        pooled = clip["text_pooled"] if "text_pooled" in clip else self.text_encoder(clip["text"]).pooled
        return self.language(F.normalize(pooled, dim=-1))

    def embed(
        self, tokens: Int[Tensor, "b s"], slots: Slots, instruction: Tensor | None, part: slice = slice(None)
    ) -> Float[Tensor, "b s d"]:
        x = self.table.embed(tokens)
        if instruction is None:
            return x
        return torch.where(slots.is_language[part, None].to(x.device), instruction[:, None], x)

    def typical_step(self, clip: Clip) -> Tensor:
        """A sequence of any tokens, all predicted; encoding is done once, ahead."""
        b, _, _, height, width = clip["video"].shape
        _, i, j = self.tokenizer.grid(1, height, width)
        slots = self.layout.slots(self.window, len(views(clip)) * i * j, self.num_codes)
        hidden = self.decoder(self.table.embed(clip["video"].new_zeros(b, len(slots), dtype=torch.long)))
        return self.table.logits(hidden).logsumexp(dim=-1).mean()

    def configure_optimizers(self) -> list[Optimizer]:
        parts = [weight for weight in self.parameters() if weight.requires_grad]
        return self.with_initial_rate([self.optimizer(parts)])

    def train(self, mode: bool = True) -> "VideoWorld":
        super().train(mode)
        self.tokenizer.eval()  # both are trained in stages of their own
        if self.dynamics is not None:
            self.dynamics.eval()
        return self

    def validation_step(self, clip: Clip, batch_index: int) -> None:
        super().validation_step(clip, batch_index)
        losses, counts = self.losses(clip)
        for name, loss in losses.items():
            self.log_validation(f"loss_{name}", (loss / counts[name])[None])

    # ------------------------------------------------------------------------------------------ generation

    @torch.no_grad()
    def rollout(self, context: Clip, horizon: int, *, generator: torch.Generator) -> Iterator[Frames]:
        """Write codes, of given frames too, then draw the next one; with targets=codes, decode it."""
        videos = [video[:, 1 - self.window :] for video in views(context)]
        if self.advance > 1 and len(videos) > 1:
            raise ValueError("model.advance above 1 decodes one camera alone; set it to 1 for clips of two")
        images = torch.stack([self.tokenizer.encode(video).flatten(2) for video in videos], dim=2)
        codes: list[Tensor | None] = [None] * images.shape[1]
        instruction, last, shape = self.instruction(context), videos[0][:, -1], videos[0].shape
        drawn = int(self.targets != "codes" or len(videos) > 1)  # of the frames that a step goes on by
        while horizon > 0:
            made, written = self.step(images, codes, instruction, generator, self.samplers, draw=drawn > 0)
            frames, new = self.decode(made[:, 0], shape)[:, None][:, :drawn], made[:, None][:, :drawn]
            if self.advance > drawn and self.dynamics is not None and written[-1] is not None:
                later = self.dynamics.decode(last, written[-1])[:, drawn : self.advance]
                if later.shape[1]:  # codes of the next frame alone say nothing of later ones
                    frames = torch.cat([frames, later], dim=1)
                    new = torch.cat([new, self.tokenizer.encode(later).flatten(2)[:, :, None]], dim=1)
            yield frames[:, :horizon]
            horizon, last = horizon - frames.shape[1], frames[:, -1]
            images = torch.cat([images, new], dim=1)[:, 1 - self.window :]
            codes = [*written, *[None] * new.shape[1]][-images.shape[1] :]

    @torch.no_grad()
    def next_frame(
        self,
        context: Clip,
        generator: torch.Generator,
        *,
        temperature: float | None = None,
        replaced: tuple[int, ...] = (),
        draw: bool = True,
    ) -> Step:
        """One frame on.

        temperature: of codes and frame, 0 = the likeliest; None = as the model samples.
        replaced: which of the last frame's codes, from 0, give way to random ones as they are written.
        draw: the frame too, not its codes alone.
        """
        videos = [video[:, 1 - self.window :] for video in views(context)]
        images = torch.stack([self.tokenizer.encode(video).flatten(2) for video in videos], dim=2)
        known: list[Tensor | None] = [None] * images.shape[1]
        samplers = self.samplers if temperature is None else (NextToken(temperature=temperature),) * 2
        text = self.instruction(context)
        made, written = self.step(images, known, text, generator, samplers, replaced, draw=draw)
        frames = [self.decode(view, videos[0].shape) for view in made.unbind(1)] if draw else None
        return Step(None if frames is None else torch.stack(frames, dim=1), written[-1])

    @torch.no_grad()
    def imagine(self, frame: Float[Tensor, "b 3 h w"], codes: Int[Tensor, "b m"]) -> Frames:
        """What the codes of a frame say comes next, decoded by the dynamics model."""
        assert self.dynamics is not None
        return self.dynamics.decode(frame, codes)

    def step(
        self,
        images: Images,
        codes: list[Int[Tensor, "b m"] | None],
        instruction: Float[Tensor, "b d"] | None,
        generator: torch.Generator,
        samplers: tuple[TokenSampler, TokenSampler],
        replaced: tuple[int, ...] = (),
        draw: bool = True,
    ) -> tuple[Int[Tensor, "b v n"], list[Tensor | None]]:
        """The next frame's codes in each view, and the codes of every frame before it.

        codes: of each frame, None where they are still to be written. draw: the frame too, not codes alone.
        """
        given = images.shape[1]
        filler = images.new_zeros(len(images), self.num_codes)
        so_far = torch.stack([filler if c is None else c for c in codes], dim=1)
        slots, tokens = self.sequence(torch.cat([images, images[:, :1]], dim=1), so_far)
        written = torch.tensor([c is not None for c in codes] + [False])
        known = torch.where(slots.is_codes, written[slots.frame], (slots.frame < given) | (not draw))
        last = (slots.is_codes & (slots.frame == given - 1)).nonzero().flatten().tolist()
        is_codes = slots.is_codes.tolist()
        tokens = fill(
            self.decoder,
            lambda ids, part: self.embed(ids, slots, instruction, part),
            self.table.logits,
            tokens,
            known,
            slots.first,
            slots.size,
            lambda place: samplers[0 if is_codes[place] else 1],
            generator,
            {last[index] for index in replaced} if last else (),
        )
        made = self.layout.images_of(slots, tokens, given + 1)[:, -1].unflatten(1, images.shape[2:])
        if self.num_codes == 0:
            return made, [None] * given
        return made, list(self.layout.codes_of(slots, tokens, given + 1).unbind(1))

    def decode(self, images: Int[Tensor, "b n"], shape: torch.Size) -> Float[Tensor, "b 3 h w"]:
        _, height, width = self.tokenizer.grid(1, *shape[-2:])
        return self.tokenizer.decode(images.unflatten(1, (1, height, width)))[:, 0]
