"""What learns actions: inverse dynamics from true frames and codes, and behaviour cloning."""

from functools import partial

import pytest
import torch

from components.clip import ClipSpec
from components.frame_networks.convolutions import Convolutions
from components.inverse_dynamics.frames_and_codes import FramesAndCodes
from components.schedules.constant import Constant
from recipes.inverse_training import InverseTraining
from recipes.videoworld.cloning import BehaviourCloning
from tests.recipes.conftest import take_step
from tests.recipes.test_videoworld import SIDE, Brightness, Words, clips

TRAINING = {
    "optimizer": partial(torch.optim.Adam, lr=3e-3),
    "learning_rate": Constant(value=1.0),
    "seed": 0,
}


def network(pictures: int) -> Convolutions:
    return Convolutions(in_channels=3 * pictures, height=SIDE, width=SIDE, dim=16, widths=[8], norm_groups=4)


def inverse(*, frames: bool = True, codes: bool = True, views: int = 1) -> InverseTraining:
    torch.manual_seed(0)
    model = FramesAndCodes(
        frames=network(2 * views) if frames else None,
        num_codes=3 if codes else 0,
        code_dim=1 if codes else 0,
        action_dim=2,
        dim=16,
    )
    return InverseTraining(inverse=model, dynamics=Brightness() if codes else None, **TRAINING)


def cloning(views: int = 1) -> BehaviourCloning:
    torch.manual_seed(0)
    return BehaviourCloning(frames=network(views), text_encoder=Words(), action_dim=2, dim=16, **TRAINING)


def acted(frames: int = 5, **more):
    """Two clips whose action is how much brighter the next frame is, and minus that."""
    clip = clips(frames, text=["left", "to the right"], **more)
    light = clip["video"].float().mean(dim=(2, 3, 4)) / 255
    change = 20 * light.diff(dim=1)
    return clip | {"actions": torch.stack([change, -change], dim=2)}


@pytest.mark.parametrize(("frames", "codes"), [(True, True), (True, False), (False, True)])
def test_inverse_dynamics_is_learned_from_the_first_two_frames(frames, codes):
    model, clip = inverse(frames=frames, codes=codes), acted()
    before = (model.between(clip) - clip["actions"][:, 0]).square().mean()
    for step in range(60):
        take_step(model, clip, step)
    after = (model.between(clip) - clip["actions"][:, 0]).square().mean()
    assert after < before
    changed = clip | {"video": clip["video"].clone()}
    changed["video"][:, 2:] = 0
    same = torch.equal(model.between(changed), model.between(clip))
    assert same == (not codes)  # codes look further ahead


def test_what_dynamics_writes_is_left_as_it_is():
    model = inverse()
    model.dynamics.weight = torch.nn.Parameter(torch.zeros(1))
    trained = {id(p) for group in model.configure_optimizers()[0].param_groups for p in group["params"]}
    assert trained == {id(p) for p in model.inverse.parameters()}
    assert not model.train().dynamics.training


def test_cloning_sees_the_last_frame_and_reads_the_instruction():
    model, clip = cloning(), acted()
    context = {"video": clip["video"][:, :1], "text": clip["text"]}
    generator = torch.Generator()
    found = model.act(context, generator=generator)
    assert found.shape == (2, 2)
    longer = {"video": clip["video"][:, [3, 0]], "text": clip["text"]}
    assert torch.equal(model.act(longer, generator=generator), found)
    assert not torch.equal(model.act(context | {"text": ["a", "b"]}, generator=generator), found)
    before = model.error(clip).mean()
    for step in range(40):
        take_step(model, clip, step)
    assert model.error(clip).mean() < before


def test_two_cameras():
    clip = acted(second_video=clips()["video"].flip(1))
    assert inverse(views=2).between(clip).shape == (2, 2)
    assert cloning(views=2).error(clip).shape == (2,)


def test_what_does_not_fit_is_told():
    spec = ClipSpec(num_frames=4, height=SIDE, width=SIDE)
    with pytest.raises(ValueError, match="0 numbers of action"):
        inverse().check_fits(spec)
    with pytest.raises(ValueError, match="no actions to clone"):
        cloning().check_fits(spec)
    with pytest.raises(ValueError, match="nothing writes any"):
        InverseTraining(inverse=inverse().inverse, dynamics=None, **TRAINING)
