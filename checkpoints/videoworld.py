"""VideoWorld's released files, as mmengine writes them, for our VQGAN, MagvitDynamics, decoder and table.

| file | theirs | ours |
|---|---|---|
| of a tokenizer | generator.{encoder, post_encoder, quantizer, pre_decoder, decoder} | VQGAN |
| of latent dynamics | generator.{encoder, quantizer, decoder}, or generator_ema.module | MagvitDynamics |
| of a decoder | neck.llm, named as transformers.LlamaForCausalLM | CausalDecoder, Table |
| | vbackbone, post_encode, v_token, pre_decode, v_token_decoder | its tokenizer, once more |

Of latent dynamics the averaged weights are taken where the file has them, as the released tests do. What
training alone needs is passed over: discriminators, optimizers, logs. Heads for actions and the layer for an
instruction are too: the released model sees only the signs of an instruction's embedding.
Source: official code, falcon/models/algorithms and ldm/models/algorithms.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Int
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from checkpoints.llama import FLOATS, HEAD, TOKENS, Places
from checkpoints.own import CheckpointError, load_plain
from checkpoints.videoworld_names import QUERIES, dynamics_places, tokenizer_places
from components.backbones.causal_decoder import CausalDecoder
from components.latent_dynamics.magvit import MagvitDynamics
from components.sequences.union_layout import Part, UnionLayout
from components.tokenizers.vqgan import VQGAN
from components.vocabularies.table import Table

AVERAGED, TRAINED, LANGUAGE_MODEL = "generator_ema.module.", "generator.", "neck.llm."
IN_DECODER_FILES = {  # how the tokenizer's parts are called there
    "encoder.": "vbackbone.",
    "post_encoder.": "post_encode.",
    "quantizer.": "v_token.",
    "pre_decoder.": "pre_decode.",
    "decoder.": "v_token_decoder.",
}
ROTATION = "rotary_emb.inv_freq"
UNREAD = ("mmengine.", "numpy.")  # logs, beside the weights


def read(path: Path) -> dict[str, Tensor]:
    """The tensors of a .pth or .safetensors file by their names; executes no code from it.

    Raises CheckpointError for a missing or broken file, Refused for one with objects besides tensors, plain
    values and mmengine's logs.
    """
    if path.suffix == ".safetensors":
        try:
            return load_file(path)
        except (SafetensorError, OSError) as error:
            raise CheckpointError(f"{path}: not a readable safetensors file, perhaps cut short") from error
    with torch.serialization.safe_globals(_inert(path)):
        content = load_plain(path)
    state = content.get("state_dict", content) if isinstance(content, dict) else None
    if not isinstance(state, dict) or not all(isinstance(value, Tensor) for value in state.values()):
        raise CheckpointError(f"{path}: holds no state_dict of tensors")
    return state


def fill_tokenizer(*, path: Path, tokenizer: VQGAN) -> None:
    """Put a tokenizer's weights into a VQGAN of the same sizes, from its own file or a decoder's.

    Raises CheckpointError for a file that cannot be read and for a tensor that is missing, of another shape,
    or without a place.
    """
    found, prefixes = read(path), {part: TRAINED + part for part in IN_DECODER_FILES}
    if any(name.startswith(LANGUAGE_MODEL) for name in found):
        prefixes = IN_DECODER_FILES
    places = {}
    for name, place in tokenizer_places(tokenizer).items():
        part = name[: name.index(".") + 1]
        places[prefixes[part] + name.removeprefix(part)] = place
    _fill(places, {name: found[name] for name in found if name.startswith(tuple(prefixes.values()))}, path)


def fill_dynamics(*, path: Path, dynamics: MagvitDynamics) -> None:
    """Put weights of latent dynamics into a MagvitDynamics of the same sizes and horizon.

    Raises CheckpointError as fill_tokenizer does.
    """
    found = read(path)
    prefix = AVERAGED if any(name.startswith(AVERAGED) for name in found) else TRAINED
    places, closing = dynamics_places(dynamics)
    unused = tuple(prefix + name for name in closing)
    mine = [name for name in found if name.startswith(prefix) and not name.startswith(unused)]
    _fill(
        {prefix + name: place for name, place in places.items()}, {name: found[name] for name in mine}, path
    )


def horizon(path: Path) -> int:
    """How many frames ahead the latent dynamics of a file see."""
    found = read(path)
    for prefix in (AVERAGED, TRAINED):
        if (name := prefix + QUERIES) in found:
            return len(found[name])
    raise CheckpointError(f"{path}: holds no {TRAINED}{QUERIES}")


def fill_decoder(
    *, path: Path, decoder: CausalDecoder, table: Table, ids: Int[Tensor, " v"] | None = None
) -> None:
    """Put a decoder's weights into modules of the same sizes.

    ids: for each id of the table the released one, -1 = none (go_ids, calvin_ids); None: they are the same.
    Raises CheckpointError as fill_tokenizer does.
    """
    places, expected = Places(decoder, table), None if ids is None else int(ids.max()) + 1
    for name, tensor in read(path).items():
        inner = name.removeprefix(LANGUAGE_MODEL)
        if inner == name or name.endswith(ROTATION):
            continue
        if ids is not None and inner in (TOKENS, HEAD):
            if len(tensor) != expected:
                told = f"{name} has {len(tensor)} ids, where the layout has {expected}"
                raise CheckpointError(f"{path}: {told}")
            tensor = tensor[ids.clamp(min=0)]
            tensor[ids < 0] = 0.0
        places.put(inner, tensor, f"{path}: {name}")
    for name in places.empty:
        raise CheckpointError(f"{path}: holds no {LANGUAGE_MODEL}{name}")


def decoder_sizes(path: Path) -> dict[str, Any]:
    """Arguments of CausalDecoder, `rope.theta` among them, as the tensors of a file tell them."""
    found = {name.removeprefix(LANGUAGE_MODEL): tensor for name, tensor in read(path).items()}
    try:
        dim, frequencies = found[TOKENS].shape[1], found[f"model.layers.0.self_attn.{ROTATION}"].double()
        hidden_dim = len(found["model.layers.0.mlp.gate_proj.weight"])
    except KeyError as error:
        raise CheckpointError(f"{path}: holds no {LANGUAGE_MODEL}{error.args[0]}") from error
    return {
        "dim": dim,
        "num_layers": sum(name.endswith("mlp.gate_proj.weight") for name in found),
        "num_heads": dim // (2 * len(frequencies)),
        "hidden_dim": hidden_dim,
        "attention_bias": "model.layers.0.self_attn.q_proj.bias" in found,
        "output_bias": "model.layers.0.self_attn.o_proj.bias" in found,
        "rope.theta": round(float(frequencies[-1]) ** (-len(frequencies) / max(len(frequencies) - 1, 1))),
    }


def go_ids(layout: UnionLayout) -> Int[Tensor, " v"]:
    """The id that the released Go model has for each of a layout's.

    Behind the text come the ids of <im_start>, <im_end>, <image>, <mask>, <act_start>, <act>, <act_end> and
    the codes; images are the last. The table is two ids short of all that: the last two codes share the ids
    of the first two image codes.
    """
    text = layout.sizes["text"]
    starts: dict[Part, int] = {"text": 0, "codes": text + 7, "image": text + 5 + layout.sizes["codes"]}
    special = {"frame_begin": text, "frame_end": text + 1, "codes_begin": text + 4, "codes_end": text + 6}
    return _ids(layout, starts, special)


def calvin_ids(layout: UnionLayout) -> Int[Tensor, " v"]:
    """The id that the released robot model has for each of a layout's; it has no delimiters of codes."""
    image = layout.sizes["image"]
    return _ids(layout, {"image": 0, "codes": image + 2}, {"frame_begin": image, "frame_end": image + 1})


