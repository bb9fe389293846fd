"""CDNA, DNA, SNA and SV2P against what the official code itself predicted (make_pushing_official)."""

from functools import partial

import numpy as np
import pytest
import torch

from components.backbones.pushing_generator import PushingGenerator
from components.posteriors.video_encoder import VideoEncoder
from components.transformations.finn import FinnCDNA, FinnDNA
from tests.checkpoints.make_pushing_official import (
    CASES,
    CONTEXT,
    EVERY,
    FIXTURE,
    FRAMES,
    inputs,
    size,
    weight,
)

GENERATORS = {
    "finn_cdna": {"transformation": partial(FinnCDNA, num_warps=9, kernel_size=9), "relu_heads": True},
    "finn_dna": {"transformation": partial(FinnDNA), "relu_heads": True, "scratch_image": False},
    "sna": {
        "transformation": partial(FinnCDNA, num_warps=10), "channels": 16, "lstms_per_scale": 1,
        "background": "first",
    },
    "sv2p": {"transformation": partial(FinnCDNA), "relu_features": False, "constant_latent": True},
    "sv2p_per_step": {"transformation": partial(FinnCDNA), "relu_features": False},
}  # fmt: skip
LAYERS = {
    "read": "scale1_conv1", "halve_fine": "conv2", "halve_middle": "conv3", "join": "conv4",
    "double_bottleneck": "convt1", "double_middle": "convt2", "double_fine": "convt3",
}  # fmt: skip
LSTMS = ["fine.0", "fine.1", "middle.0", "middle.1", "bottleneck.0", "up_middle.0", "up_fine.0"]


@pytest.fixture(scope="module")
def official():
    with np.load(FIXTURE) as file:
        return dict(file)


def generator(case):
    height, width = size(case)
    area = height // 8 * (width // 8)
    latent_dim = area if case.startswith("sv2p") else 0
    return PushingGenerator(
        height=height, width=width, action_dim=2, state_dim=3, latent_dim=latent_dim, **GENERATORS[case]
    )


def variables(official, case):
    shapes = {name.split(":", 1)[1]: shape for name, shape in official.items() if name.startswith(f"{case}:")}
    return {name: torch.from_numpy(weight(name, tuple(shape))) for name, shape in shapes.items()}


def layer(found, name):
    """Weights and bias of a convolution or linear layer, axes as torch has them."""
    kernel = found.pop(f"{name}/weights")
    moved = kernel.permute(3, 2, 0, 1) if kernel.ndim == 4 else kernel.T
    return {"weight": moved, "bias": found.pop(f"{name}/biases", None)}


def norm(found, name):
    return {"weight": found.pop(f"{name}/gamma"), "bias": found.pop(f"{name}/beta")}


def converted(found, model):
    """Our state dict; takes what it uses out of `found`."""
    parts = {}
    for ours, theirs in LAYERS.items():
        parts[f"unet.{ours}" + (".conv" if "double" in ours else "")] = layer(found, theirs)
    parts["unet.read_norm"] = norm(found, "scale1_conv1/layer_norm1")
    parts["unet.features_norm"] = norm(found, "convt3/layer_norm9")
    for number, ours in enumerate(LSTMS, start=1):
        if f"state{number}/Gates/weights" in found:
            parts[f"unet.{ours}.gates"] = layer(found, f"state{number}/Gates")
            parts[f"unet.{ours}.norm"] = norm(found, f"layer_norm{number + 1}")
    parts["state_model"] = layer(found, "state_pred")
    masks = layer(found, next(name for name in found if name.startswith("convt7")).rsplit("/", 1)[0])
    still = 2 if model.scratch is not None else 1  # theirs come first, ours last
    parts["masks"] = {name: value.transpose(0, 1).roll(-still, 0) if value.ndim == 4 else value.roll(-still)
                      for name, value in masks.items()}  # fmt: skip
    read_by_1x1 = layer(found, "convt4")
    read_by_1x1["weight"] = read_by_1x1["weight"].transpose(0, 1)
    parts["scratch" if model.scratch is not None else "transformation.kernels"] = read_by_1x1
    if "cdna_params/weights" in found:
        warps, taps = model.transformation.num_warps, model.transformation.kernel_size**2
        linear = layer(found, "cdna_params")
        kernels = linear["weight"].unflatten(0, (taps, -1)).transpose(0, 1)[:warps].flatten(0, 1)
        channels = model.unet.bottleneck[0].channels
        kernels = kernels.unflatten(1, (-1, channels)).transpose(1, 2).flatten(1)
        biases = linear["bias"].unflatten(0, (taps, -1)).T[:warps].flatten()
        parts["transformation.kernels"] = {"weight": kernels, "bias": biases}
    return {
        f"{part}.{name}": value
        for part, values in parts.items()
        for name, value in values.items()
        if value is not None
    }


