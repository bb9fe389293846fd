"""A pickle as LWM's `vqgan`, made here by hand, against its channels-last forward pass; none runs code."""

import os
import pickle
from collections import OrderedDict

import numpy as np
import pytest
import torch

from checkpoints.lwm_vqgan import fill, read
from checkpoints.own import CheckpointError, Refused
from components.quantizers.vq import VectorQuantizer
from components.tokenizers.vqgan import VQGAN

CHANNELS, MULTIPLIERS, BLOCKS, LATENT, DIM, CODES, GROUPS = 4, (1, 2, 3), 2, 6, 5, 11, 2


class Draw:
    """Nested dictionaries of flax's names, and arrays for them."""

    def __init__(self):
        self.rng = np.random.default_rng(0)

    def normal(self, *shape):
        return self.rng.standard_normal(shape, dtype=np.float32)

    def conv(self, size, inner, outer):
        kernel = self.normal(size, size, inner, outer) / np.float32(size * inner**0.5)
        return {"kernel": kernel, "bias": 0.1 * self.normal(outer)}

    def norm(self, width):
        return {"scale": 1 + 0.2 * self.normal(width), "bias": 0.2 * self.normal(width)}

    def resnet(self, inner, outer):
        block = {"GroupNorm_0": self.norm(inner), "Conv_0": self.conv(3, inner, outer)}
        block |= {"GroupNorm_1": self.norm(outer), "Conv_1": self.conv(3, outer, outer)}
        return block | ({"Conv_2": self.conv(1, inner, outer)} if inner != outer else {})

    def half(self, kind, first, widths, blocks, last, resize):
        half, width = {"Conv_0": self.conv(3, first, widths[0])}, widths[0]
        for n, wide in enumerate(widths):
            level = {f"ResnetBlock_{m}": self.resnet(width if m == 0 else wide, wide) for m in range(blocks)}
            if n < len(widths) - 1:
                level[f"{resize}_0"] = {"Conv_0": self.conv(3, wide, wide)}
            half[f"{kind}_{n}"], width = level, wide
        middle = widths[-1] if kind == "DownsamplingBlock" else widths[0]
        half["MidBlock_0"] = {f"ResnetBlock_{m}": self.resnet(middle, middle) for m in range(2)}
        return half | {"GroupNorm_0": self.norm(width), "Conv_1": self.conv(3, width, last)}


def parameters():
    draw, widths = Draw(), [CHANNELS * multiplier for multiplier in MULTIPLIERS]
    return {
        "encoder": draw.half("DownsamplingBlock", 3, widths, BLOCKS, LATENT, "Downsample"),
        "decoder": draw.half("UpsamplingBlock", LATENT, widths[::-1], BLOCKS + 1, 3, "Upsample"),
        "quantize": {"embeddings": draw.normal(CODES, DIM)},
        "quant_conv": draw.conv(1, LATENT, DIM),
        "post_quant_conv": draw.conv(1, DIM, LATENT),
    }


def conv(p, x, stride=1, padding=((1, 1), (1, 1))):
    """By its definition, channels last."""
    size = len(p["kernel"])
    x = np.pad(x, ((0, 0), *(padding if size == 3 else ((0, 0), (0, 0))), (0, 0)))
    height, width = (x.shape[1] - size) // stride + 1, (x.shape[2] - size) // stride + 1
    taps = (
        x[:, i : i + stride * height : stride, j : j + stride * width : stride]
        @ p["kernel"][i, j].astype(float)
        for i in range(size)
        for j in range(size)
    )
    return sum(taps) + p["bias"]


def norm(p, x):
    groups = x.reshape(*x.shape[:3], GROUPS, -1)
    mean = groups.mean(axis=(1, 2, 4), keepdims=True)
    variance = groups.var(axis=(1, 2, 4), keepdims=True)
    return ((groups - mean) / np.sqrt(variance + 1e-6)).reshape(x.shape) * p["scale"] + p["bias"]


