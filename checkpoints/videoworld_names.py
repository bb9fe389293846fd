"""Where the tensors of VideoWorld's released tokenizers and latent dynamics belong, by their names.

| theirs, in a half of a tokenizer | ours |
|---|---|
| _in_conv; _projector.{0, 2} | input; norm, output |
| _layers.i._residuals.j | levels.i.blocks.j |
| in it: _residual.{0, 2, 3, 5}, _shortcut | norm1, conv1, norm2, conv2, shortcut |
| _layers.i._attentions.j; _refine.k; _resamples.i | levels.i.attentions.j; middle.k; levels.i.resize |

| theirs, in latent dynamics | ours |
|---|---|
| encoder.encoder_layers.n, numbered through | levels, resizes, middle |
| decoder.decoder_layers.n, in the order they run | middle, norms, levels, resizes |
| encoder.qformer.qformers.h; encoder.act; encoder.pos_embedding | formers.h; queries; positions |

Source: official code, falcon/models/quantizer/vqgan.py, and magvit_v2_ldm.py and qformer.py of
ldm/models/autoencoders.
"""

from collections.abc import Iterable, Iterator
from typing import Any

from torch import Tensor, nn

from components.latent_dynamics.magvit import MagvitDynamics
from components.latent_dynamics.magvit_layers import FrameNorm
from components.tokenizers.layers import SpatialAttention
from components.tokenizers.vqgan import VQGAN

QUERIES = "encoder.act.weight"  # a row for each frame ahead
Named = Iterator[tuple[str, nn.Module]]
"""Their name up to where `weight` or `bias` begins, and our layer."""


def tokenizer_places(tokenizer: VQGAN) -> dict[str, Tensor]:
    """Their name without `generator.` -> our parameter, in their shape."""
    named = [("post_encoder._conv.", tokenizer.quant_conv), ("pre_decoder._conv.", tokenizer.post_quant_conv)]
    named += _projections(tokenizer.quantizer)
    for name, half in (("encoder.", tokenizer.encoder), ("decoder.", tokenizer.decoder)):
        named += [(name + inner, layer) for inner, layer in _image_coder(half)]
    return _places(named)


def dynamics_places(dynamics: MagvitDynamics) -> tuple[dict[str, Tensor], tuple[str, ...]]:
    """Their name without `generator.` -> our tensor, in their shape; and beginnings of names never used."""
    encoder, decoder = dynamics.encoder, dynamics.decoder
    named = [("encoder.conv_in.", encoder.input), ("decoder.conv_out.", decoder.output)]
    named += _projections(dynamics.quantizer)
    for h, former in enumerate(dynamics.formers):
        named += [(f"encoder.qformer.qformers.{h}.{name}", layer) for name, layer in _query_former(former)]
    closing = []
    for name, layers in (
        ("encoder.encoder_layers", list(_encoder_layers(encoder))),
        ("decoder.decoder_layers", list(_decoder_layers(decoder))),
    ):
        for n, layer in enumerate(layers):
            named += [(f"{name}.{n}.{inner}", part) for inner, part in layer]
        closing.append(f"{name}.{len(layers)}.")
    places = _places(named)
    places[QUERIES] = dynamics.queries
    places["encoder.pos_embedding.positional_encoding_gaussian_matrix"] = dynamics.positions.frequencies
    return places, tuple(closing)


def _places(named: Iterable[tuple[str, nn.Module]]) -> dict[str, Tensor]:
    places = {}
    for name, layer in named:
        for inner, parameter in layer.named_parameters():
            of_frames = isinstance(layer, FrameNorm)  # theirs has one row of all frames' channels
            places[name + inner] = parameter.detach().flatten() if of_frames else parameter.detach()
    return places


def _image_coder(half: Any) -> Named:
    yield "_in_conv.", half.input
    yield "_projector.0.", half.norm
    yield "_projector.2.", half.output
    for k, layer in enumerate(half.middle):
        yield from _block(f"_refine.{k}.", layer)
    for i, level in enumerate(half.levels):
        for j, (block, attention) in enumerate(zip(level.blocks, level.attentions, strict=True)):
            yield from _block(f"_layers.{i}._residuals.{j}.", block)
            yield from _block(f"_layers.{i}._attentions.{j}.", attention)
        if not isinstance(level.resize, nn.Identity):
            yield f"_resamples.{i}._conv.", level.resize.conv


def _block(name: str, layer: Any) -> Named:
    """A residual block, or attention."""
    if isinstance(layer, nn.Identity):
        return
    if isinstance(layer, SpatialAttention):
        yield f"{name}_group_norm.", layer.norm
        yield f"{name}_multihead_attention.in_proj_", layer.qkv
        yield f"{name}_multihead_attention.out_proj.", layer.output
        return
    for part, inner in ((0, layer.norm1), (2, layer.conv1), (3, layer.norm2), (5, layer.conv2)):
        yield f"{name}_residual.{part}.", inner
    yield f"{name}_shortcut.", layer.shortcut


def _projections(quantizer: Any) -> list[tuple[str, nn.Module]]:
    return [(f"quantizer.{name}.", getattr(quantizer, name)) for name in ("project_in", "project_out")]


def _query_former(former: Any) -> Named:
    for d, layer in enumerate(former.layers):
        yield from _cross_attention(f"layers.{d}.cross_attn_token_to_image.", layer.attention)
        yield f"layers.{d}.norm2.", layer.attention_norm
        yield f"layers.{d}.mlp.lin1.", layer.hidden
        yield f"layers.{d}.mlp.lin2.", layer.output
        yield f"layers.{d}.norm3.", layer.output_norm
    yield from _cross_attention("final_attn_token_to_image.", former.attention)
    yield "norm_final_attn.", former.norm


def _cross_attention(name: str, layer: Any) -> Named:
    for inner, linear in (("q", layer.q), ("k", layer.k), ("v", layer.v), ("out", layer.output)):
        yield f"{name}{inner}_proj.", linear


def _encoder_layers(encoder: Any) -> Iterator[Named]:
    """What each number of theirs stands for."""
    for level, resize in zip(encoder.levels, [*encoder.resizes, None], strict=True):
        yield from _level(level)
        if resize is not None:
            yield iter([("_conv.", resize)])
    yield from _level(encoder.middle)


def _decoder_layers(decoder: Any) -> Iterator[Named]:
    yield from _level(decoder.middle)
    for norm, level, resize in zip(decoder.norms, decoder.levels, [*decoder.resizes, None], strict=True):
        yield iter([("", norm)])
        yield from _level(level)
        if resize is not None:
            yield iter([("net.0.", resize.conv)])


def _level(blocks: Any) -> Iterator[Named]:
    """A block that changes the width has a number to itself; the others share one."""
    first, *others = blocks
    if isinstance(first.shortcut, nn.Identity):
        others = [first, *others]
    else:
        yield _block("", first)
    if others:
        yield (part for j, block in enumerate(others) for part in _block(f"{j}.", block))
