"""Weights in the format of transformers' LlamaForCausalLM for CausalDecoder and a table of text, and back.

| theirs, in model.layers.{i} | ours, in layers.{i} |
|---|---|
| self_attn.{q,k,v}_proj | attention.qkv, rows one on another |
| self_attn.o_proj | attention.output |
| mlp.{gate,up}_proj, mlp.down_proj | feed_forward.gate_up, rows one on another; feed_forward.down |
| input_layernorm, post_attention_layernorm | attention_norm, feed_forward_norm |
| model.norm; model.embed_tokens, lm_head | norm; tokens and head of the table |

transformers itself is not needed. Source: names, layouts and defaults of transformers.LlamaForCausalLM 5.23.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors.torch import save_file
from torch import Tensor

from checkpoints.own import CONFIG, WEIGHTS, CheckpointError
from checkpoints.public_files import indexed, opened, read_config
from components.attention.rope import Rope
from components.backbones.causal_decoder import CausalDecoder
from components.vocabularies.table import Table

INDEX = WEIGHTS + ".index.json"
TOKENS, HEAD = "model.embed_tokens.weight", "lm_head.weight"
VISION_TOKENS, VISION_HEAD = "vision.embed_tokens.weight", "vision.lm_head.weight"  # beside theirs: LWM's
FLOATS = (torch.float64, torch.float32, torch.float16, torch.bfloat16)
ARCHITECTURE = {"model_type": "llama", "hidden_act": "silu", "mlp_bias": False}  # what CausalDecoder can be


class Llama(NamedTuple):
    """A decoder with its table of text tokens, and the head in it."""

    decoder: CausalDecoder
    text: Table


def load(*, path: Path, dtype: torch.dtype = torch.float32) -> Llama:
    """The model of a folder, sizes and weights; or of a .safetensors file with config.json beside it.

    The weights are read tensor by tensor into their places, in dtype. A tied head becomes a copy.
    Raises CheckpointError for a missing, broken or unfitting file or tensor, and for what CausalDecoder
    cannot be (scaled rotary positions, biases in the feed-forward).
    """
    config, file = _config(path), _config_file(path)
    if "vocab_size" not in config:
        raise CheckpointError(f"{file}: has no vocab_size")
    with torch.device("meta"):  # no first weights are drawn
        decoder = _decoder(config, file).to(dtype)
        text = Table(size=config["vocab_size"], dim=decoder.dim, chunk=None).to(dtype)
    decoder, text = decoder.to_empty(device="cpu"), text.to_empty(device="cpu")
    fill(path=path, decoder=decoder, text=text)
    return Llama(decoder, text)


def fill(*, path: Path, decoder: CausalDecoder, text: Table) -> None:
    """Put the weights of a folder or a .safetensors file into modules of the same sizes, in their dtype.

    Either rotary layout is served. The rotary base is not read: it belongs to the decoder.
    Raises CheckpointError for a missing or broken file and for a tensor that is missing, of another shape, or
    without a place.
    """
    places = Places(decoder, text)
    files = _files(path)
    for file in files:
        for name, tensor in _tensors(file):
            if not name.endswith("rotary_emb.inv_freq"):  # in old files; follows from the rotary base
                places.put(name, tensor, f"{file}: {name}")
    if HEAD in places.empty and _config_file(path).is_file() and _config(path).get("tie_word_embeddings"):
        places.put(HEAD, text.tokens.weight, f"{path}: {TOKENS}")
    for name in places.empty:
        raise CheckpointError(f"{path}: holds no {name}")


def save(*, decoder: CausalDecoder, text: Table, folder: Path) -> None:
    """Write a folder that `LlamaForCausalLM.from_pretrained` reads, in the dtype of the weights."""
    folder.mkdir(parents=True, exist_ok=True)
    attention, feed_forward = decoder.layers[0].attention, decoder.layers[0].feed_forward
    biases = attention.qkv.bias is not None, attention.output.bias is not None
    config = ARCHITECTURE | {
        "architectures": ["LlamaForCausalLM"],
        "vocab_size": text.tokens.num_embeddings,
        "hidden_size": decoder.dim,
        "intermediate_size": feed_forward.down.in_features,
        "num_hidden_layers": decoder.num_layers,
        "num_attention_heads": decoder.dim // decoder.head_dim,
        "num_key_value_heads": decoder.num_kv_heads,
        "attention_bias": any(biases),
        "rms_norm_eps": decoder.norm.eps,
        "rope_parameters": {"rope_type": "default", "rope_theta": decoder.rope.theta},
        "rope_theta": decoder.rope.theta,  # where transformers before 5 reads it
        "tie_word_embeddings": False,
        "dtype": str(text.tokens.weight.dtype).removeprefix("torch."),
    }
    (folder / CONFIG).write_text(json.dumps(config, indent=2) + "\n")
    places = Places(decoder, text).views
    tensors = {name: view.detach().reshape(shape).contiguous() for name, (view, shape) in places.items()}
    if any(biases) and not all(biases):  # theirs has both or none
        for i in range(decoder.num_layers):
            for part in "qkvo":
                weight = tensors[f"model.layers.{i}.self_attn.{part}_proj.weight"]
                tensors.setdefault(
                    f"model.layers.{i}.self_attn.{part}_proj.bias", weight.new_zeros(len(weight))
                )
    save_file(tensors, folder / WEIGHTS, metadata={"format": "pt"})


class Places:
    """Where tensors of LlamaForCausalLM belong: views into our parameters by their names.

    Theirs are half-split; where the decoder's pairs are interleaved, the view puts each row in its place.
    """

    def __init__(self, decoder: CausalDecoder, text: Table, vision: Table | None = None) -> None:
        self.views: dict[str, tuple[Tensor, tuple[int, ...]]] = {}  # what to copy to, and their shape
        heads, groups = decoder.dim // decoder.head_dim, decoder.num_kv_heads
        for i, layer in enumerate(decoder.layers):
            prefix, attention = f"model.layers.{i}", layer.attention
            self._add(f"{prefix}.input_layernorm.weight", layer.attention_norm.weight)
            self._add(f"{prefix}.post_attention_layernorm.weight", layer.feed_forward_norm.weight)
            for kind, parameter in attention.qkv.named_parameters():
                parts = parameter.split([count * decoder.head_dim for count in (heads, groups, groups)])
                for name, part, count in zip("qkv", parts, (heads, groups, 0), strict=True):
                    turned = count if decoder.rope.interleaved else 0
                    self._add(f"{prefix}.self_attn.{name}_proj.{kind}", part, turned)
            for kind, parameter in attention.output.named_parameters():
                self._add(f"{prefix}.self_attn.o_proj.{kind}", parameter)
            gate, up = layer.feed_forward.gate_up.weight.chunk(2)
            self._add(f"{prefix}.mlp.gate_proj.weight", gate)
            self._add(f"{prefix}.mlp.up_proj.weight", up)
            self._add(f"{prefix}.mlp.down_proj.weight", layer.feed_forward.down.weight)
        self._add("model.norm.weight", decoder.norm.weight)
        self._add(TOKENS, text.tokens.weight)
        self._add(HEAD, text.head.weight)
        if vision is not None:
            self._add(VISION_TOKENS, vision.tokens.weight)
            self._add(VISION_HEAD, vision.head.weight)
        self.empty = dict.fromkeys(self.views)  # names not yet put, in order

    def _add(self, name: str, part: Tensor, heads: int = 0) -> None:
        """heads: whose rows are interleaved pairs."""
        view = part.unflatten(0, (heads, -1, 2)).transpose(1, 2) if heads else part
        self.views[name] = view, tuple(part.shape)

    @torch.no_grad()
    def put(self, name: str, tensor: Tensor, source: str) -> None:
        """Copy a tensor to its place. Raises CheckpointError, source first, where it does not fit."""
        if name not in self.views:
            raise CheckpointError(f"{source} has no place in the model")
        view, shape = self.views[name]
        if tuple(tensor.shape) != shape:
            raise CheckpointError(f"{source} is {tuple(tensor.shape)}, where the model has {shape}")
        if tensor.dtype not in FLOATS:
            raise CheckpointError(f"{source} is {tensor.dtype}; quantized weights are not read")
        view.copy_(tensor.view(view.shape))
        self.empty.pop(name, None)


def _files(path: Path) -> list[Path]:
    if path.is_file():
        return [path]
    if (path / WEIGHTS).is_file():
        return [path / WEIGHTS]
    if not (path / INDEX).is_file():
        other = "weights of another format" if any(path.glob("*.bin")) else "no weights"
        raise CheckpointError(f"{path}: holds {other}; expected {WEIGHTS} or {INDEX}")
    return indexed(path / INDEX)


def _tensors(file: Path) -> Iterator[tuple[str, Tensor]]:
    """The file's tensors, one at a time in memory."""
    with opened(file) as tensors:
        for name in tensors.keys():  # noqa: SIM118
            yield name, tensors.get_tensor(name)


