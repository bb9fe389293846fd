"""Image VQGANs in diffusers' format (VQModel) for our VQGAN, and ours in that format.

A folder as VQModel.save_pretrained writes it: config.json and one .safetensors file. diffusers itself is not
needed. Of aMUSEd's VQGAN, which LWM uses, to VQModels with attention: all but "spatial" norms.
Source: names, layouts and defaults of diffusers.VQModel 0.42.
"""

import json
import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from checkpoints.own import CONFIG, CheckpointError
from checkpoints.public_files import read_config
from components.quantizers.vq import VectorQuantizer
from components.tokenizers.layers import SpatialAttention
from components.tokenizers.vqgan import VQGAN

WEIGHTS = "diffusion_pytorch_model.safetensors"
CODEBOOK = "quantize.embedding.weight"
PLAIN_DOWN, PLAIN_UP = "DownEncoderBlock2D", "UpDecoderBlock2D"
ATTENTION = "Attn"  # before either: attention after every block

RENAMES = [  # ours, theirs; {} stands for q, k and v, which lie one on another in ours
    (r"^(encoder|decoder)\.input\.", r"\1.conv_in."),
    (r"^(encoder|decoder)\.norm\.", r"\1.conv_norm_out."),
    (r"^(encoder|decoder)\.output\.", r"\1.conv_out."),
    (r"^(encoder|decoder)\.middle\.0\.", r"\1.mid_block.resnets.0."),
    (r"^(encoder|decoder)\.middle\.1\.", r"\1.mid_block.attentions.0."),
    (r"^(encoder|decoder)\.middle\.2\.", r"\1.mid_block.resnets.1."),
    (r"^encoder\.levels\.(\d+)\.resize\.", r"encoder.down_blocks.\1.downsamplers.0."),
    (r"^decoder\.levels\.(\d+)\.resize\.", r"decoder.up_blocks.\1.upsamplers.0."),
    (r"^encoder\.levels\.", "encoder.down_blocks."),
    (r"^decoder\.levels\.", "decoder.up_blocks."),
    (r"^quantizer\.codebook$", CODEBOOK),
    (r"\.blocks\.", ".resnets."),
    (r"\.shortcut\.", ".conv_shortcut."),
    (r"(\.attentions\.\d+)\.norm\.", r"\1.group_norm."),
    (r"(\.attentions\.\d+)\.qkv\.", r"\1.to_{}."),
    (r"(\.attentions\.\d+)\.output\.", r"\1.to_out.0."),
]


def load(*, folder: Path, frames_at_once: int | None = None) -> VQGAN:
    """The VQGAN of a folder, sizes and weights; frames_at_once as VQGAN's.

    Raises CheckpointError for a missing or broken file and for what VQGAN cannot be.
    """
    sizes = _sizes(folder / CONFIG)
    file, tensors = _weights(folder)
    quantizer = VectorQuantizer(codebook_size=sizes.pop("codebook_size"), dim=sizes.pop("dim"))
    tokenizer = VQGAN(quantizer=quantizer, frames_at_once=frames_at_once, **sizes)
    fill(tokenizer, tensors, str(file))
    return tokenizer


def save(tokenizer: VQGAN, folder: Path) -> None:
    """Write a folder that `VQModel.from_pretrained` reads; of a VQGAN with a VectorQuantizer.

    Raises CheckpointError for another quantizer.
    """
    folder.mkdir(parents=True, exist_ok=True)
    (folder / CONFIG).write_text(json.dumps(_config(tokenizer), indent=2) + "\n")
    save_file(vq_model_state(tokenizer), folder / WEIGHTS, metadata={"format": "pt"})


def fill(tokenizer: VQGAN, tensors: Mapping[str, Tensor], source: str) -> None:
    """Put a VQModel's state dict into a VQGAN of the same sizes; source names it in messages.

    Raises CheckpointError for a tensor that is missing, of another shape, or without a place.
    """
    quantizer, left = _vector_quantizer(tokenizer), dict(tensors)

    def take(name: str, shape: torch.Size) -> Tensor:
        if name not in left:
            raise CheckpointError(f"{source}: holds no {name}")
        if left[name].shape != shape:
            told = f"{name} is {tuple(left[name].shape)}, where the tokenizer has {tuple(shape)}"
            raise CheckpointError(f"{source}: {told}")
        return left.pop(name)

    state = {}
    for ours, (theirs, tensor) in _places(tokenizer).items():
        parts = tensor.chunk(len(theirs))
        state[ours] = torch.cat([take(name, part.shape) for name, part in zip(theirs, parts, strict=True)])
    for name in left:
        raise CheckpointError(f"{source}: the tokenizer has no place for {name}")
    tokenizer.load_state_dict(state, strict=False)
    quantizer.usage.fill_(1.0)  # running means go on from here, with every code equally used
    if quantizer.update == "ema":
        quantizer.sums.copy_(quantizer.codebook)


