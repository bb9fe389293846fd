"""Policies that act as a model has learned to: what they show it, and what they make of its answers."""

import json
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

from evaluation.control import ControlSuite
from policies import Policy, Scene
from policies.inverse_dynamics import InverseDynamicsControl, beside
from policies.learned import Learned
from policies.reactive import Reactive
from tests.evaluation.point_world import PointWorld

CPU = torch.device("cpu")


def scene(**changes) -> Scene:
    made = Scene(
        task="right", text="go right", goal=None, make=PointWorld, action_width=2, expert=PointWorld.expert
    )
    return made._replace(**changes)


class Obeys:
    """Goes where the text says, twice in one of its actions."""

    def __init__(self, skip: int = 2) -> None:
        self.hparams = {"clip": {"action_dim": 2 * skip, "height": 16, "width": 16}}
        self.device, self.context_frames, self.seen, self.skip = CPU, 2, [], skip

    def act(self, context, *, generator):
        self.seen.append(context)
        way = 3.0 if context["text"] == ["go right"] else -3.0
        return torch.tensor([[way, 0.0] * self.skip])


def test_an_action_of_the_model_is_carried_out_before_it_looks_again():
    model = Obeys()
    found = ControlSuite(env=PointWorld, policy=Reactive(), tasks=["left", "right"], episodes=2)(model)
    assert found.values["success"] == 1
    assert found.values["steps"] == 4  # clamped to [-1, 1]
    assert len(model.seen) == 4 * 2
    assert [len(context["video"][0]) for context in model.seen[:2]] == [1, 2]
    assert model.seen[0]["video"].dtype == torch.uint8


def test_two_cameras_are_two_videos():
    model = Obeys(skip=1)
    episode = Reactive(cameras=("static", "wrist")).begin(model, scene(), seed=0)
    shown = {"static": np.full((16, 16, 3), 7, np.uint8), "wrist": np.full((16, 16, 3), 9, np.uint8)}
    assert episode.act(shown, None).tolist() == [1.0, 0.0]
    assert model.seen[0]["video"].unique().item() == 7
    assert model.seen[0]["second_video"].unique().item() == 9


class Brightens:
    """It says that the next frame is brighter by what its text asks, and writes a code of that."""

    def __init__(self, *, codes: bool) -> None:
        self.device, self.context_frames, self.loaded_from, self.drawn = CPU, 1, None, []
        if codes:
            self.next_frame = self._next_frame

    def _next_frame(self, context, generator, *, temperature, draw):
        self.drawn.append(draw)
        frames = self.predict(context, 1, generator=generator) if draw else None
        codes = torch.tensor([[1 if text == "go right" else 0] for text in context["text"]])
        return frames, codes if temperature is None else codes * (torch.arange(len(codes))[:, None] % 4 == 0)

    def predict(self, context, horizon, *, generator):
        by = 0.2 if context["text"][0] == "go right" else -0.2
        return context["video"][:, -1:].float() / 255 + by


class Reads(nn.Module):
    def __init__(self, *, frames: bool, codes: bool) -> None:
        super().__init__()
        self.inverse = SimpleNamespace(reads_next=frames, reads_codes=codes)
        self.hparams = {"clip": {"action_dim": 2}}

    def action(self, now, then, codes):
        way = 2.0 * codes[:, 0] - 1.0 if self.inverse.reads_codes else (then - now).mean((1, 2, 3, 4)).sign()
        return torch.stack([way, 0.0 * way], dim=1)


@pytest.mark.parametrize(("frames", "codes"), [(True, False), (False, True), (True, True)])
def test_what_the_model_says_comes_next_is_done(frames, codes):
    model, policy = Brightens(codes=codes), InverseDynamicsControl()
    policy.trained = lambda model: Reads(frames=frames, codes=codes)
    assert isinstance(policy, Policy)
    for text, way in (("go right", 1.0), ("go left", -1.0)):
        episode = policy.begin(model, scene(text=text), seed=0)
        seen = {"static": np.full((16, 16, 3), 128, np.uint8)}
        assert episode.act(seen, None).tolist() == [way, 0.0]
    assert model.drawn == ([frames] * 2 if codes else [])  # frames that nobody reads are not drawn


def test_of_several_futures_the_mean_of_their_actions_is_done():
    policy = InverseDynamicsControl(samples=8, temperature=1.0)
    policy.trained = lambda model: Reads(frames=False, codes=True)
    episode = policy.begin(Brightens(codes=True), scene(), seed=0)
    seen = {"static": np.full((16, 16, 3), 128, np.uint8)}
    assert episode.act(seen, None).tolist() == [-0.5, 0.0]  # two of eight go right
    with pytest.raises(ValueError, match="samples is 0; give at least 1"):
        InverseDynamicsControl(samples=0)


def test_inverse_dynamics_lies_beside_the_model(tmp_path):
    run = tmp_path / "run"
    for stage in ("inverse", "model"):
        (run / stage / "model").mkdir(parents=True)
    weights = run / "model" / "model" / "model.safetensors"
    with pytest.raises(ValueError, match="no inverse dynamics beside"):
        beside(weights)
    (run / "run.json").write_text(json.dumps({}))
    assert beside(weights) == run / "inverse"
    with pytest.raises(ValueError, match=r"policy\.inverse: .*no checkpoint"):
        InverseDynamicsControl().trained(SimpleNamespace(loaded_from=weights, device=CPU))


def test_what_does_not_fit_is_told():
    with pytest.raises(ValueError, match="has learned no actions of its own"):
        Reactive().begin(SimpleNamespace(), scene(), seed=0)
    with pytest.raises(ValueError, match="actions of 4 numbers, the environment of 3"):
        Reactive().begin(Obeys(), scene(action_width=3), seed=0)
    policy = InverseDynamicsControl()
    policy.trained = lambda model: Reads(frames=True, codes=True)
    with pytest.raises(ValueError, match="reads codes, and Brightens writes none"):
        policy.begin(Brightens(codes=False), scene(), seed=0)


def test_every_model_acts_as_it_has_learned_to(tmp_path):
    parts = {
        name: SimpleNamespace(needs_places=True) for name in ("reactive", "inverse_dynamics", "planning")
    }
    policy = Learned(**parts)
    assert isinstance(policy, Policy)
    assert policy.needs_places
    run = tmp_path / "run"
    (run / "inverse").mkdir(parents=True)
    (run / "run.json").write_text(json.dumps({}))
    beside_it = SimpleNamespace(loaded_from=run / "model" / "model.safetensors")
    assert policy.of(Obeys()) is parts["reactive"]
    assert policy.of(beside_it) is parts["inverse_dynamics"]
    assert policy.of(SimpleNamespace(loaded_from=tmp_path / "x.safetensors")) is parts["planning"]
