"""Configurations of diffusers' video transformers, and which of them our backbones are like.

| class of diffusers | ours |
|---|---|
| HunyuanVideoTransformer3DModel | HunyuanVideo, context_kernels: [] |
| HunyuanVideoFramepackTransformer3DModel | HunyuanVideo, context_kernels: [1, 2, 4] |
| WanTransformer3DModel | Wan, context_kernels: [] |

Source: names and defaults of diffusers 0.42.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from torch import nn

from checkpoints.own import CheckpointError
from components.backbones.hunyuan_video import HunyuanVideo
from components.backbones.wan import Wan
from components.finetuning.lora import plain

HUNYUAN, FRAMEPACK = "HunyuanVideoTransformer3DModel", "HunyuanVideoFramepackTransformer3DModel"
WAN = "WanTransformer3DModel"
UNCHECKED = {  # they change no weight that the names and shapes do not tell
    "_class_name", "rope_max_seq_len", "image_condition_type",
    "image_proj_dim", "has_image_proj", "has_clean_x_embedder",
}  # fmt: skip


def settings(backbone: nn.Module) -> dict[str, Any]:
    """The configuration of the diffusers class that a backbone is like."""
    rows = {plain(name): len(weight) for name, weight in backbone.named_parameters()}
    if isinstance(backbone, Wan):
        dim, head = backbone.patch_embedding.out_channels, sum(backbone.rope_axes)
        return {
            "_class_name": WAN,
            "patch_size": [1, 2, 2],
            "num_attention_heads": dim // head,
            "attention_head_dim": head,
            "in_channels": backbone.latent_channels,
            "out_channels": backbone.latent_channels,
            "text_dim": backbone.text_dim,
            "freq_dim": 256,
            "ffn_dim": rows["blocks.0.ffn.net.0.proj.bias"],
            "num_layers": len(backbone.blocks),
            "cross_attn_norm": True,
            "qk_norm": "rms_norm_across_heads",
            "eps": 1e-6,
            "image_dim": backbone.image_dim or None,
            "added_kv_proj_dim": dim if backbone.image_dim else None,
            "rope_max_seq_len": 1024,
        }
    if not isinstance(backbone, HunyuanVideo):
        raise CheckpointError(f"{type(backbone).__name__} is like no transformer of diffusers")
    dim, head = backbone.x_embedder.proj.out_channels, sum(backbone.rope_axes)
    dual, single = "transformer_blocks.0.ff.net.0.proj.bias", "single_transformer_blocks.0.proj_mlp.bias"
    hidden = rows[dual] if dual in rows else rows[single]
    settings = {
        "_class_name": FRAMEPACK if backbone.context_kernels or backbone.image_dim else HUNYUAN,
        "in_channels": backbone.latent_channels,
        "out_channels": backbone.latent_channels,
        "num_attention_heads": dim // head,
        "attention_head_dim": head,
        "num_layers": len(backbone.transformer_blocks),
        "num_single_layers": len(backbone.single_transformer_blocks),
        "num_refiner_layers": len(backbone.context_embedder.token_refiner.refiner_blocks),
        "mlp_ratio": hidden / dim,
        "patch_size": 2,
        "patch_size_t": 1,
        "qk_norm": "rms_norm",
        "guidance_embeds": backbone.time_text_embed.guidance_embedder is not None,
        "text_embed_dim": backbone.text_dim,
        "pooled_projection_dim": backbone.pooled_dim,
        "rope_theta": backbone.rope_theta,
        "rope_axes_dim": list(backbone.rope_axes),
        "image_condition_type": None,
    }
    if settings["_class_name"] == FRAMEPACK:
        settings |= {
            "has_image_proj": backbone.image_dim > 0,
            "image_proj_dim": backbone.image_dim,
            "has_clean_x_embedder": bool(backbone.context_kernels),
        }
    return settings


def beyond(backbone: nn.Module) -> Iterator[tuple[str, Any, Any]]:
    """What a backbone does that diffusers' class would do in another way, or not at all."""
    kernels = tuple(backbone.context_kernels)
    if isinstance(backbone, Wan):
        if kernels:
            yield "context_kernels", list(kernels), []
        return
    if isinstance(backbone, HunyuanVideo):
        if kernels not in ((), (1, 2, 4)):
            yield "context_kernels", list(kernels), "[] and [1, 2, 4]"
        if kernels and backbone.rope_pool != "phasor":
            yield "rope_pool", backbone.rope_pool, "phasor"
        if kernels and backbone.history_timestep != "shared":
            yield "history_timestep", backbone.history_timestep, "shared"
        if not backbone.pooled_dim:
            yield "pooled_dim", 0, "backbones with pooled text"


def compare(theirs: dict[str, Any], ours: dict[str, Any], file: Path) -> None:
    """Raise CheckpointError for all settings that both have and that differ."""
    family = "Wan" if ours["_class_name"] == WAN else "HunyuanVideo"
    if not str(theirs.get("_class_name")).startswith(family):
        raise CheckpointError(f"{file}: of a {theirs.get('_class_name')}, the backbone is a {family}")
    different = [
        f"{name} is {theirs[name]}, the backbone's {value}"
        for name, value in ours.items()
        if name in theirs and name not in UNCHECKED and theirs[name] != value
    ]
    if different:
        raise CheckpointError(f"{file}: {'; '.join(different)}")