def vq_model_state(tokenizer: VQGAN) -> dict[str, Tensor]:
    """The state dict of a VQModel with these weights."""
    _vector_quantizer(tokenizer)
    state = {}
    for theirs, tensor in _places(tokenizer).values():
        for name, part in zip(theirs, tensor.chunk(len(theirs)), strict=True):
            state[name] = part.clone(memory_format=torch.contiguous_format)
    return state


def _places(tokenizer: VQGAN) -> dict[str, tuple[list[str], Tensor]]:
    """Our names -> (the names of a VQModel whose tensors make it, our tensor)."""
    places = {}
    for ours, tensor in tokenizer.state_dict().items():
        if ours.startswith("quantizer.") and ours != "quantizer.codebook":
            continue  # what training remembers beside the codebook
        theirs = ours
        for pattern, name in RENAMES:
            theirs = re.sub(pattern, name, theirs)
        names = [theirs.format(part) for part in "qkv"] if "{}" in theirs else [theirs]
        places[ours] = (names, tensor)
    return places


def _vector_quantizer(tokenizer: VQGAN) -> VectorQuantizer:
    if not isinstance(tokenizer.quantizer, VectorQuantizer):
        told = f"{type(tokenizer.quantizer).__name__}: a VQModel has a plain codebook"
        raise CheckpointError(f"{told}; only a VectorQuantizer has one too")
    return tokenizer.quantizer


def _weights(folder: Path) -> tuple[Path, dict[str, Tensor]]:
    """diffusers' own file, or the only one."""
    files = [folder / WEIGHTS] if (folder / WEIGHTS).is_file() else sorted(folder.glob("*.safetensors"))
    if len(files) != 1:
        raise CheckpointError(f"{folder}: holds no {WEIGHTS} and {len(files)} other .safetensors files")
    try:
        return files[0], load_file(files[0])
    except (SafetensorError, OSError) as error:
        raise CheckpointError(f"{files[0]}: not a readable safetensors file, perhaps cut short") from error


def _sizes(file: Path) -> dict[str, Any]:
    """Arguments of VQGAN and, as codebook_size and dim, of its quantizer, from a VQModel's config.json."""
    config = read_config(file, of="diffusers VQModel")
    expected = {"_class_name": "VQModel", "act_fn": "silu", "norm_type": "group"}
    expected |= {"in_channels": 3, "out_channels": 3}
    for key, value in expected.items():
        if config.get(key, value) != value:
            raise CheckpointError(f"{file}: {key} is {config[key]!r}; VQGAN can only be {value!r}")
    try:
        widths, down, up = config["block_out_channels"], config["down_block_types"], config["up_block_types"]
        latents = config["latent_channels"]
        sizes = {
            "codebook_size": config["num_vq_embeddings"],
            "dim": config.get("vq_embed_dim") or latents,
            "channels": math.gcd(*widths),
            "multipliers": [width // math.gcd(*widths) for width in widths],
            "blocks": config["layers_per_block"],
            "latent_channels": latents,
            "norm_groups": config["norm_num_groups"],
            "attention_levels": [i for i, name in enumerate(down) if name == ATTENTION + PLAIN_DOWN],
            "middle_attention": config.get("mid_block_add_attention", True),
        }
    except KeyError as error:
        raise CheckpointError(f"{file}: has no {error.args[0]}") from error
    if _block_types(len(widths), sizes["attention_levels"]) != (list(down), list(up)):
        raise CheckpointError(f"{file}: blocks {down} and {up}; VQGAN's halves mirror each other")
    return sizes


def _block_types(levels: int, attention_levels: list[int]) -> tuple[list[str], list[str]]:
    prefixes = [ATTENTION if i in attention_levels else "" for i in range(levels)]
    return [prefix + PLAIN_DOWN for prefix in prefixes], [prefix + PLAIN_UP for prefix in reversed(prefixes)]


def _config(tokenizer: VQGAN) -> dict[str, Any]:
    levels = tokenizer.encoder.levels
    with_attention = [
        i for i, level in enumerate(levels) if isinstance(level.attentions[0], SpatialAttention)
    ]
    down, up = _block_types(len(levels), with_attention)
    return {
        "_class_name": "VQModel",
        "act_fn": "silu",
        "norm_type": "group",
        "in_channels": 3,
        "out_channels": 3,
        "block_out_channels": [level.blocks[0].conv2.out_channels for level in levels],
        "down_block_types": down,
        "up_block_types": up,
        "layers_per_block": len(levels[0].blocks),
        "latent_channels": tokenizer.encoder.output.out_channels,
        "vq_embed_dim": tokenizer.quantizer.dim,
        "num_vq_embeddings": tokenizer.codebook_size,
        "norm_num_groups": tokenizer.encoder.norm.num_groups,
        "mid_block_add_attention": isinstance(tokenizer.encoder.middle[1], SpatialAttention),
        "lookup_from_codebook": True,
    }
