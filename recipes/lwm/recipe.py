"""LWM: a world model on video and language (arXiv 2402.08268).

Frames become codes of an image VQGAN, texts become tokens, and one causal decoder learns sequences of both in
every order: captions before videos, videos before captions, questions and answers, videos alone. So one model
makes video from text, goes on with a video, describes it and answers questions about it.

Follows the paper where the released code leaves it: masked packing with padding-equivalent weights (the code
packs without a mask). docs and the README name each place.

Notation: codes (b, f, n) are n numbers a frame; a frame is n + 1 tokens, its codes and a delimiter.
"""

from collections.abc import Callable, Iterator
from typing import ClassVar, Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.optim import Optimizer

from components.backbones import TokenDecoder
from components.clip import Clip, ClipSpec
from components.context_parallel import context_group
from components.samplers import TokenSampler
from components.samplers.generation import Prompt, generate_frames, generate_text
from components.schedules import Schedule
from components.sequences import Layout
from components.sequences.context_shards import local_share
from components.sequences.packing import Packed, modality_means, pack
from components.text_tokenizers import TextTokenizer
from components.tokenizers import VideoTokenizer
from components.vocabularies import Vocabulary
from recipes.lwm.sequences import OF_A_CLIP, Codes, Record, Sequences, named
from recipes.world_model import Frames, WorldModel, pixels


