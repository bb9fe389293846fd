"""LWM's weights, and those of any LLaMA, as a model of the recipe lwm."""

from collections.abc import Callable
from math import gcd
from pathlib import Path
from typing import Any

from launch.import_weights import Config, Imported, ImportOptions, change_checked, published_config, told_at
from launch.problems import CommandError, Problem


def import_lwm(options: ImportOptions, changes: list[str]) -> Imported:
    """LWM's model of the published config around the weights.

    Sizes are those of the weights' own configuration where they have one, else the config's.

    Raises:
        CommandError: a file is missing or broken, does not fit the config, or the config is wrong.
    """
    import torch

    from checkpoints.build import build
    from components.vocabularies.two_tables import TwoTables
    from launch.run import prepare

    if options.dynamics is not None:
        raise CommandError([Problem("dynamics", f"family {options.family} has none: leave it out")])
    raw = published_config("lwm")
    change_checked(raw, options, changes)
    torch.manual_seed(raw["seed"])
    with told_at("vqgan"):
        tokenizer = frame_tokenizer(options.vqgan, raw)
    with told_at("weights"):
        decoder, fill = LANGUAGE_MODELS[options.family](options.weights, raw)
    raw["model"]["text_tokenizer"]["path"] = options.tokenizer or str(_folder(options.weights).resolve())
    resolved = prepare(raw)
    with told_at("model"):
        model = build(resolved["model"], decoder=decoder, tokenizer=tokenizer)
    if not isinstance(model.vocabulary, TwoTables):
        raise CommandError([Problem("model.vocabulary", "these weights have two tables: leave two_tables")])
    with told_at("weights"):
        fill(model)
    fresh = ["the tables of vision tokens"] if options.family == "llama" else []
    if options.vqgan is None:
        fresh.append("the tokenizer of frames (give vqgan=)")
    commands = {} if fresh else {"sample": f"python sample.py ckpt={options.out} text='...'"}
    commands["train"] = f"python train.py recipe=lwm size=paper stage=model weights={options.out}"
    return Imported(model=model, config=resolved, fresh=fresh, commands=commands)


def llama(path: Path, raw: Config) -> tuple[Any, Callable[[Any], None]]:
    """The decoder of a LlamaForCausalLM, and what puts its text table into a model."""
    from checkpoints.llama import load

    decoder, text = load(path=path)
    layer: Any = decoder.layers[0]
    raw["model"]["decoder"] |= {
        "dim": decoder.dim,
        "num_layers": decoder.num_layers,
        "num_heads": decoder.dim // decoder.head_dim,
        "num_kv_heads": decoder.num_kv_heads,
        "hidden_dim": layer.feed_forward.down.in_features,
        "norm_eps": decoder.norm.eps,
        "attention_bias": layer.attention.qkv.bias is not None,
        "output_bias": layer.attention.output.bias is not None,
    }
    rope = {"theta": decoder.rope.theta, "interleaved": decoder.rope.interleaved}
    raw["model"]["decoder"]["rope"] |= rope
    raw["model"]["text_tokenizer"]["vocabulary_size"] = text.tokens.num_embeddings

    def fill(model: Any) -> None:
        model.vocabulary.text.tokens.weight = text.tokens.weight  # moved, not copied
        model.vocabulary.text.head.weight = text.head.weight

    return decoder, fill


def lwm_jax(path: Path, raw: Config) -> tuple[Any, Callable[[Any], None]]:
    """A decoder of the config's sizes, and what fills it and the tables of a model from LWM's stream."""
    import torch

    from checkpoints.build import build
    from checkpoints.lwm_jax import fill
    from launch.run import prepare

    if path.is_dir():
        raise CommandError([Problem("weights", f"{path}: is a folder; give the file params in it")])
    node = prepare(raw)["model"]["decoder"]
    with torch.device("meta"):  # no first weights are drawn
        decoder = build(node)
    decoder = decoder.to_empty(device="cpu")

    def fill_model(model: Any) -> None:
        tables = model.vocabulary
        fill(path=path, decoder=decoder, text=tables.text, vision=tables.vision)

    return decoder, fill_model


LANGUAGE_MODELS: dict[str, Callable[[Path, Config], tuple[Any, Callable[[Any], None]]]] = {
    "llama": llama,
    "lwm_jax": lwm_jax,
}


def frame_tokenizer(path: Path | None, raw: Config) -> Any:
    """The tokenizer of frames: LWM's pickle, diffusers' folder, a run's own, or a fresh one."""
    from checkpoints import diffusers_vq, lwm_vqgan
    from checkpoints.build import build
    from launch.run import prepare
    from recipes.stage import Stage

    if path is not None and (path / diffusers_vq.WEIGHTS).is_file():
        loaded = diffusers_vq.load(folder=path, frames_at_once=raw["tokenizer"]["frames_at_once"])
        raw["tokenizer"] |= _vqgan_sizes(loaded)
        return loaded
    if path is not None and not path.is_file():
        trained: Any = Stage.load(path)
        raw["tokenizer"] = dict(trained.hparams["tokenizer"])
        return trained.tokenizer
    fresh = build(prepare(raw)["tokenizer"])
    if path is not None:
        lwm_vqgan.fill(path=path, tokenizer=fresh)
    return fresh


def _vqgan_sizes(tokenizer: Any) -> Config:
    """Arguments of VQGAN that make one like this."""
    from components.tokenizers.layers import SpatialAttention

    encoder, quantizer = tokenizer.encoder, tokenizer.quantizer
    widths = [level.blocks[0].conv2.out_channels for level in encoder.levels]
    attentive = [
        i for i, level in enumerate(encoder.levels) if isinstance(level.attentions[0], SpatialAttention)
    ]
    return {
        "channels": gcd(*widths),
        "multipliers": [width // gcd(*widths) for width in widths],
        "blocks": len(encoder.levels[0].blocks),
        "latent_channels": encoder.output.out_channels,
        "norm_groups": encoder.norm.num_groups,
        "attention_levels": attentive,
        "middle_attention": isinstance(encoder.middle[1], SpatialAttention),
        "quantizer": {
            "_component_": "components.quantizers.vq.VectorQuantizer",
            "codebook_size": quantizer.codebook_size,
            "dim": quantizer.dim,
        },
    }


def _folder(path: Path) -> Path:
    return path if path.is_dir() else path.parent
