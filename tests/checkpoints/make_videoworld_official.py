"""Runs the official VideoWorld code on drawn weights and keeps what it makes, for test_videoworld.

    git clone https://github.com/ByteDance-Seed/VideoWorld   # made at commit 37d32e9
    python -m tests.checkpoints.make_videoworld_official CLONE

Its modules run as they are; only their registries and the classes of mmengine and transformers that they
derive from are stand-ins, and the sizes that it writes out (512 features, a grid of 16x16) are smaller. At
the published sizes only names and shapes are kept. All is computed in float64, kept in float32.
"""

import contextlib
import functools
import importlib
import json
import sys
import types
import zlib
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

FIXTURE = Path(__file__).parent / "videoworld_official.npz"
TOKENIZER = {"width": 32, "multipliers": [1, 2, 2], "blocks": 1, "latents": 16, "levels": [5, 4, 3]}
DYNAMICS = {"channels": 32, "multipliers": [1, 2, 2, 4], "blocks": 2, "levels": [8, 5, 4]}
SIDE = 16  # pixels of the small models
DECODER = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 40}
VOCABULARY = 61
LAYERS = dict(r="consecutive_residual", c="channel_residual", d="spatial_down", u="spatial_up", a="condation")
HORIZONS = {"dynamics_1": 1, "dynamics_2": 2}


@functools.cache
def drawn(name: str, shape: tuple[int, ...]) -> Tensor:
    """From the name alone, so that the fixture need not hold it."""
    rng = np.random.Generator(np.random.Philox(key=zlib.crc32(name.encode())))
    value = rng.standard_normal(shape, dtype=np.float32)
    if len(shape) > 1 and not name.endswith("gaussian_matrix"):
        value /= np.sqrt(np.prod(shape[1:], dtype=np.float32))
    elif len(shape) == 1:
        value = 0.2 * value + (name.endswith("weight"))
    return torch.from_numpy(np.asarray(value, np.float32))


def state(shapes: dict[str, list[int]]) -> dict[str, Tensor]:
    return {name: drawn(name, tuple(shape)) for name, shape in shapes.items()}


def inputs() -> dict[str, Tensor]:
    """Pixels in [0, 1]."""
    rng = np.random.Generator(np.random.Philox(key=6))
    return {
        "frames": torch.from_numpy(rng.random((2, 3, SIDE, SIDE))),
        "video": torch.from_numpy(rng.random((2, 3, 3, SIDE, SIDE))),
        "ids": torch.from_numpy(rng.integers(0, VOCABULARY, (2, 11))),
    }


def _stand_in(name: str, **content: object) -> None:
    module = types.ModuleType(name)
    module.__dict__.update(content)
    sys.modules[name] = module


class _Registry:
    def register_module(self):
        return lambda cls: cls

    def build(self, module: nn.Module) -> nn.Module:
        return module


class _Model(nn.Module):
    def __init__(self, config: object) -> None:
        super().__init__()
        self.config = config

    def post_init(self) -> None:
        pass


class _Config:
    output_attentions = output_hidden_states = False
    use_return_dict = True

    def __init__(self, **_kwargs: object) -> None:
        pass


