"""VideoWorld's layout: frames and what changes after them, step by step, in one vocabulary."""

from typing import Literal, NamedTuple

import torch
from jaxtyping import Bool, Int
from torch import Tensor

Part = Literal["image", "special", "codes", "text"]
Targets = Literal["both", "frames", "codes"]
SPECIAL = ("frame_begin", "frame_end", "codes_begin", "codes_end")


class Slots(NamedTuple):
    """What stands at each place of a sequence; all sequences of a batch are alike.

    first, size: the ids that may stand there; size 1 where only one may.
    frame: number of the frame that a place belongs to, be it its image or its codes.
    is_image, is_codes, is_language: what it holds; a delimiter holds none of them.
    of_codes: it is a code or one of their delimiters.
    """

    first: Int[Tensor, " s"]
    size: Int[Tensor, " s"]
    frame: Int[Tensor, " s"]
    is_image: Bool[Tensor, " s"]
    is_codes: Bool[Tensor, " s"]
    is_language: Bool[Tensor, " s"]
    of_codes: Bool[Tensor, " s"]

    def __len__(self) -> int:
        return self.first.shape[0]

    def part(self, end: int) -> "Slots":
        """The first places."""
        return Slots(*(column[:end] for column in self))

    def learned(self, targets: Targets, *, context_too: bool) -> Bool[Tensor, " s"]:
        """Places whose tokens are predicted: images, codes or both, with their delimiters.

        context_too: the first frame as well; else it is only read. Nothing predicts the first place, and
        a place of language is none to predict.
        """
        images = ~self.of_codes & ((self.frame > 0) | context_too)
        chosen = {"both": images | self.of_codes, "frames": images, "codes": self.of_codes}[targets]
        chosen = chosen & ~self.is_language
        chosen[0] = False
        return chosen


class UnionLayout:
    """[language] <frame> image </frame> <codes> codes </codes>, once a frame; the last frame has no codes.

    image_size, codes_size: ids of the two codebooks. text_size: ids for a language's tokens, here unused;
    public weights have them. order: of the ranges of ids in the table. num_special: ids for delimiters,
    4 of them used.
    delimit_codes: a token before and one behind the codes. language: a place before every frame for the
    embedding of an instruction.
    Raises ValueError for an order that does not name each part once, and for less than 4 special ids.
    Source: VideoWorld (arXiv 2501.09781) and its released code: Go has the order text, special, codes,
    image and delimits codes; its robot models have image, special, codes, language, and no such delimiters.
    """

    def __init__(
        self,
        *,
        image_size: int,
        codes_size: int,
        text_size: int = 0,
        num_special: int = 4,
        order: list[Part] | tuple[Part, ...] = ("image", "special", "codes", "text"),
        delimit_codes: bool = True,
        language: bool = False,
    ) -> None:
        sizes: dict[Part, int] = {
            "image": image_size, "special": num_special, "codes": codes_size, "text": text_size
        }  # fmt: skip
        if sorted(order) != sorted(sizes):
            raise ValueError(f"order is {list(order)}; name each of {', '.join(sizes)} once")
        if num_special < len(SPECIAL):
            raise ValueError(f"num_special is {num_special}; delimiters take {len(SPECIAL)} ids")
        self.sizes, self.size = sizes, 0
        self.starts: dict[Part, int] = {}
        for part in order:
            self.starts[part] = self.size
            self.size += sizes[part]
        self.delimit_codes, self.language = delimit_codes, language

    def special(self, name: str) -> int:
        """Id of a delimiter."""
        return self.starts["special"] + SPECIAL.index(name)

    def slots(self, num_frames: int, image_tokens: int, num_codes: int) -> Slots:
        """Places of a sequence; image_tokens of a frame in all its views, num_codes of a frame, 0 = none."""
        rows: list[tuple[int, int, int, bool, bool, bool, bool]] = []

        def add(first: int, size: int, frame: int, count: int = 1, *, kind: str = "", codes: bool = False):
            row = (first, size, frame, kind == "image", kind == "codes", kind == "language", codes)
            rows.extend([row] * count)

        for frame in range(num_frames):
            if self.language:
                add(0, 1, frame, kind="language")
            add(self.special("frame_begin"), 1, frame)
            add(self.starts["image"], self.sizes["image"], frame, image_tokens, kind="image")
            add(self.special("frame_end"), 1, frame)
            if frame == num_frames - 1 or num_codes == 0:
                continue
            if self.delimit_codes:
                add(self.special("codes_begin"), 1, frame, codes=True)
            add(self.starts["codes"], self.sizes["codes"], frame, num_codes, kind="codes", codes=True)
            if self.delimit_codes:
                add(self.special("codes_end"), 1, frame, codes=True)
        return Slots(*(torch.tensor(column) for column in zip(*rows, strict=True)))

    def tokens(
        self, slots: Slots, images: Int[Tensor, "b f n"], codes: Int[Tensor, "b g m"] | None
    ) -> Int[Tensor, "b s"]:
        """A sequence of these images and codes; places of language hold 0.

        Fewer images or codes than the sequence has places for leave the later ones at the first id.
        """
        tokens = slots.first.to(images.device).expand(len(images), -1).clone()
        given: tuple[tuple[Part, Tensor, Tensor | None], ...] = (
            ("image", slots.is_image, images),
            ("codes", slots.is_codes, codes),
        )
        for part, places, values in given:
            if values is None or values.numel() == 0:
                continue
            where = places.nonzero().flatten()[: values[0].numel()].to(images.device)
            tokens[:, where] = values.flatten(1) + self.starts[part]
        return tokens

    def images_of(self, slots: Slots, tokens: Int[Tensor, "b s"], num_frames: int) -> Int[Tensor, "b f n"]:
        """The image codes of a sequence, the inverse of `tokens`."""
        return tokens[:, slots.is_image].unflatten(1, (num_frames, -1)) - self.starts["image"]

    def codes_of(self, slots: Slots, tokens: Int[Tensor, "b s"], num_frames: int) -> Int[Tensor, "b g m"]:
        """The codes of all frames but the last."""
        return tokens[:, slots.is_codes].unflatten(1, (num_frames - 1, -1)) - self.starts["codes"]