def first(array):
    """Time first, channels last -> time first, channels first."""
    return torch.from_numpy(array).movedim(-1, 2)


@pytest.mark.parametrize("case", CASES)
def test_generator_predicts_what_the_official_code_predicts(official, case):
    model = generator(case)
    found = variables(official, case)
    model.load_state_dict(converted(found, model))
    assert all(name.startswith("latent_") for name in found)
    given = inputs(case)
    frames, pixels = first(given["images"]), first(given["pix_distribs"])
    actions, robot = torch.from_numpy(given["actions"]), torch.from_numpy(given["states"])[0]
    latents = torch.from_numpy(given["latents"]).flatten(2)
    followed = f"{case}=gen_pix_distribs" in official
    state, prediction = model.initial_state(frames[0], pixels[0] if followed else None), None
    with torch.no_grad():
        for t in range(FRAMES - 1):
            known = t < CONTEXT
            prediction, state = model.step(
                frames[t] if known else prediction.frame,
                state,
                latent=latents[t] if model.latent_dim else None,
                action=actions[t],
                proprioception=robot,  # always the model's own after the first
                pixels=(pixels[t] if known else prediction.pixels) if followed else None,
            )
            robot = prediction.proprioception
    predicted = {"gen_images": prediction.frame, "gen_pix_distribs": prediction.pixels}
    for name, value in predicted.items():
        if value is not None:
            scale = 1000 if name == "gen_pix_distribs" else 1
            expected = torch.from_numpy(official[f"{case}={name}"])
            kept = value.movedim(1, -1)[:, ::EVERY, ::EVERY]
            torch.testing.assert_close(scale * kept, scale * expected, rtol=0, atol=1e-5)
    expected = torch.from_numpy(official[f"{case}=gen_states"])
    torch.testing.assert_close(prediction.proprioception, expected, rtol=0, atol=1e-5)


def test_posterior_reads_what_the_official_code_reads(official):
    found, (height, width) = variables(official, "sv2p"), size("sv2p")
    posterior = VideoEncoder(
        num_frames=FRAMES, height=height, width=width, latent_dim=height // 8 * (width // 8)
    )
    parts = {
        "trunk.0": "conv1",
        "trunk.3": "conv2",
        "trunk.6": "conv3",
        "mean.0": "mean",
        "log_variance.0": "std",
    }
    norms = {
        "trunk.1": "conv1/latent_norm1", "trunk.4": "conv2/latent_norm2", "trunk.7": "conv3/latent_norm3",
        "mean.1": "mean/latent_norm_mean", "log_variance.1": "std/latent_std_norm",
    }  # fmt: skip
    state = {f"{ours}.weight": layer(found, f"latent_{name}")["weight"] for ours, name in parts.items()}
    for ours, name in norms.items():
        state |= {f"{ours}.{key}": value for key, value in norm(found, f"latent_{name}").items()}
    posterior.load_state_dict(state)
    with torch.no_grad():
        read = posterior(first(inputs("sv2p")["images"]).transpose(0, 1))
    for name, value in (("zs_mu_enc", read.mean), ("zs_log_sigma_sq_enc", read.log_variance)):
        expected = torch.from_numpy(official[f"sv2p={name}"]).flatten(1)
        for t in range(FRAMES - 1):
            torch.testing.assert_close(value[:, t], expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("case", CASES)
def test_has_the_official_number_of_parameters(official, case):
    """But for the tenth kernel of CDNA and SV2P, which their code makes and leaves out of the blend."""
    model = generator(case)
    theirs = sum(x.numel() for name, x in variables(official, case).items() if not name.startswith("latent_"))
    ours = sum(parameter.numel() for parameter in model.parameters())
    kernels = getattr(model.transformation, "kernels", None)
    unused = 0
    if case in ("finn_cdna", "sv2p", "sv2p_per_step"):
        unused = model.transformation.kernel_size**2 * (kernels.in_features + 1)
    assert ours + unused == theirs
