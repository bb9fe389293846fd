"""FramePack's backbone against diffusers': `python benchmarks/framepack.py [threads=1] [repeats=5] [PART]`.

Both run in one process in turns, on the same weights and inputs; medians and spans. Parts, all unless named:
train    forward, loss, backward of two clips, without the optimiser; share of the measured matmul peak
sample   one call of the sampler's velocity, one clip; share of the matmul peak
memory   peak resident memory of two training steps and of two sampling steps, a process for each model
Width 512, released structure: 9 frames to make, 20 known, latents 16x24, 16 image tokens, 32 text tokens.
Seconds of CPU stand beside the clock's: where other processes share the cores, they are the fairer pair.
"""

import statistics
import sys
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.comparing import (
    DTYPES,
    autocast,
    in_turns,
    resident,
    run_parts,
    show,
    show_peaks,
    show_ratio,
)
from callbacks.throughput import matmul_peak
from components.backbones.denoiser import Condition
from components.backbones.hunyuan_video import HunyuanVideo
from components.memories.packed import Packed
from tests.components.test_hunyuan_video import called

DIM, HEADS, DUAL, SINGLE, CHANNELS = 512, 8, 2, 4, 16
HEIGHT, WIDTH, TEXT, IMAGE = 16, 24, 32, 16
AXES = (16, 24, 24)
STRUCTURE = "f1k1_x_g9_f1k1f2k2f16k4_td"
Inputs = tuple[tuple[Tensor, Tensor], dict[str, Any]]


def diffusers_model() -> Any:
    from diffusers import HunyuanVideoFramepackTransformer3DModel

    torch.manual_seed(0)
    width = {"num_attention_heads": HEADS, "attention_head_dim": DIM // HEADS, "rope_axes_dim": AXES}
    depth = {"num_layers": DUAL, "num_single_layers": SINGLE, "num_refiner_layers": 1}
    told = {"text_embed_dim": DIM, "pooled_projection_dim": 64, "has_image_proj": True, "image_proj_dim": 64}
    return HunyuanVideoFramepackTransformer3DModel(**width, **depth, **told, has_clean_x_embedder=True)


def our_model() -> HunyuanVideo:
    torch.manual_seed(0)
    width = {"latent_channels": CHANNELS, "num_heads": HEADS, "head_dim": DIM // HEADS, "rope_axes": AXES}
    depth = {"num_layers": DUAL, "num_single_layers": SINGLE, "num_refiner_layers": 1}
    return HunyuanVideo(**width, **depth, text_dim=DIM, pooled_dim=64, image_dim=64, guidance=True)


def pair() -> tuple[HunyuanVideo, Any]:
    ours, theirs = our_model(), diffusers_model()
    ours.load_state_dict(theirs.state_dict())
    return ours, theirs


def inputs(batch: int) -> Inputs:
    """A section and its released context; where there are two clips, their texts differ in length."""
    torch.manual_seed(0)
    known = torch.randn(batch, 20, CHANNELS, HEIGHT, WIDTH)
    context = Packed(structure=STRUCTURE)(known[:, :1], known[:, 1:], gap=18)
    condition = Condition(
        tokens=torch.randn(batch, TEXT, DIM),
        mask=torch.arange(TEXT) < TEXT - 8 * torch.arange(batch)[:, None],
        pooled=torch.randn(batch, 64),
        image=torch.randn(batch, IMAGE, 64),
        guidance=torch.full((batch,), 10.0),
    )
    x = torch.randn(batch, 9, CHANNELS, HEIGHT, WIDTH)
    rest = {"indices": context.indices, "context": context.segments, "condition": condition}
    return (x, torch.rand(batch)), rest


def velocity(model: nn.Module, given: Inputs) -> Tensor:
    call = model if isinstance(model, HunyuanVideo) else partial(called, model)
    return call(*given[0], **given[1])


def train_step(model: nn.Module, given: Inputs, precision: str) -> None:
    model.zero_grad()
    with autocast(precision):
        loss = velocity(model, given).float().square().mean()
    loss.backward()


@torch.inference_mode()
def sample_step(model: nn.Module, given: Inputs, precision: str) -> None:
    with autocast(precision):
        velocity(model, given)


def flops(batch: int) -> float:
    """Of a forward pass of either model: the blocks' 12 dim^2 weights a token, attention as whole squares."""
    tokens = Packed(structure=STRUCTURE).num_tokens(HEIGHT, WIDTH) + IMAGE + TEXT
    return batch * (DUAL + SINGLE) * (24.0 * DIM**2 * tokens + 4.0 * DIM * tokens**2)


def timed(name: str, repeats: int) -> None:
    ours, theirs = pair()
    batch, passes, step = (2, 3, train_step) if name == "train" else (1, 1, sample_step)
    given = inputs(batch)
    with torch.inference_mode():
        apart = (velocity(ours, given) - velocity(theirs, given)).abs().max()
    print(f"{name + ', outputs apart':34} {apart:.1e}")
    for precision, dtype in DTYPES.items():
        runs = [partial(step, model, given, precision) for model in (ours, theirs)]
        peak = matmul_peak(torch.device("cpu"), dtype)
        times = in_turns(repeats, *runs)
        peak = max(peak, matmul_peak(torch.device("cpu"), dtype))
        for who, taken in zip(("ours", "diffusers"), times, strict=True):
            speed = passes * flops(batch) / statistics.median(taken[0])
            share = f"{speed / 1e9:.0f} GFLOP/s, {speed / peak:.0%} of peak"
            show(f"{name} {precision}, {who}", taken, share)
        show_ratio(*times)


def peak_memory(who: str, name: str, precision: str) -> None:
    """Two steps in this process; prints MiB held before the model was made and at the peak."""
    if who == "diffusers":
        from diffusers import HunyuanVideoFramepackTransformer3DModel  # noqa: F401
    before = resident("VmRSS")
    model = our_model() if who == "ours" else diffusers_model()
    given, step = (inputs(2), train_step) if name == "train" else (inputs(1), sample_step)
    for _ in range(2):
        step(model, given, precision)
    print(before, resident("VmHWM"))


def memory(_: int) -> None:
    for precision in DTYPES:
        for name in ("train", "sample"):
            show_peaks(f"memory {precision}, {name}", __file__, "diffusers", name, precision)


if __name__ == "__main__":
    parts = {"train": partial(timed, "train"), "sample": partial(timed, "sample"), "memory": memory}
    run_parts(__file__, parts, sys.argv[1:], child=peak_memory)
