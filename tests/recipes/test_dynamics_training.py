"""The training of latent dynamics, on clips of moving shapes."""

import copy

import pytest
import torch
from torch import Tensor

from checkpoints.build import build
from components.clip import ClipSpec
from datamodules.batches import collate
from datamodules.moving_shapes import MovingShapes
from launch.presets import kinds
from recipes.dynamics_training import DynamicsTraining
from tests.recipes.conftest import take_step

BEGIN, ADVERSARIAL = 3, 6


def preset(kind: str, name: str, **changes):
    return build(copy.deepcopy(kinds()[f"components.{kind}"].nodes[name]) | changes)


def constant(step: int) -> float:
    return 1.0


def built(*, dynamics: str = "causal_queries", judge: bool = False, lr: float = 1e-3, **changes):
    torch.manual_seed(0)
    given: dict = dict(
        dynamics=preset("latent_dynamics", dynamics),
        discriminator=preset("discriminators", "image", height=32, width=32, channels=4) if judge else None,
        adversarial=preset("adversarial", "hinge"),
        optimizer=lambda parameters: torch.optim.Adam(parameters, lr=lr),
        learning_rate=constant,
        reconstruction="l2",
        weights={"perceptual": 0.0, "adversarial": 0.75},
        autoencoder_steps=BEGIN,
        adversarial_begin=ADVERSARIAL,
        seed=0,
    )
    return DynamicsTraining(**(given | changes))


def batch(num_frames: int = 4, count: int = 4) -> dict:
    dataset = MovingShapes(num_frames=num_frames, height=32, width=32, seed=0, speed=1.5, size=0.15).split(
        "train"
    )
    return collate([dataset[i] for i in range(count)])


def moved(model, clip, step: int) -> set[str]:
    """Parts of the model whose weights a step moves: the dynamics by their own parts."""
    before = {name: value.clone() for name, value in model.named_parameters()}
    take_step(model, clip, step)
    return {
        name.removeprefix("dynamics.").split(".")[0]
        for name, value in model.named_parameters()
        if not torch.equal(value, before[name])
    }


def logged_by(model, clip, step: int) -> dict[str, Tensor]:
    found: dict[str, Tensor] = {}
    optimizers = model.configure_optimizers()
    model.optimizers = lambda: optimizers if len(optimizers) > 1 else optimizers[0]
    model.manual_backward = lambda loss: loss.backward()
    model.log = lambda name, value, **rest: found.update({name: value})
    model.log_dict = lambda values, **rest: found.update(values)
    model.training_step(clip, step)
    return {name.removeprefix("train/"): value for name, value in found.items()}


def test_the_first_steps_quantise_nothing():
    model, clip = built(), batch()
    assert "quantizer" not in moved(model, clip, BEGIN - 1)
    model = built()
    take_step(model, clip, 0)  # what codes mean is nothing before the first step
    every = {"encoder", "queries", "quantizer", "changes", "decoder"}
    assert moved(model, clip, BEGIN) == every


def test_the_discriminator_counts_and_trains_from_its_step_on():
    model, clip = built(judge=True), batch()
    assert "discriminator" not in moved(model, clip, ADVERSARIAL - 1)
    logged = logged_by(model, clip, ADVERSARIAL)
    adversarial = 0.75 * logged["adaptive_weight"] * logged["adversarial"]
    torch.testing.assert_close(logged["loss"], logged["reconstruction"] + logged["waist"] + adversarial)
    assert "discriminator" in moved(model, clip, ADVERSARIAL)


@pytest.mark.parametrize(("name", "distance"), [("l1", torch.abs), ("l2", torch.square)])
def test_frames_0_to_h_are_compared_to_the_clip_that_goes_on_as_its_last_frame(name, distance):
    model, clip = built(reconstruction=name), batch(num_frames=2)
    video = clip["video"] / 255
    full = torch.cat([video, video[:, -1:], video[:, -1:]], dim=1)
    with torch.no_grad():
        made = model.dynamics.eval().reconstruct(full, model.random(clip, BEGIN)).video
    model.dynamics.eval()  # whose moments a step would move
    logged = logged_by(model, clip, BEGIN)
    torch.testing.assert_close(logged["reconstruction"].detach(), distance(made - full).mean())


@pytest.mark.parametrize("dynamics", ["causal_queries", "pairs"])
def test_a_stopped_run_goes_on_as_if_it_had_not(dynamics):
    """Weights, moments and optimiser are all the state there is: noise is drawn from seed and step."""
    clip = batch(count=2)

    def steps(model, optimizers, numbers):
        model.optimizers = lambda: optimizers[0]
        model.manual_backward = lambda loss: loss.backward()
        model.log = model.log_dict = lambda *args, **rest: None
        for number in numbers:
            model.training_step(clip, number)

    one = built(dynamics=dynamics)
    its_optimizers = one.configure_optimizers()
    steps(one, its_optimizers, [1, 2])
    other = built(dynamics=dynamics)
    other.load_state_dict(copy.deepcopy(one.state_dict()))
    others = other.configure_optimizers()
    others[0].load_state_dict(copy.deepcopy(its_optimizers[0].state_dict()))
    steps(one, its_optimizers, [3, 4])
    steps(other, others, [3, 4])
    for name, value in one.state_dict().items():
        assert torch.equal(value, other.state_dict()[name]), name


def test_validation_tells_of_frames_of_copying_and_of_codes():
    model, clip = built(), batch(num_frames=3)
    logged: dict[str, Tensor] = {}
    model.log_validation = lambda name, values, **rest: logged.update({f"val/{name}": values})
    model.log = lambda name, value, **rest: logged.update({name: value})
    model.log_dict = logged.update
    model.eval()
    model.validation_step(clip, 0)
    model.on_validation_epoch_end()
    assert logged["val/psnr"].shape == logged["val/psnr_copy_last"].shape == (4, 2)  # only frames there are
    codes = model.dynamics.encode(clip["video"] / 255)
    for h in range(3):
        assert float(logged[f"val/distinct_codes_{h + 1}"]) == pytest.approx(len(codes[:, h].unique()))
    assert float(logged["val/code_usage"]) == pytest.approx(len(codes.unique()) / 1000)
    assert not any(usage.counts.any() for usage in [model.usage, *model.usages])  # the next counts anew


@pytest.mark.parametrize("num_frames", [2, 4, 6])
def test_show_gives_the_truth_and_what_its_codes_give_back(num_frames):
    model, clip = built(), batch(num_frames=num_frames)
    videos = model.eval().show(clip, 1, torch.Generator())
    assert list(videos) == ["truth", "decoded from codes"]
    frames = min(num_frames, 4)
    assert all(video.shape == (4, frames, 3, 32, 32) for video in videos.values())
    assert torch.equal(videos["decoded from codes"][:, 0], clip["video"][:, 0] / 255)


def test_what_does_not_fit_is_told_in_one_line():
    model = built(judge=True)
    model.check_fits(ClipSpec(num_frames=2, height=32, width=32))
    with pytest.raises(ValueError, match=r"^a clip of one frame has no change to learn from: set clip\.num"):
        model.check_fits(ClipSpec(num_frames=1, height=32, width=32))
    with pytest.raises(
        ValueError, match=r"^a clip has frames of 30x32, the dynamics takes multiples of 4: set"
    ):
        model.check_fits(ClipSpec(num_frames=2, height=30, width=32))