class LWM(WorldModel):
    """One decoder over text and vision tokens.

    phrases: texts that `fields` and `prompts` may name, beside `caption`, `question` and `answer` of a clip,
        `vision`, its codes, and `image_vision`, those of its first frame.
    fields: what sequences to learn, in LWM's grammar; one of those that a clip has everything for is drawn by
        the clip's id, the same in every epoch, on every process.
    prompts: of `image` and `video` what stands before the frames, of `caption` and `answer` before the text.
    packing: masked is the paper's; see components/sequences/packing.py.
    image_sampling: of a first frame from text. video_sampling: of all that comes after a frame.
    longest_answer: text tokens.
    """

    sharded_calls: ClassVar = {"vocabulary": ("embed", "losses", "logits")}

    def __init__(
        self,
        *,
        tokenizer: VideoTokenizer,
        text_tokenizer: TextTokenizer,
        layout: Callable[..., Layout],
        vocabulary: Callable[..., Vocabulary],
        decoder: TokenDecoder,
        phrases: dict[str, str],
        fields: list[str],
        prompts: dict[str, str],
        packing: Literal["masked", "masked_token_mean", "naive", "padded"],
        row_length: int,
        image_sampling: TokenSampler,
        video_sampling: TokenSampler,
        text_sampling: TokenSampler,
        longest_answer: int,
        optimizer: Callable[..., Optimizer],
        learning_rate: Schedule,
        context_frames: int,
        seed: int,
    ) -> None:
        super().__init__(context_frames=context_frames, seed=seed)
        if longest_answer < 1:
            raise ValueError(f"longest_answer is {longest_answer}; an answer has at least 1 token")
        for line in [*fields, *prompts.values()]:
            if unknown := sorted(named(line) - {*phrases, *OF_A_CLIP}):
                told = f"{line!r} names {unknown[0]}; a clip has {', '.join(OF_A_CLIP)}"
                raise ValueError(f"{told}; phrases has {', '.join(phrases)}")
        self.tokenizer = tokenizer.requires_grad_(False).eval()
        self.text_tokenizer = text_tokenizer
        self.layout = layout(codebook_size=tokenizer.codebook_size)
        self.decoder = decoder
        self.vocabulary = vocabulary(
            dim=decoder.dim,
            text_size=text_tokenizer.vocabulary_size,
            vision_size=self.layout.vocabulary_size,
        )
        self.prompts = prompts
        self.sequences = Sequences(
            phrases=phrases, fields=fields, text_tokenizer=text_tokenizer, layout=self.layout, seed=seed
        )
        self.packing, self.row_length = packing, row_length
        self.image_sampling, self.video_sampling = image_sampling, video_sampling
        self.text_sampling, self.longest_answer = text_sampling, longest_answer
        self.optimizer, self.learning_rate = optimizer, learning_rate

    def check_fits(self, spec: ClipSpec) -> None:
        _ = self.text_tokenizer.bos  # a tokenizer whose files are missing says so before the first batch
        if spec.num_frames == 0:  # texts alone
            return
        super().check_fits(spec)
        frames, *grid = self.tokenizer.grid(spec.num_frames, spec.height, spec.width)
        if frames != spec.num_frames:
            raise ValueError("this tokenizer joins frames, and LWM's layout is frame by frame: use vqgan")
        tokens = frames * (grid[0] * grid[1] + 1)
        if tokens >= self.row_length:
            told = f"a clip is {tokens} vision tokens, a row {self.row_length}"
            raise ValueError(f"{told}: set model.row_length to more, or clip.num_frames to less")

    def encode(self, video: Float[Tensor, "b t 3 h w"]) -> Codes:
        return self.tokenizer.encode(video).flatten(2)

    # ---------------------------------------------------------------------------------------- training (2.5)

    def training_step(self, clip: Clip, batch_index: int) -> Tensor:
        """Next-token prediction over packed rows: L = (L_text + L_vision) / 2."""
        self.set_learning_rate(self.learning_rate(self.steps_taken(batch_index)))
        packed = self.pack(clip)
        losses = self.losses(packed)
        loss = 0.5 * (losses["text"] + losses["vision"])
        self.log("train/loss", loss, prog_bar=True)
        self.log_dict({f"train/loss_{name}": value for name, value in losses.items()})
        self.log("train/useful_tokens", packed.useful)
        return loss

    def pack(self, clip: Clip) -> Packed:
        """Rows of the clips' sequences; where processes share rows, this one's tokens of them."""
        codes = self.encode(pixels(clip["video"])) if "video" in clip else None
        examples = self.sequences.examples(clip, codes)
        packed = pack(examples, self.row_length, self.packing, too_long="cut")
        return local_share(Packed(*(part.to(self.device) for part in packed)), context_group())

    def losses(self, packed: Packed) -> dict[str, Float[Tensor, ""]]:
        """L_text and L_vision: per segment the mean over its tokens, then the mean over segments."""
        x = self.vocabulary.embed(packed.tokens, packed.is_vision)
        hidden = self.decoder(x, positions=packed.positions, segments=packed.segments)
        sums = self.vocabulary.losses(hidden, packed.targets, packed.target_is_vision, packed.weights)
        return modality_means(sums, packed.counts)

    def typical_step(self, clip: Clip) -> Tensor:
        """As many full rows of vision tokens as the clips fill; of texts alone, a row each."""
        rows, frames = clip["video"].shape[:2]
        if frames:
            codes = self.encode(pixels(clip["video"]))
            rows = -(-rows * frames * (codes.shape[2] + 1) // self.row_length)
        tokens = torch.zeros(rows, self.row_length, dtype=torch.long, device=self.device)
        vision = torch.full_like(tokens, frames > 0, dtype=torch.bool)
        hidden = self.decoder(self.vocabulary.embed(tokens, vision))
        return self.vocabulary.logits(hidden, vision=frames > 0).logsumexp(dim=-1).mean()

    def configure_optimizers(self) -> list[Optimizer]:
        parts = [*self.decoder.parameters(), *self.vocabulary.parameters()]
        return self.with_initial_rate([self.optimizer(parts)])

    def train(self, mode: bool = True) -> "LWM":
        super().train(mode)
        self.tokenizer.eval()  # trained in a stage of its own
        return self

    def validation_step(self, clip: Clip, batch_index: int) -> None:
        """Of video what every world model logs; of texts alone their loss, and the share of right answers."""
        if "video" in clip:
            return super().validation_step(clip, batch_index)
        self.log_validation("loss_text", self.losses(self.pack(clip))["text"][None])
        rows = self.converse(clip, torch.Generator(self.device).manual_seed(self.seed))
        right = torch.tensor([float(said == true) for _, said, true in rows], device=self.device)
        if rows:
            self.log_validation("answer", right, bar=True)

    # ------------------------------------------------------------------------------------- generation (2.6)

    @torch.no_grad()
    def rollout(self, context: Clip, horizon: int, *, generator: torch.Generator) -> Iterator[Frames]:
        """Go on with a video, frame by frame, from what is seen alone."""
        video = pixels(context["video"])
        begun = [self.sequences.begun("", {}, codes) for codes in self.encode(video).cpu()]
        for codes in self.frames(begun, begun, horizon, self.video_sampling, video.shape, generator):
            yield self.decode(codes, video.shape)

    @torch.no_grad()
    def imagine(
        self, captions: list[str], num_frames: int, *, size: tuple[int, int], generator: torch.Generator
    ) -> Float[Tensor, "b t 3 h w"]:
        """Text -> image -> video: a guided first frame, then the frames after it under a prompt of its own.

        size: height and width.
        """
        shape = torch.Size([len(captions), num_frames, 3, *size])
        records = [{"caption": caption} for caption in captions]
        begin = self.sequences.begun
        asked = [begin(self.prompts["image"], record) for record in records]
        nothing = [begin("", {}) for _ in records]
        first = next(self.frames(asked, nothing, 1, self.image_sampling, shape, generator))
        codes = [first]
        begun = first[:, None].cpu()
        asked = [begin(self.prompts["video"], *pair) for pair in zip(records, begun, strict=True)]
        alone = [begin("", {}, frame) for frame in begun]
        if num_frames > 1:
            codes += self.frames(asked, alone, num_frames - 1, self.video_sampling, shape, generator)
        return torch.cat([self.decode(frame, shape) for frame in codes], dim=1)

    @torch.no_grad()
    def describe(self, video: Float[Tensor, "b t 3 h w"], *, generator: torch.Generator) -> list[str]:
        """A caption for each video."""
        return self.write("caption", [{"vision": codes} for codes in self.encode(video).cpu()], generator)

    @torch.no_grad()
    def answer(
        self, video: Float[Tensor, "b t 3 h w"], questions: list[str], *, generator: torch.Generator
    ) -> list[str]:
        """An answer to a question about each video."""
        codes = self.encode(video).cpu()
        records = [{"vision": c, "question": q} for c, q in zip(codes, questions, strict=True)]
        return self.write("answer", records, generator)

    @torch.no_grad()
    def complete(
        self, documents: list[str], questions: list[str], *, generator: torch.Generator
    ) -> list[str]:
        """An answer to a question about each text."""
        pairs = zip(documents, questions, strict=True)
        records = [{"caption": document, "question": question} for document, question in pairs]
        return self.write("document", records, generator)

    @torch.no_grad()
    def show(self, clip: Clip, samples: int, generator: torch.Generator) -> dict[str, Tensor]:
        """The truth, continuations of its first frames, and what the captions alone make."""
        videos = super().show(clip, samples, generator)
        if "text" in clip and all(clip["text"]):
            _, frames, _, *size = clip["video"].shape
            made = self.imagine(clip["text"], frames, size=(size[0], size[1]), generator=generator)
            videos["from the caption"] = made
        return videos

    @torch.no_grad()
    def converse(self, clip: Clip, generator: torch.Generator) -> list[tuple[str, str, str]]:
        """(asked, said, true) of each clip that has a caption or a question, or of each text."""
        if "video" not in clip:
            if "question" not in clip:
                return []
            said = self.complete(clip["text"], clip["question"], generator=generator)
            return list(zip(clip["question"], said, clip["answer"], strict=True))
        video, rows = pixels(clip["video"]), []
        if "text" in clip:
            said = self.describe(video, generator=generator)
            rows += zip([self.prompts["caption"]] * len(said), said, clip["text"], strict=True)
        if "question" in clip and "answer" in clip:
            said = self.answer(video, clip["question"], generator=generator)
            rows += zip(clip["question"], said, clip["answer"], strict=True)
        return rows

    def frames(
        self,
        prompts: list[Prompt],
        unconditional: list[Prompt],
        num_frames: int,
        sampler: TokenSampler,
        shape: torch.Size,
        generator: torch.Generator,
    ) -> Iterator[Int[Tensor, "b n"]]:
        _, height, width = self.tokenizer.grid(shape[1], *shape[-2:])
        return generate_frames(
            self.decoder, self.vocabulary, self.layout, prompts, unconditional,
            num_frames, height * width, sampler, generator,
        )  # fmt: skip

    def write(self, name: str, records: list[Record], generator: torch.Generator) -> list[str]:
        prompts = [self.sequences.prompt(self.prompts[name], record) for record in records]
        eos, sampler = self.text_tokenizer.eos, self.text_sampling
        made = generate_text(
            self.decoder, self.vocabulary, prompts, self.longest_answer, eos, sampler, generator
        )
        return [self.text_tokenizer.decode(ids) for ids in made]

    def decode(self, codes: Int[Tensor, "b n"], shape: torch.Size) -> Float[Tensor, "b 1 3 h w"]:
        _, height, width = self.tokenizer.grid(1, *shape[-2:])
        return self.tokenizer.decode(codes.unflatten(1, (1, height, width)))
