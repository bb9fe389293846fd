"""LWM: a world model on video and language (arXiv 2402.08268).

Frames become codes of an image VQGAN, texts become tokens, and one causal decoder learns sequences of both in
every order: captions before videos, videos before captions, questions and answers, videos alone. So one model
makes video from text, goes on with a video, describes it and answers questions about it.

Follows the paper where the released code leaves it: masked packing with padding-equivalent weights (the code
packs without a mask). docs and the README name each place.

Notation: codes (b, f, n) are n numbers a frame; a frame is n + 1 tokens, its codes and a delimiter.
"""

import zlib
from collections.abc import Callable, Iterator
from typing import Any, ClassVar, Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.optim import Optimizer

from components.backbones import TokenDecoder
from components.clip import Clip, ClipSpec
from components.samplers import TokenSampler
from components.samplers.generation import Prompt, generate_frames, generate_text
from components.schedules import Schedule
from components.sequences import Example, Layout
from components.sequences.grammar import OPENING, Grammar, parse
from components.sequences.packing import Packed, modality_means, pack
from components.text_tokenizers import TextTokenizer
from components.tokenizers import VideoTokenizer
from components.vocabularies import Vocabulary
from recipes.world_model import Frames, WorldModel, pixels

Codes = Int[Tensor, "b f n"]
Record = dict[str, Any]
OF_A_CLIP = ("caption", "question", "answer", "vision", "image_vision")  # what fields name beside phrases


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
            if unknown := sorted(_named(line) - {*phrases, *OF_A_CLIP}):
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
        self.phrases, self.fields, self.prompts = phrases, fields, prompts
        self.packing, self.row_length = packing, row_length
        self.image_sampling, self.video_sampling = image_sampling, video_sampling
        self.text_sampling, self.longest_answer = text_sampling, longest_answer
        self.optimizer, self.learning_rate = optimizer, learning_rate
        self.needs = {line: _named(line) for line in fields}
        self.grammars: dict[tuple[str, ...], Grammar] = {}

    def check_fits(self, spec: ClipSpec) -> None:
        super().check_fits(spec)
        _ = self.text_tokenizer.bos  # a tokenizer whose files are missing says so before the first batch
        frames, *grid = self.tokenizer.grid(spec.num_frames, spec.height, spec.width)
        if frames != spec.num_frames:
            raise ValueError("this tokenizer joins frames, and LWM's layout is frame by frame: use vqgan")
        tokens = frames * (grid[0] * grid[1] + 1)
        if tokens >= self.row_length:
            told = f"a clip is {tokens} vision tokens, a row {self.row_length}"
            raise ValueError(f"{told}: set model.row_length to more, or clip.num_frames to less")

    # ------------------------------------------------------------------------------------- sequences (2.2)

    def encode(self, video: Float[Tensor, "b t 3 h w"]) -> Codes:
        return self.tokenizer.encode(video).flatten(2)

    def examples(self, clip: Clip, codes: Codes) -> list[Example]:
        """One sequence a clip, its modalities in an order drawn by the clip's id."""
        return [
            self.grammar(record)(record, zlib.crc32(name.encode()))
            for name, record in zip(clip["id"], self.records(clip, codes.cpu()), strict=True)
        ]

    def records(self, clip: Clip, codes: Codes) -> list[Record]:
        """All that the fields may name, clip by clip."""
        texts = {"caption": "text", "question": "question", "answer": "answer"}
        known = {name: clip[key] for name, key in texts.items() if key in clip}
        return [
            self.phrases
            | {name: values[i] for name, values in known.items() if values[i]}
            | {"vision": codes[i], "image_vision": codes[i, :1]}
            for i in range(len(codes))
        ]

    def grammar(self, record: Record) -> Grammar:
        """Of the alternatives that this record has everything for."""
        usable = tuple(line for line, names in self.needs.items() if names <= record.keys())
        if usable not in self.grammars:
            if not usable:
                raise ValueError(f"model.fields: none goes without texts, and a clip has {', '.join(record)}")
            self.grammars[usable] = Grammar(
                fields=list(usable), text_tokenizer=self.text_tokenizer, layout=self.layout, seed=self.seed
            )
        return self.grammars[usable]

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
        examples = self.examples(clip, self.encode(pixels(clip["video"])))
        packed = pack(examples, self.row_length, self.packing, too_long="cut")
        return Packed(*(part.to(self.device) for part in packed))

    def losses(self, packed: Packed) -> dict[str, Float[Tensor, ""]]:
        """L_text and L_vision: per segment the mean over its tokens, then the mean over segments."""
        x = self.vocabulary.embed(packed.tokens, packed.is_vision)
        hidden = self.decoder(x, positions=packed.positions, segments=packed.segments)
        sums = self.vocabulary.losses(hidden, packed.targets, packed.target_is_vision, packed.weights)
        return modality_means(sums, packed.counts)

    def typical_step(self, clip: Clip) -> Tensor:
        """As many full rows of vision tokens as the clips fill."""
        codes = self.encode(pixels(clip["video"]))
        rows = -(-codes.shape[0] * codes.shape[1] * (codes.shape[2] + 1) // self.row_length)
        tokens = torch.zeros(rows, self.row_length, dtype=torch.long, device=codes.device)
        hidden = self.decoder(self.vocabulary.embed(tokens, torch.ones_like(tokens, dtype=torch.bool)))
        return self.vocabulary.logits(hidden, vision=True).logsumexp(dim=-1).mean()

    def configure_optimizers(self) -> list[Optimizer]:
        parts = [*self.decoder.parameters(), *self.vocabulary.parameters()]
        return self.with_initial_rate([self.optimizer(parts)])

    def train(self, mode: bool = True) -> "LWM":
        super().train(mode)
        self.tokenizer.eval()  # trained in a stage of its own
        return self

    # ------------------------------------------------------------------------------------- generation (2.6)

    @torch.no_grad()
    def rollout(self, context: Clip, horizon: int, *, generator: torch.Generator) -> Iterator[Frames]:
        """Go on with a video, frame by frame, from what is seen alone."""
        video = pixels(context["video"])
        begun = [Prompt(*self.begun("", {}, codes)) for codes in self.encode(video).cpu()]
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
        records = [self.phrases | {"caption": caption} for caption in captions]
        asked = [self.begun("image", record) for record in records]
        nothing = [self.begun("", {}) for _ in records]
        first = next(self.frames(asked, nothing, 1, self.image_sampling, shape, generator))
        codes = [first]
        begun = first[:, None].cpu()
        asked = [self.begun("video", *pair) for pair in zip(records, begun, strict=True)]
        alone = [self.begun("", {}, frame) for frame in begun]
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
        """(asked, said, true) of each clip that has a caption or a question."""
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
        grammar = Grammar(fields=self.prompts[name], text_tokenizer=self.text_tokenizer, layout=self.layout)
        known = [grammar(self.phrases | record, 0) for record in records]
        prompts = [Prompt(example.tokens[:-1], example.is_vision[:-1]) for example in known]  # without eos
        eos, sampler = self.text_tokenizer.eos, self.text_sampling
        made = generate_text(
            self.decoder, self.vocabulary, prompts, self.longest_answer, eos, sampler, generator
        )
        return [self.text_tokenizer.decode(ids) for ids in made]

    def begun(self, name: str, record: Record, codes: Int[Tensor, "f n"] | None = None) -> Prompt:
        """bos, the prompt's text, `<vision>`, and frames that others will follow."""
        texts = (
            [" ".join(record[n] for n in field.names) for field in parse(self.prompts[name])] if name else []
        )
        ids = [i for text in [*texts, OPENING] for i in self.text_tokenizer.encode(text)]
        text = torch.tensor([self.text_tokenizer.bos, *ids])
        vision = torch.zeros(0, dtype=torch.long)
        if codes is not None:
            vision = torch.cat([codes, codes.new_full((len(codes), 1), self.layout.eof)], dim=1).flatten()
        return Prompt(torch.cat([text, vision]), torch.arange(len(text) + len(vision)) >= len(text))

    def decode(self, codes: Int[Tensor, "b n"], shape: torch.Size) -> Float[Tensor, "b 1 3 h w"]:
        _, height, width = self.tokenizer.grid(1, *shape[-2:])
        return self.tokenizer.decode(codes.unflatten(1, (1, height, width)))


def _named(fields: str) -> set[str]:
    """What a record must have for these fields; special ids need nothing."""
    return {name for field in parse(fields) for name in field.names if not name.startswith("<|")}
