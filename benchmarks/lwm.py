"""What packing and guided decoding gain: `python benchmarks/lwm.py [threads=1] [repeats=5] [packing video]`.

packing  useful tokens/s of a training step on captioned clips of 1 to 16 frames, packed and padded
video    a clip of 16 frames with guidance, against transformers' generate with its own guidance
In one process, in turns, medians; a decoder of width 512 with 6 layers, 16 codes a frame.
"""

import statistics
import sys
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.comparing import in_turns, run_parts, show, show_ratio
from benchmarks.decoder import Ours, llama, same_weights
from components.attention.rope import Rope
from components.backbones.causal_decoder import CausalDecoder
from components.samplers.generation import Prompt, generate_frames
from components.samplers.next_token import NextToken
from components.sequences import Example
from components.sequences.grammar import Grammar
from components.sequences.packing import Packed, modality_means, pack
from components.sequences.video_layout import VideoLayout
from components.text_tokenizers.bytes import ByteTokenizer
from components.vocabularies.two_tables import TwoTables

CODES, FRAMES, CODEBOOK = 16, 16, 8192
CLIPS, ROW = 32, 1024
PROMPTS = 8


def captioned_clips() -> list[Example]:
    """Captions of 8 to 64 letters before clips of 1 to 16 frames."""
    layout = VideoLayout(codebook_size=CODEBOOK)
    grammar = Grammar(fields="[caption],vision", text_tokenizer=ByteTokenizer(), layout=layout)
    rng = torch.Generator().manual_seed(0)
    records = []
    for _ in range(CLIPS):
        frames = int(torch.randint(1, FRAMES + 1, (1,), generator=rng))
        letters = int(torch.randint(8, 65, (1,), generator=rng))
        codes = torch.randint(0, CODEBOOK, (frames, CODES), generator=rng)
        records.append({"caption": "a" * letters, "vision": codes})
    return [grammar(record, line) for line, record in enumerate(records)]


def packing(repeats: int) -> None:
    sizes = {"dim": 512, "num_layers": 6, "num_heads": 8, "hidden_dim": 1376}
    decoder = CausalDecoder(**sizes, rope=Rope())
    vocabulary = TwoTables(dim=512, text_size=259, vision_size=CODEBOOK + 256)

    def step(packed: Packed) -> None:
        x = vocabulary.embed(packed.tokens, packed.is_vision)
        hidden = decoder(x, positions=packed.positions, segments=packed.segments)
        sums = vocabulary.losses(hidden, packed.targets, packed.target_is_vision, packed.weights)
        losses = modality_means(sums, packed.counts)
        (losses["text"] + losses["vision"]).backward()

    examples = captioned_clips()
    longest = max(len(example.tokens) for example in examples) - 1
    rows = {"packed": pack(examples, ROW, "masked"), "padded": pack(examples, longest, "padded")}
    plain = rows["padded"]._replace(segments=torch.zeros_like(rows["padded"].segments))
    rows["padded, one dense row each"] = plain  # as most trainers do: padding behind, no mask needed
    times = in_turns(repeats, *(partial(step, packed) for packed in rows.values()))
    useful = sum(len(example.tokens) - 1 for example in examples)
    for (name, packed), taken in zip(rows.items(), times, strict=True):
        rate = useful / statistics.median(taken[0])
        show(name, taken, f"{rate:.0f} useful tokens/s, {tuple(packed.tokens.shape)}")
    show_ratio(times[0], times[2])


def video(repeats: int) -> None:
    theirs = llama().eval()
    ours = same_weights(theirs)
    layout = VideoLayout(codebook_size=CODEBOOK)
    generator = torch.Generator().manual_seed(0)
    asked = torch.randint(1, 259, (PROMPTS, 32), generator=generator)
    nothing = asked[:, :8]
    sampler = NextToken(temperature=0.0, guidance=3.0)
    new = FRAMES * (CODES + 1)

    def prompts(tokens: Tensor) -> list[Prompt]:
        return [Prompt(row, torch.zeros_like(row, dtype=torch.bool)) for row in tokens]

    def run_ours() -> None:
        list(
            generate_frames(
                ours.decoder, _OneSpace(ours), layout, prompts(asked), prompts(nothing),
                FRAMES, CODES, sampler, generator,
            )
        )  # fmt: skip

    def run_theirs() -> None:
        theirs.generate(
            asked, attention_mask=torch.ones_like(asked), do_sample=False, max_new_tokens=new,
            guidance_scale=3.0, negative_prompt_ids=nothing,
            negative_prompt_attention_mask=torch.ones_like(nothing),
        )  # fmt: skip

    times = in_turns(repeats, run_ours, run_theirs)
    for name, taken in zip(("ours", "generate"), times, strict=True):
        show(f"{PROMPTS} clips of {FRAMES} frames, {name}", taken)
    show_ratio(*times)


class _OneSpace(torch.nn.Module):
    """The benchmark model's single table and head as a vocabulary."""

    def __init__(self, model: Ours) -> None:
        super().__init__()
        self.model = model
        self.dim = model.tokens.embedding_dim

    def embed(self, tokens: Tensor, is_vision: Tensor) -> Tensor:
        return self.model.tokens(tokens)

    def losses(self, *_: Any) -> dict[str, Tensor]:
        raise NotImplementedError

    def logits(self, hidden: Tensor, *, vision: bool) -> Tensor:
        return self.model.head(hidden)


if __name__ == "__main__":
    run_parts(__file__, {"packing": packing, "video": video}, sys.argv[1:])
