"""LWM's layout: a delimiter after every frame."""

import torch
from jaxtyping import Int
from torch import Tensor


class VideoLayout:
    """[codes, eof] for every frame but the last, [codes, eov] for the last; a single image ends with eov too.

    Codes keep their numbers, eof = codebook_size, eov = codebook_size + 1; the rest of the `num_special` ids
    is unused. 256 codes a frame make 257 tokens.
    Raises ValueError for less than two special ids.
    Source: LWM (arXiv 2402.08268), official code, lwm/data.py.
    """

    def __init__(self, *, codebook_size: int, num_special: int = 256) -> None:
        if num_special < 2:
            raise ValueError(
                f"a video layout needs ids for eof and eov; set num_special to 2 or more, not {num_special}"
            )
        self.codebook_size = codebook_size
        self.eof, self.eov = codebook_size, codebook_size + 1
        self.vocabulary_size = codebook_size + num_special

    def frame_tokens(self, codes_per_frame: int) -> int:
        """Tokens of one frame."""
        return codes_per_frame + 1

    def tokens_of(self, codes: Int[Tensor, "f n"]) -> Int[Tensor, " m"]:
        """Codes (frames, codes a frame) -> tokens (frames * (codes a frame + 1)).

        Raises ValueError for no codes at all and for codes outside of the codebook.
        """
        if codes.numel() == 0:
            raise ValueError(
                f"codes of shape {tuple(codes.shape)} hold no frame; a video has one frame or more"
            )
        self._check_codes(codes)
        delimiters = codes.new_full((len(codes), 1), self.eof)
        delimiters[-1] = self.eov
        return torch.cat([codes, delimiters], dim=1).flatten()

    def codes_of(self, tokens: Int[Tensor, " m"]) -> Int[Tensor, "f n"]:
        """Tokens -> codes (frames, codes a frame), the inverse of tokens_of.

        The last frame may end with eof: LWM's sampler forces eof after every frame and never makes eov.
        Raises ValueError for anything else that tokens_of does not make.
        """
        ends = ((tokens == self.eof) | (tokens == self.eov)).nonzero().flatten()
        if len(ends) == 0 or int(ends[-1]) != len(tokens) - 1:
            raise ValueError(
                f"vision tokens must end with eov ({self.eov}) or eof ({self.eof}); the last frame is cut"
            )
        size = int(ends[0]) + 1
        if size == 1 or len(tokens) != size * len(ends) or bool((ends % size != size - 1).any()):
            sizes = sorted({int(n) for n in torch.diff(ends, prepend=ends.new_tensor([-1])) - 1})
            raise ValueError(
                f"frames of vision tokens must be of one size, at least 1; here are {sizes} codes a frame"
            )
        if bool((tokens[ends[:-1]] == self.eov).any()):
            raise ValueError(
                f"eov ({self.eov}) stands inside of a video; only the last frame may end with it"
            )
        codes = tokens.unflatten(0, (-1, size))[:, :-1]
        self._check_codes(codes)
        return codes

    def _check_codes(self, codes: Int[Tensor, "f n"]) -> None:
        low, high = int(codes.min()), int(codes.max())
        if low < 0 or high >= self.codebook_size:
            wrong = low if low < 0 else high
            raise ValueError(
                f"code {wrong} lies outside of the codebook; codes are 0 to {self.codebook_size - 1}"
            )