def silu(x):
    return x / (1 + np.exp(-x))


def resnet(p, x):
    y = conv(p["Conv_0"], silu(norm(p["GroupNorm_0"], x)))
    y = conv(p["Conv_1"], silu(norm(p["GroupNorm_1"], y)))
    return y + (conv(p["Conv_2"], x) if "Conv_2" in p else x)


def blocks(p, x):
    for m in range(sum(name.startswith("ResnetBlock") for name in p)):
        x = resnet(p[f"ResnetBlock_{m}"], x)
    return x


def encode(p, x):
    e = p["encoder"]
    x = conv(e["Conv_0"], x)
    for n in range(len(MULTIPLIERS)):
        level = e[f"DownsamplingBlock_{n}"]
        x = blocks(level, x)
        if "Downsample_0" in level:
            x = conv(level["Downsample_0"]["Conv_0"], x, stride=2, padding=((0, 1), (0, 1)))
    x = conv(e["Conv_1"], silu(norm(e["GroupNorm_0"], blocks(e["MidBlock_0"], x))))
    z = conv(p["quant_conv"], x)
    distances = ((z[..., None, :] - p["quantize"]["embeddings"].astype(float)) ** 2).sum(-1)
    return distances.argmin(-1)


def decode(p, codes):
    d = p["decoder"]
    x = conv(p["post_quant_conv"], p["quantize"]["embeddings"].astype(float)[codes])
    x = blocks(d["MidBlock_0"], conv(d["Conv_0"], x))
    for n in range(len(MULTIPLIERS)):
        level = d[f"UpsamplingBlock_{n}"]
        x = blocks(level, x)
        if "Upsample_0" in level:
            x = conv(level["Upsample_0"]["Conv_0"], x.repeat(2, axis=1).repeat(2, axis=2))
    return np.clip(conv(d["Conv_1"], silu(norm(d["GroupNorm_0"], x))), -1, 1)


def tokenizer(**changes):
    sizes = dict(channels=CHANNELS, multipliers=MULTIPLIERS, blocks=BLOCKS, latent_channels=LATENT)
    quantizer = VectorQuantizer(codebook_size=CODES, dim=DIM)
    return VQGAN(quantizer=quantizer, norm_groups=GROUPS, **sizes | changes).eval()


@pytest.mark.parametrize("protocol", [4, 5])
@pytest.mark.parametrize("wrap", [lambda p: p, lambda p: {"params": p}], ids=["bare", "params"])
def test_codes_and_pictures_are_those_of_the_original(wrap, protocol, tmp_path):
    arrays = parameters()
    (tmp_path / "vqgan").write_bytes(pickle.dumps(wrap(arrays), protocol=protocol))
    ours = tokenizer()
    fill(path=tmp_path / "vqgan", tokenizer=ours)
    ours = ours.double()
    pixels = np.random.default_rng(1).random((2, 16, 12, 3))
    video = torch.from_numpy(pixels).movedim(-1, 1)[:, None]
    codes = encode(arrays, 2 * pixels - 1)
    assert len(np.unique(codes)) > 3
    assert (ours.encode(video)[:, 0].numpy() == codes).all()
    decoded = (decode(arrays, codes) + 1) / 2
    with torch.no_grad():
        found = ours.decode(torch.from_numpy(codes)[:, None])[:, 0].movedim(1, -1).numpy()
    np.testing.assert_allclose(found, decoded, atol=1e-9)


