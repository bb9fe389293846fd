"""SVG's networks, losses, gradients and rollouts against the official code's, on drawn weights."""

from functools import partial

import numpy as np
import pytest
import torch
from torch import nn

from components.code_predictors.code_lstm import CodeLSTM
from components.frame_coders.dcgan import DCGANCoder
from components.frame_coders.vgg import VGGCoder
from components.latent_sequences.gaussian_lstm import GaussianLSTM
from components.latent_sequences.standard_normal import StandardNormal
from recipes.svg.recipe import SVG
from tests.checkpoints.make_svg_official import (
    BATCH,
    BETA,
    CODE,
    CODERS,
    CONTEXT,
    EVERY,
    FIXTURE,
    FRAMES,
    HIDDEN,
    LATENT,
    LOOPS,
    draw_weights,
    frames,
    noise,
)


@pytest.fixture(scope="module")
def official():
    return dict(np.load(FIXTURE))


def halves(coder) -> dict[str, nn.Module]:
    """The parts of a coder in the order of the official encoder and decoder."""
    if isinstance(coder, VGGCoder):
        return {
            "encoder": nn.ModuleList([coder.down, coder.to_code]),
            "decoder": nn.ModuleList([coder.from_code, coder.up, coder.paint]),
        }
    return {
        "encoder": nn.ModuleList([coder.halving, coder.to_code]),
        "decoder": nn.ModuleList([coder.from_code, coder.doubling, coder.paint]),
    }


@pytest.mark.parametrize("name", CODERS)
def test_a_coder_makes_what_the_official_one_makes(official, name):
    size, channels, modes = CODERS[name]
    kind = VGGCoder if name.startswith("vgg") else DCGANCoder
    coder = kind(height=size, width=size, image_channels=channels, code_dim=CODE)
    for index, (half, part) in enumerate(halves(coder).items()):
        assert sum(p.numel() for p in part.parameters()) == official[f"{name}=parameters"][index]
        draw_weights(part, f"{name}/{half}")
    frame = frames(name, 1, channels, size)[0]
    for mode in modes:
        coder.train(mode == "train")
        with torch.no_grad():
            code, skips = coder.encode(frame)
            painted = coder.decode(code.flip(0), skips)[..., ::EVERY, ::EVERY]
        for made, what in ((code, "code"), (painted, "frame")):
            expected = torch.from_numpy(official[f"{name}={mode}={what}"])
            torch.testing.assert_close(made, expected, rtol=0, atol=2e-5)


def drawn_model(case: str) -> tuple[SVG, dict[str, nn.Module]]:
    """A model of the case's kind, and its parts by their official names."""
    prior, last_frame_skip = LOOPS[case]
    sizes = {"code_dim": CODE, "latent_dim": LATENT, "hidden_dim": HIDDEN}
    model = SVG(
        coder=DCGANCoder(height=64, width=64, image_channels=1, code_dim=CODE),
        predictor=CodeLSTM(**sizes, num_layers=2),
        posterior=GaussianLSTM(**sizes),
        prior=GaussianLSTM(**sizes) if prior == "lp" else StandardNormal(latent_dim=LATENT),
        optimizer=partial(torch.optim.Adam, lr=2e-3),
        beta=BETA,
        skips="previous" if last_frame_skip else "before_last",
        context_frames=CONTEXT,
        seed=0,
    )
    parts = halves(model.coder) | {"frame_predictor": model.predictor, "posterior": model.posterior}
    if prior == "lp":
        parts["prior"] = model.prior
    for name, part in parts.items():
        draw_weights(part, name)
    return model, parts


@pytest.mark.parametrize("case", LOOPS)
def test_a_training_step_has_the_official_losses_and_gradients(official, case):
    model, parts = drawn_model(case)
    logged = {}
    model.log = lambda name, value, **_: logged.update({name: value})
    model.log_dict = logged.update
    given = noise(case)
    model.random = lambda clip, step: type("Given", (), {"normal": lambda *_: given.transpose(0, 1)})
    video = frames(case, FRAMES, 1, 64).transpose(0, 1).expand(-1, -1, 3, -1, -1)
    model.training_step({"video": video}, 0).backward()
    steps = FRAMES - 1
    for name, key in (("mse", "reconstruction"), ("kl", "kl")):
        assert steps * logged[f"train/{key}"].item() == pytest.approx(
            official[f"{case}={name}"].item(), rel=1e-5
        )
    for name, part in parts.items():
        norms = torch.stack([p.grad.norm() for p in part.parameters()])
        expected = torch.from_numpy(official[f"{case}=gradients_{name}"])
        torch.testing.assert_close(norms, expected, rtol=2e-3, atol=2e-5 * expected.max().item())


@pytest.mark.parametrize("case", LOOPS)
def test_a_rollout_is_the_official_one(official, case):
    """SVG-FP's script takes running statistics, and the posterior's mean inside the context."""
    model, _ = drawn_model(case)
    model.train(case != "fp")
    given = noise(case)
    if case == "fp":
        given[: CONTEXT - 1] = 0
    known = frames(case, FRAMES, 1, 64).transpose(0, 1)[:, :CONTEXT]
    with torch.no_grad():
        steps = list(model.unroll(known, CONTEXT, iter(given), None, first_made=CONTEXT - 1))
    made = torch.stack([step.frame for step in steps[CONTEXT - 1 :]])
    assert made.shape[:2] == (FRAMES - CONTEXT, BATCH)
    expected = torch.from_numpy(official[f"{case}=rollout"])
    torch.testing.assert_close(made[..., ::EVERY, ::EVERY], expected, rtol=0, atol=2e-5)


def test_the_papers_skips_are_a_frame_later_than_the_codes():
    """The paper's with two frames of context are the code's with three."""
    model, _ = drawn_model("lp")
    video, given = frames("lp", FRAMES, 1, 64).transpose(0, 1), noise("lp")
    made = {}
    for skips, context in (("before_last", CONTEXT), ("last", CONTEXT - 1), ("last", CONTEXT)):
        model.skips = skips
        with torch.no_grad():
            steps = list(model.unroll(video, context, given, None))
        made[skips, context] = torch.stack([step.frame for step in steps])
    assert torch.equal(made["before_last", CONTEXT], made["last", CONTEXT - 1])
    changed = (made["last", CONTEXT] - made["before_last", CONTEXT]).abs().amax(dim=(1, 2, 3, 4)) > 0
    assert changed.tolist() == [t >= CONTEXT - 1 for t in range(FRAMES - 1)]
