"""LWM's file `vqgan`, a pickle of nested dictionaries of arrays, for our VQGAN.

| theirs, joined by / | diffusers' name, by which places are known (diffusers_vq) |
|---|---|
| in encoder and decoder: Conv_0; GroupNorm_0; Conv_1 | conv_in; conv_norm_out; conv_out |
| encoder/DownsamplingBlock_n; decoder/UpsamplingBlock_n, smallest first | down_blocks.n; up_blocks.n |
| MidBlock_0/ResnetBlock_n | mid_block.resnets.n |
| in ResnetBlock_n: GroupNorm_0, Conv_0; GroupNorm_1, Conv_1 | in resnets.n: norm1, conv1; norm2, conv2 |
| in ResnetBlock_n: Conv_2 | in resnets.n: conv_shortcut |
| Downsample_0/Conv_0; Upsample_0/Conv_0 | downsamplers.0.conv; upsamplers.0.conv |
| quantize/embeddings; quant_conv; post_quant_conv | quantize.embedding.weight; the same; the same |
| kernel (h, w, in, out); scale; bias | weight (out, in, h, w); weight; bias |

A pickle may run any code when it is read as it asks to be; here it can make arrays and nothing else.
Source: official code, lwm/vqgan.py.
"""

import pickle
import re
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from checkpoints import diffusers_vq
from checkpoints.own import CheckpointError, Refused
from components.tokenizers.vqgan import VQGAN

RENAMES = [
    (r"ResnetBlock_(\d+)/GroupNorm_0/", r"resnets.\1.norm1."),
    (r"ResnetBlock_(\d+)/Conv_0/", r"resnets.\1.conv1."),
    (r"ResnetBlock_(\d+)/GroupNorm_1/", r"resnets.\1.norm2."),
    (r"ResnetBlock_(\d+)/Conv_1/", r"resnets.\1.conv2."),
    (r"ResnetBlock_(\d+)/Conv_2/", r"resnets.\1.conv_shortcut."),
    (r"Downsample_0/Conv_0/", "downsamplers.0.conv."),
    (r"Upsample_0/Conv_0/", "upsamplers.0.conv."),
    (r"DownsamplingBlock_(\d+)/", r"down_blocks.\1."),
    (r"UpsamplingBlock_(\d+)/", r"up_blocks.\1."),
    (r"MidBlock_0/", "mid_block."),
    (r"^(encoder|decoder)/Conv_0/", r"\1.conv_in."),
    (r"^(encoder|decoder)/GroupNorm_0/", r"\1.conv_norm_out."),
    (r"^(encoder|decoder)/Conv_1/", r"\1.conv_out."),
    (r"^quantize/embeddings$", diffusers_vq.CODEBOOK),
    (r"(kernel|scale)$", "weight"),
    (r"/", "."),
]
ARRAYS = {  # what numpy's arrays are rebuilt with, before and since numpy 2
    *((f"numpy.{core}.multiarray", "_reconstruct") for core in ("core", "_core")),
    *((f"numpy.{core}.numeric", "_frombuffer") for core in ("core", "_core")),
    ("numpy", "ndarray"),
    ("numpy", "dtype"),
}


def fill(*, path: Path, tokenizer: VQGAN) -> None:
    """Put the weights of a file into a VQGAN of the same sizes, with a VectorQuantizer.

    Raises CheckpointError for a missing or broken file and for an array that is missing, of another shape, or
    without a place; Refused, of that kind too, for a pickle of anything but arrays.
    """
    diffusers_vq.fill(tokenizer, read(path), str(path))


def read(path: Path) -> dict[str, Tensor]:
    """The arrays of a file, under the names and in the layouts of diffusers.VQModel."""
    arrays: dict[str, np.ndarray] = {}
    _flatten(_unpickle(path), "", arrays, path)
    state = {}
    for name, array in arrays.items():
        theirs = name.removeprefix("params/")
        for pattern, ours in RENAMES:
            theirs = re.sub(pattern, ours, theirs)
        tensor = torch.tensor(array)
        is_convolution = name.endswith("/kernel") and tensor.ndim == 4
        state[theirs] = tensor.permute(3, 2, 0, 1) if is_convolution else tensor
    return state


def _unpickle(path: Path) -> Any:
    try:
        with path.open("rb") as file:
            return _OnlyArrays(file).load()
    except OSError as error:
        raise CheckpointError(f"{path}: no such file") from error
    except _Forbidden as error:
        raise Refused(f"{path}: refused, the pickle asks for {error}; only numpy arrays are read") from error
    except Exception as error:  # a broken pickle fails in any way
        raise CheckpointError(f"{path}: not a readable pickle, perhaps cut short") from error


def _flatten(value: Any, name: str, arrays: dict[str, np.ndarray], path: Path) -> None:
    if isinstance(value, dict):
        for key, part in value.items():
            _flatten(part, f"{name}/{key}" if name else str(key), arrays, path)
    elif isinstance(value, np.ndarray) and value.dtype in (np.float16, np.float32, np.float64):
        arrays[name] = value
    else:
        raise CheckpointError(f"{path}: {name or 'the file'} is not an array of floats")


class _Forbidden(Exception):
    """Names what a pickle asked for."""


class _OnlyArrays(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in ARRAYS:
            raise _Forbidden(f"{module}.{name}")
        return super().find_class(module, name)