def official(clone: Path) -> types.SimpleNamespace:
    """The modules of the official code, by name."""
    folders = {"ldm": clone / "VideoWorld/LDM/ldm", "falcon": clone / "VideoWorld/VideoWorld/falcon"}
    for package, folder in folders.items():
        for part in ("", ".models", *(f".models.{p.name}" for p in (folder / "models").iterdir())):
            _stand_in(package + part, __path__=[str(folder / part.replace(".", "/").strip("/"))])
        _stand_in(f"{package}.registry", MODELS=_Registry())
    _stand_in("kornia", __path__=[])
    _stand_in("kornia.filters", filter3d=None)
    _stand_in("mmengine", __path__=[])
    nothing = dict.fromkeys(("normal_init", "update_init_info", "xavier_init"))
    _stand_in("mmengine.model", BaseModule=nn.Module, **nothing)

    logging = types.SimpleNamespace(get_logger=lambda _name: None)
    names = ("add_start_docstrings", "add_start_docstrings_to_model_forward", "replace_return_docstrings")
    documented = dict.fromkeys(names, lambda *_args, **_kwargs: lambda cls: cls)
    outputs = {"BaseModelOutputWithPast": _Output, "CausalLMOutputWithPast": _Output}
    for part, content in {
        "": {"__path__": []},
        ".activations": {"ACT2FN": {"silu": F.silu}},
        ".configuration_utils": {"PretrainedConfig": _Config},
        ".generation": {"__path__": []},
        ".generation.streamers": {"BaseStreamer": object},
        ".modeling_outputs": {**outputs, "SequenceClassifierOutputWithPast": None},
        ".modeling_utils": {"PreTrainedModel": _Model},
        ".utils": {**documented, "logging": logging},
    }.items():
        _stand_in(f"transformers{part}", **content)
    return types.SimpleNamespace(
        vqgan=importlib.import_module("falcon.models.quantizer.vqgan"),
        connector=importlib.import_module("falcon.models.quantizer.connector"),
        fsq=importlib.import_module("falcon.models.quantizer.finite_scalar_quantization"),
        internlm=importlib.import_module("falcon.models.necks.modeling_internlm"),
        ldm=importlib.import_module("ldm.models.autoencoders.magvit_v2_ldm"),
        ldm_fsq=importlib.import_module("ldm.models.quantizers.finite_scalar_quantization"),
        generator=importlib.import_module("ldm.models.generator.magvit_generator"),
    )


class _Output(types.SimpleNamespace):
    def __getitem__(self, _index: int) -> Tensor:
        return self.last_hidden_state


def tokenizer(code, *, width, multipliers, blocks, latents, levels, small) -> nn.Module:
    parts = {
        "encoder": code.vqgan.VQGANEncoder(
            out_channels=latents, width=width, width_mults=multipliers, depth_mult=blocks, init_cfg=None
        ),
        "post_encoder": code.connector.ConvConnector(in_channels=latents, out_channels=latents),
        "pre_decoder": code.connector.ConvConnector(in_channels=latents, out_channels=latents),
        "decoder": code.vqgan.VQGANDecoder(
            in_channels=latents, width=width, width_mults=multipliers[::-1], depth_mult=blocks + 1
        ),
    }
    with torch.device("cpu"):
        parts["quantizer"] = code.fsq.FSQ(levels=levels, dim=latents)
    model = nn.ModuleDict({"generator": nn.ModuleDict(parts)})
    for module in model.modules() if small else ():
        if isinstance(module, code.vqgan.Attention):  # 512 wide, whatever it was told
            attention = nn.MultiheadAttention(module._num_channels, 1, batch_first=True)
            module._multihead_attention = attention
    return model


def dynamics(code, *, encoder, decoder, levels, dim) -> nn.Module:
    with torch.device("cpu"):
        quantizer = code.ldm_fsq.FSQ(levels=levels, dim=dim)
    whole = code.generator.MagVitGenerator(
        code.ldm.MagvitV2LAencoder(**encoder), quantizer, code.ldm.MagvitV2LAAdadecoder(**decoder)
    )
    return nn.ModuleDict({"generator": whole})


