"""HunyuanVideo's transformer with FramePack's context: dual- and single-stream blocks over packed tokens."""

from collections.abc import Sequence
from functools import partial
from typing import Any, Literal

import torch
import torch.nn.functional as F
from jaxtyping import Complex, Float, Int
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint as recomputed

from components.attention.rope_3d import rope_3d
from components.backbones.causal_mask import causal_mask
from components.backbones.context_patches import ContextPatches, PatchLayer
from components.backbones.denoiser import Condition, Segment
from components.backbones.hunyuan_conditions import ImageProjection, LevelEmbedding, TextRefiner
from components.backbones.hunyuan_layers import DualBlock, Levels, Mask, Modulation, SingleBlock, modulated
from components.feature_caches import Reuse


class HunyuanVideo(nn.Module):
    """Velocity of noised latents, given a packed context, text, a start image and a guidance scale.

    text_dim, pooled_dim, image_dim: of the condition's features; pooled and image may be 0, none.
    guidance: has an input for the guidance scale, as models distilled from guidance do.
    context_kernels: a patch layer each; () is HunyuanVideo itself, (1, 2, 4) FramePack.
    rope_axes: features of a head that turn with time, row and column.  rope_pool: how positions of large
    patches are told, by the mean phasor as in the released weights, or by the mean angle.
    history_timestep: the level the context is said to have, the noised frames' (shared, as released) or 0.
    attention: causal hides what is made from what is known, and newer known frames from older ones.
    Where frames differ in level, the condition stream and a shared context have that of the noisiest.
    checkpoint: recompute each block in the backward pass.
    Output layers and gates begin at zero, so that the first velocity is zero, and the context's patch layers
    as averages (ContextPatches.init_from). Raises ValueError for sizes that do not fit each other.
    Source: HunyuanVideo (arXiv 2412.03603), FramePack (arXiv 2504.12626); names as in their public weights.
    """

    def __init__(
        self,
        *,
        latent_channels: int,
        num_heads: int,
        head_dim: int,
        num_layers: int,
        num_single_layers: int,
        num_refiner_layers: int,
        mlp_ratio: float = 4.0,
        text_dim: int,
        pooled_dim: int = 0,
        image_dim: int = 0,
        guidance: bool = False,
        context_kernels: tuple[int, ...] = (1, 2, 4),
        rope_axes: tuple[int, int, int],
        rope_theta: float = 256.0,
        rope_pool: Literal["phasor", "angle"] = "phasor",
        history_timestep: Literal["shared", "zero"] = "shared",
        attention: Literal["full", "causal"] = "full",
        checkpoint: bool = False,
    ) -> None:
        super().__init__()
        if sum(rope_axes) != head_dim or any(axis % 2 for axis in rope_axes):
            raise ValueError(f"rope_axes {list(rope_axes)} must be even and sum to head_dim {head_dim}")
        dim, hidden_dim = num_heads * head_dim, int(num_heads * head_dim * mlp_ratio)
        self.latent_channels, self.text_dim = latent_channels, text_dim
        self.pooled_dim, self.image_dim = pooled_dim, image_dim
        self.context_kernels = context_kernels
        self.rope_axes, self.rope_theta, self.rope_pool = rope_axes, rope_theta, rope_pool
        self.history_timestep, self.attention = history_timestep, attention
        self.checkpoint = checkpoint
        self.x_embedder = PatchLayer(channels=latent_channels, dim=dim)
        self.clean_x_embedder = None
        if context_kernels:
            self.clean_x_embedder = ContextPatches(channels=latent_channels, dim=dim, kernels=context_kernels)
        self.image_projection = ImageProjection(image_dim, dim) if image_dim else None
        self.context_embedder = TextRefiner(text_dim, dim, num_heads, num_refiner_layers)
        self.time_text_embed = LevelEmbedding(dim, pooled_dim, guidance)
        self.transformer_blocks = nn.ModuleList(
            DualBlock(dim, num_heads, hidden_dim) for _ in range(num_layers)
        )
        self.single_transformer_blocks = nn.ModuleList(
            SingleBlock(dim, num_heads, hidden_dim) for _ in range(num_single_layers)
        )
        self.norm_out = Modulation(dim, 2)
        self.proj_out = nn.Linear(dim, 4 * latent_channels)
        self._first_weights()

    def blocks(self) -> list[nn.Module]:
        refiner = self.context_embedder.token_refiner.refiner_blocks
        return [*refiner, *self.transformer_blocks, *self.single_transformer_blocks]

    def patch_layers(self) -> list[nn.Module]:
        return [layer for layer in (self.clean_x_embedder, self.image_projection) if layer is not None]

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
        """Raises ValueError for an input without a layer, and for a missing guidance scale."""
        height, width = -(-x.shape[3] // 2), -(-x.shape[4] // 2)
        noised = self.x_embedder(x)
        tokens = torch.cat([*(self._context_tokens(segment) for segment in context), noised], dim=1)
        count, noised_count = tokens.shape[1], noised.shape[1]
        turns = self._turns([*context, Segment(x, indices, 1)], height, width)
        steps = (1000 * sigma.float()).view(len(x), -1)
        levels = self._levels(steps, condition, count - noised_count, noised_count)
        conditions, mask = self._condition_tokens(condition, steps.amax(dim=1, keepdim=True), count)
        if self.attention == "causal" and context:
            seen = causal_mask(context, noised_count, conditions.shape[1], height, width)
            mask = seen if mask is None else seen & mask
        run = partial(self._through, tokens, conditions, levels, turns, mask, noised_count)
        if reuse is None:
            made = run()
        else:
            block: Any = self.transformer_blocks[0]
            made = reuse(modulated(tokens, *block.norm1(levels)[:2]), noised, run)
        scale, shift = self.norm_out(levels.of_last(noised_count))  # in this order in public weights
        out = self.proj_out(modulated(made, shift, scale))
        cells = out.unflatten(2, (-1, 2, 2)).unflatten(1, (-1, height, width))  # b l h w c 2 2
        velocity = cells.permute(0, 1, 4, 2, 5, 3, 6).flatten(5, 6).flatten(3, 4)
        return velocity[..., : x.shape[3], : x.shape[4]]  # an odd side was padded

    def _through(
        self, tokens: Tensor, conditions: Tensor, levels: Levels, turns: Tensor, mask: Mask, noised_count: int
    ) -> Float[Tensor, "b n d"]:
        """The noised tokens behind all blocks."""
        count = tokens.shape[1]
        for block in self.transformer_blocks:
            tokens, conditions = self._run(block, tokens, conditions, levels, turns, mask)
        both, row = levels.of_both(conditions.shape[1]), torch.cat([tokens, conditions], dim=1)
        for block in self.single_transformer_blocks:
            row = self._run(block, row, both, turns, mask)
        return row[:, count - noised_count : count]

    def _run(self, block: nn.Module, *inputs: Any) -> Any:
        if self.checkpoint and torch.is_grad_enabled():
            return recomputed(block, *inputs, use_reentrant=False)
        return block(*inputs)

    def _context_tokens(self, segment: Segment) -> Float[Tensor, "b n d"]:
        if self.clean_x_embedder is None:
            raise ValueError("a context was given to a backbone without patch layers: name context_kernels")
        return self.clean_x_embedder.patches(segment)

    def _turns(self, segments: list[Segment], height: int, width: int) -> Complex[Tensor, "b n 1 p"]:
        """Phasors of all video tokens, each pooled as its patches are."""
        tables = []
        for segment in segments:
            place = (segment.indices, height, width, self.rope_axes, self.rope_theta)
            tables.append(torch.complex(*rope_3d(*place, segment.kernel, self.rope_pool)))
        return torch.cat(tables, dim=1)[:, :, None]

    def _levels(
        self, steps: Float[Tensor, "b k"], condition: Condition, num_context: int, num_noised: int
    ) -> Levels:
        """Embeddings of the noisiest frame, of every frame where they differ, and of clean context."""
        if condition.guidance is not None and self.time_text_embed.guidance_embedder is None:
            raise ValueError("the backbone has no input for a guidance scale: set distilled_guidance=null")
        if condition.guidance is None and self.time_text_embed.guidance_embedder is not None:
            raise ValueError("the backbone must be told a guidance scale: set distilled_guidance")
        known, of_context, of_frames = [steps.amax(dim=1, keepdim=True)], 0, [0]
        if steps.shape[1] > 1:
            known.append(steps)
            of_frames = list(range(1, 1 + steps.shape[1]))
        if num_context and self.history_timestep == "zero":
            of_context = 1 + of_frames[-1]
            known.append(torch.zeros_like(known[0]))
        embedding = self.time_text_embed(torch.cat(known, dim=1), condition.pooled, condition.guidance)
        if embedding.shape[1] == 1:
            return Levels(F.silu(embedding), None)
        runs = [(of_context, num_context), *((i, num_noised // len(of_frames)) for i in of_frames)]
        which = torch.cat([torch.full((count,), level, device=steps.device) for level, count in runs])
        return Levels(F.silu(embedding), which)

    def _condition_tokens(
        self, condition: Condition, steps: Float[Tensor, "b 1"], num_video: int
    ) -> tuple[Float[Tensor, "b m d"], Mask]:
        """Image tokens, then text tokens up to the longest text; the mask where texts differ in length."""
        tokens, real = _cropped(condition)
        text = self.context_embedder(tokens, steps, real)
        image = text[:, :0]
        if condition.image is not None:
            if self.image_projection is None:
                raise ValueError("an image was given to a backbone without image input: set its image_dim")
            image = self.image_projection(condition.image)
        if real is None:
            return torch.cat([image, text], dim=1), None
        before = real.new_ones(len(real), num_video + image.shape[1])
        return torch.cat([image, text], dim=1), torch.cat([before, real], dim=1)[:, None, None]

    @torch.no_grad()
    def _first_weights(self) -> None:
        for module in self.modules():
            if isinstance(module, nn.Linear | nn.Conv3d) and module.bias is not None:
                nn.init.xavier_uniform_(module.weight.flatten(1))
                nn.init.zeros_(module.bias)
        for module in self.modules():
            if isinstance(module, Modulation):
                nn.init.zeros_(module.linear.weight)
        nn.init.zeros_(self.proj_out.weight)
        if self.clean_x_embedder is not None:
            self.clean_x_embedder.init_from(self.x_embedder.proj)


def _cropped(condition: Condition) -> tuple[Tensor, Tensor | None]:
    """The text's tokens up to the last real one of any sample, and which are real; None where all are."""
    if condition.mask is None:
        return condition.tokens, None
    columns = condition.mask.any(dim=0).nonzero()
    length = int(columns[-1]) + 1 if len(columns) else 1
    mask = condition.mask[:, :length]
    return condition.tokens[:, :length], None if bool(mask.all()) else mask
