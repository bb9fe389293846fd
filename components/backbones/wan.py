"""Wan's video transformer, with a packed context of past latents as FramePack gives HunyuanVideo."""

from collections.abc import Sequence
from typing import Literal

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Complex, Float, Int
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint as recomputed

from components.attention.rope_3d import rope_3d
from components.backbones.context_patches import ContextPatches, patchify
from components.backbones.denoiser import Condition, Segment
from components.backbones.wan_layers import ConditionEmbedder, Levels, WanBlock, modulated, modulation
from components.feature_caches import Reuse

ROPE_THETA = 10_000.0


class Wan(nn.Module):
    """Velocity of noised latents, given a packed context, text and a start image.

    hidden_dim: of the feed-forward.  text_dim, image_dim: of the condition's features; image may be 0, none.
    pooled_dim: of the text encoder's pooled vector, which Wan has no input for.
    text_length: texts are filled up with zeros to so many tokens and the zeros are attended to, as the public
    weights know it (512). None: attention stops at a text's end.
    context_kernels: a patch layer each; () is Wan itself.
    rope_pool: how positions of large patches are told, by the mean phasor or by the mean angle.
    history_timestep: the level that the context is said to have, the noised frames' (shared) or 0. Where
    frames differ in level, a shared context has that of the noisiest.
    checkpoint: recompute each block in the backward pass.
    The first velocity is zero; the context's patch layers begin as averages (ContextPatches.init_from).
    Raises ValueError for heads whose size is odd or below 6.
    Source: Wan (arXiv 2503.20314), names as in its public weights for diffusers; context of FramePack (arXiv
    2504.12626), ported to Wan as in Helios (arXiv 2603.04379).
    """

    blocks: "BlockList"

    def __init__(
        self,
        *,
        latent_channels: int,
        num_heads: int,
        head_dim: int,
        hidden_dim: int,
        num_layers: int,
        text_dim: int,
        pooled_dim: int = 0,
        image_dim: int = 0,
        text_length: int | None = None,
        context_kernels: Sequence[int] = (1, 2, 4),
        rope_pool: Literal["phasor", "angle"] = "phasor",
        history_timestep: Literal["shared", "zero"] = "shared",
        checkpoint: bool = False,
    ) -> None:
        super().__init__()
        if head_dim % 2 or head_dim < 6:
            raise ValueError(
                f"head_dim {head_dim} must be even and at least 6: time, row and column share it"
            )
        dim = num_heads * head_dim
        self.latent_channels, self.text_dim = latent_channels, text_dim
        self.pooled_dim, self.image_dim = 0, image_dim
        self.text_length = text_length
        self.context_kernels = tuple(context_kernels)
        side = 2 * (head_dim // 6)
        self.rope_axes = (head_dim - 2 * side, side, side)
        self.rope_pool, self.history_timestep = rope_pool, history_timestep
        self.checkpoint = checkpoint
        self.patch_embedding = nn.Conv3d(latent_channels, dim, (1, 2, 2), stride=(1, 2, 2))
        self.clean_x_embedder = None
        if self.context_kernels:
            kernels = self.context_kernels
            self.clean_x_embedder = ContextPatches(channels=latent_channels, dim=dim, kernels=kernels)
        self.condition_embedder = ConditionEmbedder(dim, text_dim, image_dim)
        self.blocks = BlockList(
            WanBlock(dim, num_heads, hidden_dim, image_dim > 0) for _ in range(num_layers)
        )
        self.proj_out = nn.Linear(dim, 4 * latent_channels)
        self.scale_shift_table = nn.Parameter(torch.randn(1, 2, dim) / dim**0.5)
        self._first_weights()

    def patch_layers(self) -> list[nn.Module]:
        """The context's; the image branch belongs to the public image-to-video weights."""
        return [] if self.clean_x_embedder is None else [self.clean_x_embedder]

    def forward(
        self,
        x: Float[Tensor, "b l c i j"],
        sigma: Float[Tensor, " b"] | Float[Tensor, "b l"],
        *,
        indices: Int[Tensor, "b l"],
        context: Sequence[Segment] = (),
        condition: Condition,
        reuse: Reuse | None = None,
    ) -> Float[Tensor, "b l c i j"]:
        """Raises ValueError for an input that the model has no layer for, and for a feature cache."""
        if reuse is not None:
            raise ValueError("this backbone has no feature cache: set feature_cache=null")
        if condition.guidance is not None:
            raise ValueError("the backbone has no input for a guidance scale: set distilled_guidance=null")
        height, width = -(-x.shape[3] // 2), -(-x.shape[4] // 2)
        noised = patchify(x, self.patch_embedding)
        tokens = torch.cat([*(self._context_tokens(segment) for segment in context), noised], dim=1)
        turns = self._turns([*context, Segment(x, indices, 1)], height, width)
        steps = (1000 * sigma.float()).view(len(x), -1)
        levels = self._levels(steps, tokens.shape[1] - noised.shape[1], noised.shape[1])
        text, mask = self._text(condition)
        image = self._image(condition)
        for block in self.blocks():
            if self.checkpoint and torch.is_grad_enabled():
                tokens = recomputed(block, tokens, levels, turns, text, mask, image, use_reentrant=False)
            else:
                tokens = block(tokens, levels, turns, text, mask, image)
        last = slice(-noised.shape[1], None)
        of_token = None if levels.of_token is None else levels.of_token[last]
        shift, scale = modulation(self.scale_shift_table, levels.embedding[:, :, None], of_token)
        out = self.proj_out(modulated(tokens[:, last], shift, scale))
        cells = out.unflatten(2, (2, 2, -1)).unflatten(1, (-1, height, width))  # b l h w 2 2 c
        velocity = cells.permute(0, 1, 6, 2, 4, 3, 5).flatten(5, 6).flatten(3, 4)
        return velocity[..., : x.shape[3], : x.shape[4]]  # an odd side was padded

    def _context_tokens(self, segment: Segment) -> Float[Tensor, "b n d"]:
        if self.clean_x_embedder is None:
            raise ValueError("a context was given to a backbone without patch layers: name context_kernels")
        return self.clean_x_embedder.patches(segment)

    def _turns(self, segments: list[Segment], height: int, width: int) -> Complex[Tensor, "b n 1 p"]:
        """Phasors of all tokens, each pooled as its patches are."""
        tables = []
        for segment in segments:
            place = (segment.indices, height, width, self.rope_axes, ROPE_THETA)
            tables.append(torch.complex(*rope_3d(*place, segment.kernel, self.rope_pool)))
        return torch.cat(tables, dim=1)[:, :, None]

    def _levels(self, steps: Float[Tensor, "b k"], num_context: int, num_noised: int) -> Levels:
        """Levels of the frames, and last that of the context where it is another one."""
        count = steps.shape[1]
        own_level = num_context > 0 and (count > 1 or self.history_timestep == "zero")
        if own_level:
            of_context = steps.amax(dim=1, keepdim=True)
            if self.history_timestep == "zero":
                of_context = torch.zeros_like(of_context)
            steps = torch.cat([steps, of_context], dim=1)
        if steps.shape[1] == 1:
            return self.condition_embedder.levels(steps, None)
        of_frames = torch.arange(count, device=steps.device).repeat_interleave(num_noised // count)
        of_token = torch.cat([of_frames.new_full((num_context,), count), of_frames])
        return self.condition_embedder.levels(steps, of_token)

    def _text(self, condition: Condition) -> tuple[Float[Tensor, "b m d"], Bool[Tensor, "b 1 1 m"] | None]:
        """Text tokens, and which of them are seen; None: all."""
        tokens, mask = condition.tokens, condition.mask
        if self.text_length is not None:
            if mask is not None:
                tokens = tokens * mask.to(tokens.dtype)[..., None]
            tokens = F.pad(tokens, (0, 0, 0, self.text_length - tokens.shape[1]))  # cuts longer ones
            mask = None
        elif mask is not None:
            columns = mask.any(dim=0).nonzero()
            length = int(columns[-1]) + 1 if len(columns) else 1
            tokens, mask = tokens[:, :length], mask[:, :length]
            mask = None if bool(mask.all()) else mask[:, None, None]
        return self.condition_embedder.text_embedder(tokens), mask

    def _image(self, condition: Condition) -> Float[Tensor, "b i d"] | None:
        if condition.image is None:
            return None
        if self.condition_embedder.image_embedder is None:
            raise ValueError("an image was given to a backbone without image input: set its image_dim")
        return self.condition_embedder.image_embedder(condition.image)

    @torch.no_grad()
    def _first_weights(self) -> None:
        for module in self.modules():
            if isinstance(module, nn.Linear | nn.Conv3d) and module.bias is not None:
                nn.init.xavier_uniform_(module.weight.flatten(1))
                nn.init.zeros_(module.bias)
        embedder = self.condition_embedder
        for part in (embedder.time_embedder, embedder.text_embedder):
            nn.init.normal_(part.linear_1.weight, std=0.02)
            nn.init.normal_(part.linear_2.weight, std=0.02)
        nn.init.zeros_(self.proj_out.weight)
        if self.clean_x_embedder is not None:
            self.clean_x_embedder.init_from(self.patch_embedding)


class BlockList(nn.ModuleList):
    """Blocks under the name that public weights give them; called, it lists them."""

    def forward(self) -> list[nn.Module]:
        return list(self)