def _ids(layout: UnionLayout, starts: dict[Part, int], special: dict[str, int]) -> Int[Tensor, " v"]:
    ids = torch.full((layout.size,), -1)
    for part, start in starts.items():
        first, size = layout.starts[part], layout.sizes[part]
        ids[first : first + size] = torch.arange(start, start + size)
    for name, released in special.items():
        ids[layout.special(name)] = released
    return ids


def _fill(places: Mapping[str, Tensor], found: Mapping[str, Tensor], path: Path) -> None:
    for name, place in places.items():
        if name not in found:
            raise CheckpointError(f"{path}: holds no {name}")
        tensor = found[name]
        if tensor.shape != place.shape:
            told = f"{name} is {tuple(tensor.shape)}, where the model has {tuple(place.shape)}"
            raise CheckpointError(f"{path}: {told}")
        if tensor.dtype not in FLOATS:
            raise CheckpointError(f"{path}: {name} is {tensor.dtype}, not of floats")
    for name in found:
        if name not in places:
            raise CheckpointError(f"{path}: {name} has no place in the model")
    with torch.no_grad():
        for name, place in places.items():
            place.copy_(found[name])


class _Unread:
    """Stands for an object of a library that the weights do not need."""

    def __init__(self, *_content: Any) -> None:
        pass

    def __setstate__(self, _state: Any) -> None:
        pass


def _inert(path: Path) -> list[Callable[..., Any] | tuple[Callable[..., Any], str]]:
    """Names in a file's pickle that are read as nothing at all."""
    try:
        names = torch.serialization.get_unsafe_globals_in_checkpoint(path)
    except Exception:  # no such file, or not one of torch: reading it says so
        return []
    return [(_Unread, name) for name in names if name.startswith(UNREAD)]