def test_names_are_those_of_a_vq_model(tmp_path):
    """Every name that diffusers has for these sizes, none else, in its shapes."""
    diffusers = pytest.importorskip("diffusers")
    (tmp_path / "vqgan").write_bytes(pickle.dumps(parameters()))
    model = diffusers.VQModel(
        block_out_channels=tuple(CHANNELS * multiplier for multiplier in MULTIPLIERS),
        down_block_types=("DownEncoderBlock2D",) * len(MULTIPLIERS),
        up_block_types=("UpDecoderBlock2D",) * len(MULTIPLIERS),
        layers_per_block=BLOCKS,
        latent_channels=LATENT,
        vq_embed_dim=DIM,
        num_vq_embeddings=CODES,
        norm_num_groups=GROUPS,
        mid_block_add_attention=False,
    )
    shapes = {name: tensor.shape for name, tensor in read(tmp_path / "vqgan").items()}
    assert shapes == {name: tensor.shape for name, tensor in model.state_dict().items()}


class Runs:
    def __reduce__(self):
        return os.mkdir, ("made",)


@pytest.mark.parametrize(
    ("content", "asked"),
    [
        (pickle.dumps({"a": Runs()}), r"(posix|nt)\.mkdir"),
        (
            pickle.dumps({"encoder": {"b": OrderedDict(c=np.zeros(2, np.float32))}}),
            r"collections\.OrderedDict",
        ),
        (b"cnumpy\nload\n(S'x'\ntR.", r"numpy\.load"),
        (b"\x80\x04\x8c\x05numpy\x8c\x0cndarray.dump\x93.", r"numpy\.ndarray\.dump"),
        (pickle.dumps(np.array(["made", Runs()], dtype=object)), r"(posix|nt)\.mkdir"),
    ],
)
def test_a_pickle_of_anything_but_arrays_is_refused(tmp_path, monkeypatch, content, asked):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "vqgan").write_bytes(content)
    with pytest.raises(Refused, match=f"refused, the pickle asks for {asked}; only numpy arrays") as error:
        read(tmp_path / "vqgan")
    assert "\n" not in str(error.value)
    assert not (tmp_path / "made").exists()


def without(arrays, *names):
    *outer, last = names
    for name in outer:
        arrays = arrays[name]
    del arrays[last]


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda p: without(p, "encoder", "Conv_0", "kernel"), r"vqgan: holds no encoder\.conv_in\.weight"),
        (lambda p: without(p, "quantize"), r"vqgan: holds no quantize\.embedding\.weight"),
        (
            lambda p: p["decoder"]["Conv_1"].update(bias=np.zeros(4, np.float32)),
            r"vqgan: decoder\.conv_out\.bias .*\(4,\), where the tokenizer has \(3,\)",
        ),
        (
            lambda p: p["encoder"]["MidBlock_0"].update(
                AttnBlock_0={"Conv_0": {"bias": np.zeros(4, np.float32)}}
            ),
            r"no place for encoder\.mid_block\.AttnBlock_0",
        ),
        (
            lambda p: p["quantize"].update(embeddings=3.0),
            "vqgan: quantize/embeddings is not an array of floats",
        ),
        (
            lambda p: p["quantize"].update(embeddings=np.zeros(2, np.int32)),
            "vqgan: quantize/embeddings is not an array of floats",
        ),
    ],
)
def test_a_wrong_array_is_named(tmp_path, change, says):
    arrays = parameters()
    change(arrays)
    (tmp_path / "vqgan").write_bytes(pickle.dumps(arrays))
    with pytest.raises(CheckpointError, match=says) as error:
        fill(path=tmp_path / "vqgan", tokenizer=tokenizer())
    assert "\n" not in str(error.value)


def test_missing_and_broken_files_are_told(tmp_path):
    path = tmp_path / "vqgan"
    with pytest.raises(CheckpointError, match="no such file"):
        read(path)
    whole = pickle.dumps(parameters())
    for at in range(0, len(whole), 997):
        path.write_bytes(whole[:at])
        with pytest.raises(CheckpointError, match="not a readable pickle, perhaps cut short"):
            read(path)
    path.write_bytes(pickle.dumps(3))
    with pytest.raises(CheckpointError, match="the file is not an array of floats"):
        read(path)