@contextlib.contextmanager
def smaller(code, dim: int, side: int):
    """The encoder's written-out sizes replaced: 512 features, a grid of 16x16."""
    positions, former, embedding = code.ldm.PositionEmbeddingRandom, code.ldm.QFormerMFSep, nn.Embedding

    class Positions(positions):
        def __init__(self, _count: int) -> None:
            super().__init__(dim // 2)

        def forward(self, _size: tuple[int, int]) -> Tensor:
            return super().forward((side, side))

    code.ldm.PositionEmbeddingRandom = Positions
    code.ldm.QFormerMFSep = lambda depth, _dim, heads, _mlp, **kw: former(depth, dim, heads, dim, **kw)
    code.ldm.nn.Embedding = lambda count, _dim: embedding(count, dim)
    yield
    code.ldm.PositionEmbeddingRandom, code.ldm.QFormerMFSep = positions, former
    code.ldm.nn.Embedding = embedding


def _layers(text: str) -> list[tuple[str, int]]:
    return [(LAYERS[part[0]], int(part[1:] or 1)) for part in text.split()]


def small_dynamics(code, horizon: int) -> nn.Module:
    """The published form, 32 wide and with half the blocks."""
    sizes = {"image_size": SIDE, "channels": 3, "init_dim": DYNAMICS["channels"], "time_padding": 3}
    encoder = _layers("r2 d c r1 d r2 d c r1 r2")
    decoder = _layers("r1 c a u r2 a u r1 c a u r2 a r2")
    counts = {"frame_num": 1 + horizon, "act_embedding_num": horizon}
    flags = {"use_la_norm": True, "sep_qformer": True, "pre_out_layer": len(encoder) - 1}
    dim = DYNAMICS["channels"] * DYNAMICS["multipliers"][-1]
    with smaller(code, dim, SIDE // 8):
        return dynamics(
            code,
            encoder=sizes | counts | flags | {"layers": encoder},
            decoder=sizes | {"use_pre_video": False, "use_pre_encode": True, "layers": decoder},
            levels=DYNAMICS["levels"],
            dim=dim,
        )


def published_dynamics(code, config: Path) -> nn.Module:
    """Of a released config, less the argument that its encoder does not know."""
    settings: dict = {}
    exec(config.read_text(), settings)
    parts = {name: dict(part) for name, part in list(settings["model"]["generator"].items())[1:]}
    for part in parts.values():
        part.pop("type")
    parts["encoder"].pop("use_qformer_for_code", None)
    return dynamics(code, encoder=parts["encoder"], decoder=parts["decoder"], **parts["quantizer"])


def shapes(model: nn.Module) -> dict[str, list[int]]:
    return {name: list(tensor.shape) for name, tensor in model.state_dict().items()}


@torch.no_grad()
def main(clone: Path) -> None:
    code = official(clone)
    kept: dict[str, np.ndarray] = {}
    names: dict[str, dict[str, list[int]]] = {}
    given = inputs()

    model = tokenizer(code, **TOKENIZER, small=True).eval().double()
    names["tokenizer"] = shapes(model)
    model.load_state_dict(state(names["tokenizer"]))
    parts = model["generator"]
    latents = parts["post_encoder"](parts["encoder"](2 * given["frames"] - 1))
    codes, indices = parts["quantizer"](latents)
    kept["tokenizer:latents"], kept["tokenizer:indices"] = latents.numpy(), indices.numpy()
    kept["tokenizer:frames"] = parts["decoder"](parts["pre_decoder"](codes)).numpy()

    for case, horizon in HORIZONS.items():
        model = small_dynamics(code, horizon).eval().double()
        names[case] = shapes(model)
        model.load_state_dict(state(names[case]))
        video = (2 * given["video"][:, : 1 + horizon] - 1).transpose(1, 2)
        frames, _, indices, features, _ = model["generator"](video)
        kept[f"{case}:frames"] = frames.numpy()
        kept[f"{case}:indices"], kept[f"{case}:features"] = indices.numpy(), features.numpy()

    model = code.internlm.InternLMForCausalLM(code.internlm.InternLMConfig(VOCABULARY, **DECODER)).eval()
    model = nn.ModuleDict({"neck": nn.ModuleDict({"llm": model})}).double()
    names["decoder"] = shapes(model)
    frequencies = {name: t for name, t in model.state_dict().items() if name.endswith("inv_freq")}
    model.load_state_dict(state(names["decoder"]) | frequencies)
    kept["decoder:logits"] = model["neck"]["llm"](given["ids"]).logits.numpy()

    with torch.device("meta"):
        sizes = {"width": 128, "multipliers": (1, 1, 1, 2, 2, 4, 4), "blocks": 2, "latents": 256}
        levels = [8, 8, 8, 5, 5, 5]
        names["published tokenizer"] = shapes(tokenizer(code, **sizes, levels=levels, small=False))
        for game in ("go", "calvin"):
            config = clone / f"VideoWorld/LDM/configs/{game}_ldm.py"
            names[f"published {game} dynamics"] = shapes(published_dynamics(code, config))
    small = {name: a.astype(np.float32) if a.dtype == np.float64 else a for name, a in kept.items()}
    np.savez_compressed(FIXTURE, names=np.frombuffer(json.dumps(names).encode(), np.uint8), **small)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
