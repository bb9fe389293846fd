"""LWM's own weights, as its JAX code writes them, for our decoder and tables.

| theirs | ours |
|---|---|
| transformer/h/scan_decoder/..., one array for all layers, or transformer/h/{i}/... | layers.{i} |
| attention/wq, wk, wv; attention/wo | attention.qkv, rows one on another; attention.output |
| feed_forward/w1, w3; feed_forward/w2 | feed_forward.gate_up, rows one on another; feed_forward.down |
| attention_norm, ffn_norm; transformer/ln_f | attention_norm, feed_forward_norm; norm |
| transformer/wte, lm_head; transformer/vte, vision_head | tokens and head of the text and vision table |

Their matrices are (in, out) and the pairs of their heads interleaved. A whole training state, with
params/params before these names, serves as well; its optimizer is passed over. JAX is not needed.
Source: official code, lwm/vision_llama.py and its streaming checkpoints.
"""

from functools import partial
from pathlib import Path

from checkpoints.flax_stream import Record, read_stream
from checkpoints.llama import HEAD, TOKENS, VISION_HEAD, VISION_TOKENS, Places
from checkpoints.own import CheckpointError
from components.backbones.causal_decoder import CausalDecoder
from components.vocabularies.table import Table

ONCE = {  # theirs -> transformers' name, by which places are known
    "transformer/wte/embedding": TOKENS,
    "transformer/vte/embedding": VISION_TOKENS,
    "transformer/ln_f/kernel": "model.norm.weight",
    "lm_head/kernel": HEAD,
    "vision_head/kernel": VISION_HEAD,
}
LAYERS = "transformer/h/"
STACKED = "scan_decoder"
IN_LAYER = {
    "attention/wq/kernel": "self_attn.q_proj.weight",
    "attention/wk/kernel": "self_attn.k_proj.weight",
    "attention/wv/kernel": "self_attn.v_proj.weight",
    "attention/wo/kernel": "self_attn.o_proj.weight",
    "feed_forward/w1/kernel": "mlp.gate_proj.weight",
    "feed_forward/w2/kernel": "mlp.down_proj.weight",
    "feed_forward/w3/kernel": "mlp.up_proj.weight",
    "attention_norm/kernel": "input_layernorm.weight",
    "ffn_norm/kernel": "post_attention_layernorm.weight",
}
INTERLEAVED = ("attention/wq/kernel", "attention/wk/kernel")
PREFIX = "params"
OF_THE_MODEL = {PREFIX} | {name.partition("/")[0] for name in ONCE}


def fill(*, path: Path, decoder: CausalDecoder, text: Table, vision: Table | None) -> None:
    """Put the weights of a file into modules of the same sizes, in their dtype, one matrix at a time.

    vision: None for LWM-Text. Either rotary layout is served; the rotary base is not in the file.
    Raises CheckpointError for a missing, broken or truncated file and for an array that is missing, of
    another shape, or without a place.
    """
    places = Places(decoder, text, vision)
    for record in read_stream(path):
        key = record.key
        while key[:1] == (PREFIX,):
            key = key[1:]
        if record.key[0] not in OF_THE_MODEL:
            continue  # of a training state: its step and its optimizer
        _put(places, decoder, "/".join(key), record)
    for name in places.empty:
        raise CheckpointError(f"{path}: holds no {_theirs(name)}")


def _put(places: Places, decoder: CausalDecoder, name: str, record: Record) -> None:
    source, array = f"{record.path}: {record.name}", record.array()
    if name in ONCE:
        whole = array.whole()
        places.put(ONCE[name], whole.T if name.endswith("head/kernel") else whole, source)
        return
    layer, _, inner = name.removeprefix(LAYERS).partition("/")
    if not name.startswith(LAYERS) or inner not in IN_LAYER or not (layer == STACKED or layer.isdigit()):
        raise CheckpointError(f"{source} has no place in the model")
    if layer != STACKED:
        entries = {int(layer): array.whole}
    elif array.shape[:1] == (decoder.num_layers,):
        entries = {i: partial(array.entry, i) for i in range(decoder.num_layers)}
    else:
        raise CheckpointError(f"{source} is {array.shape}, where the model has {decoder.num_layers} layers")
    for i, read in entries.items():
        tensor = read()
        if tensor.ndim == 2:
            tensor = tensor.T
        if inner in INTERLEAVED and tensor.shape[0] % decoder.head_dim == 0:
            tensor = tensor.unflatten(0, (-1, decoder.head_dim // 2, 2)).transpose(1, 2).flatten(0, 2)
        places.put(f"model.layers.{i}.{IN_LAYER[inner]}", tensor, f"{source}, layer {i},")


def _theirs(name: str) -> str:
    for theirs, ours in ONCE.items():
        if name == ours:
            return theirs
    layer, _, inner = name.removeprefix("model.layers.").partition(".")
    theirs = {ours: theirs for theirs, ours in IN_LAYER.items()}[inner]
    return f"{LAYERS}{layer}/{theirs}, nor {LAYERS}{STACKED}/{theirs}"