def _config_file(path: Path) -> Path:
    return (path if path.is_dir() else path.parent) / CONFIG


def _config(path: Path) -> dict[str, Any]:
    return read_config(_config_file(path), of="LlamaForCausalLM")


def _decoder(config: dict[str, Any], file: Path) -> CausalDecoder:
    for key, value in ARCHITECTURE.items():
        if config.get(key, value) != value:
            raise CheckpointError(f"{file}: {key} is {config[key]!r}; CausalDecoder can only be {value!r}")
    rotary = config.get("rope_parameters") or config.get("rope_scaling") or {}
    if (kind := rotary.get("rope_type", rotary.get("type", "default"))) != "default":
        raise CheckpointError(f"{file}: rotary positions of type {kind!r}; only plain ones are known")
    try:
        dim, heads = config["hidden_size"], config["num_attention_heads"]
        if (config.get("head_dim") or dim // heads) != dim // heads:
            raise CheckpointError(f"{file}: head_dim is {config['head_dim']}, not {dim} / {heads}")
        return CausalDecoder(
            dim=dim,
            num_layers=config["num_hidden_layers"],
            num_heads=heads,
            num_kv_heads=config.get("num_key_value_heads"),
            hidden_dim=config["intermediate_size"],
            rope=Rope(theta=rotary.get("rope_theta", config.get("rope_theta", 10_000.0))),
            norm_eps=config.get("rms_norm_eps", 1e-6),
            attention_bias=config.get("attention_bias", False),
            output_bias=config.get("attention_bias", False),
        )
    except KeyError as error:
        raise CheckpointError(f"{file}: has no {error.args[0]}") from error
    except ValueError as error:
        raise CheckpointError(f"{file}: {error}") from error
