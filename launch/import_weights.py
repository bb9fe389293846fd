"""The import script: public weights become a folder that train, sample and evaluate read."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from math import gcd
from pathlib import Path
from typing import Any, Literal

from launch.options import run_command
from launch.problems import CommandError, Problem

Config = dict[str, Any]


@dataclass
class ImportOptions:
    """What to import."""

    family: Literal["llama", "lwm_jax"] = field(
        metadata={"help": "llama: a folder of transformers' LlamaForCausalLM; lwm_jax: LWM's file params"}
    )
    weights: Path = field(metadata={"help": "that folder or file"})
    out: Path = field(metadata={"help": "folder to write to"})
    vqgan: Path | None = field(
        default=None,
        metadata={
            "help": "LWM's file vqgan, a folder of diffusers' VQModel, or a run that trained a tokenizer"
        },
    )
    tokenizer: str | None = field(
        default=None, metadata={"help": "folder or hub id of the text tokenizer; null = beside the weights"}
    )


def main(tokens: list[str]) -> int:
    """Run the command; returns the exit code."""
    changes = [token for token in tokens if "." in token.partition("=")[0]]
    others = [token for token in tokens if token not in changes]
    return run_command(
        ImportOptions, "import_weights.py", others, lambda options: write_import(options, changes)
    )


def write_import(options: ImportOptions, changes: list[str]) -> None:
    """Import, and say what was made. changes: keys of the config, `model.decoder.num_layers=2`."""
    model = import_weights(options, changes)
    count = sum(parameter.numel() for parameter in model.parameters())
    print(f"wrote {options.out}: {count:,} parameters")
    fresh = []
    if options.family == "llama":
        fresh.append("the tables of vision tokens")
    if options.vqgan is None:
        fresh.append("the tokenizer of frames (give vqgan=)")
    if fresh:
        print(f"fresh, to be trained: {', '.join(fresh)}")
    else:
        print(f"sample:    python sample.py ckpt={options.out} text='...'")
    print(f"train:     python train.py recipe=lwm size=paper stage=model weights={options.out}")


def import_weights(options: ImportOptions, changes: list[str]) -> Any:
    """Build the model of the published config around the public weights and export it.

    Sizes are those of the weights' own configuration where they have one, else the config's.

    Raises:
        CommandError: a file is missing or broken, does not fit the config, or the config is wrong.
    """
    import torch

    from checkpoints.build import build
    from checkpoints.own import export
    from components.vocabularies.two_tables import TwoTables
    from launch.command import parse
    from launch.compose import change
    from launch.run import prepare

    raw = published_config()
    problems = change(raw, parse(changes))
    if not options.weights.exists():
        problems.append(Problem("weights", f"{options.weights}: no such file or folder"))
    if problems:
        raise CommandError(problems)
    torch.manual_seed(raw["seed"])
    with _told_at("vqgan"):
        tokenizer = frame_tokenizer(options.vqgan, raw)
    with _told_at("weights"):
        decoder, fill = FAMILIES[options.family](options.weights, raw)
    raw["model"]["text_tokenizer"]["path"] = options.tokenizer or str(_folder(options.weights).resolve())
    resolved = prepare(raw)
    with _told_at("model"):
        model = build(resolved["model"], decoder=decoder, tokenizer=tokenizer)
    if not isinstance(model.vocabulary, TwoTables):
        raise CommandError([Problem("model.vocabulary", "these weights have two tables: leave two_tables")])
    with _told_at("weights"):
        fill(model)
    model.remember(resolved)
    export(model, resolved, options.out)
    return model


def published_config() -> Config:
    """LWM at the paper's size, of no stage."""
    from launch.compose import overlay, recipe_folders
    from launch.presets import yaml_load

    folder = recipe_folders()["lwm"]
    config, paper = yaml_load(folder / "config.yaml"), yaml_load(folder / "paper.yaml")
    for part in (config, paper):
        part.pop("stages", None)
    overlay(config, paper)
    return {"recipe": "lwm", "size": "paper", "stage": "imported"} | config


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


FAMILIES: dict[str, Callable[[Path, Config], tuple[Any, Callable[[Any], None]]]] = {
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


@contextmanager
def _told_at(key: str) -> Iterator[None]:
    """What is wrong with a file, as a problem at the key that names it."""
    from checkpoints.own import CheckpointError

    try:
        yield
    except (CheckpointError, ValueError) as error:
        raise CommandError([Problem(key, str(error).splitlines()[0])]) from error
