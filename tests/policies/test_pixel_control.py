"""Planning with designated pixels: how their places reach the model, and what follows from that."""

import numpy as np
import pytest
import torch

from components.action_distributions.gaussian import DiagonalCovariance
from components.plan_costs.goal_image import GoalImage
from components.plan_costs.pixel_distance import PixelDistance
from components.planners.cem import CEM
from policies import Policy
from policies.model_control import ModelControl
from policies.simulator_control import SimulatorControl
from tests.policies.dot_world import DotModel, DotWorld, mean_place, scene_of


def planner(skip=1, repeat=2):
    return CEM(
        distribution=DiagonalCovariance(std=[0.6] * 2 * skip), num_actions=3, repeat=repeat, num_samples=40,
        elites=6, clip_stds=None,
    )  # fmt: skip


def play(policy, model, world, steps=14):
    """Where the dot was at every step, and whether it arrived."""
    observation, path = world.reset(seed=1), []
    episode = policy.begin(model, scene_of(world), seed=0)
    for _ in range(steps):
        path.append(world.place)
        if getattr(policy, "needs_places", False):
            observation["designated"], _ = world.designated("static")
        action = episode.act(observation, world.state() if policy.needs_snapshot else None)
        observation, _, done, _, _ = world.step(action)
        if done:
            return np.stack(path), True
    return np.stack(path), False


@pytest.mark.parametrize("tracking", ["propagation", "oracle"])
@pytest.mark.parametrize("skip", [1, 2])
def test_an_exact_model_leads_the_pixel_to_its_goal(tracking, skip):
    model = DotModel(skip=skip)
    policy = ModelControl(planner=planner(skip), cost=PixelDistance(), replan=2, tracking=tracking)
    path, arrived = play(policy, model, DotWorld(), steps=20)
    assert arrived
    assert not np.ptp(path[: skip + 1], axis=0).any()  # it rested until it had seen two frames
    assert len(path) > 2 * skip + skip  # and planned more than once


def test_an_action_of_the_environment_is_done_as_often_as_the_model_skips_frames():
    policy = ModelControl(planner=planner(repeat=1), cost=PixelDistance(), replan=1)
    path, arrived = play(policy, DotModel(skip=2), DotWorld(), steps=30)
    moves = np.diff(path[2:], axis=0)
    pairs = moves[: len(moves) // 2 * 2].reshape(-1, 2, 2)
    assert arrived
    assert len(pairs) > 1
    np.testing.assert_allclose(pairs[:, 0], pairs[:, 1], atol=1e-6)


def test_a_planner_of_another_width_is_told_in_a_line():
    world = DotWorld()
    world.reset(seed=0)
    wrong = {"planner": planner(skip=3), "cost": PixelDistance()}
    with pytest.raises(ValueError, match=r"std of 6 numbers, the model's actions have 4: set them alike"):
        ModelControl(**wrong).begin(DotModel(skip=2), scene_of(world), seed=0)
    with pytest.raises(ValueError, match=r"std of 6 numbers, the environment's actions have 2"):
        SimulatorControl(**wrong).begin(None, scene_of(world), seed=0)


@pytest.mark.parametrize("tracking", ["propagation", "oracle"])
def test_the_maps_say_where_the_pixel_was_in_every_context_frame(tracking):
    model = DotModel()
    policy = ModelControl(planner=planner(), cost=PixelDistance(), replan=3, tracking=tracking)
    path, _ = play(policy, model, DotWorld(), steps=8)
    plannings = [1, 4, 7]
    asked = model.asked[:: policy.planner.iterations]
    assert len(asked) == sum(step < len(path) for step in plannings)
    for step, (video, designated) in zip(plannings, asked, strict=False):
        torch.testing.assert_close(designated.sum((-2, -1)), torch.ones(2, 1))
        for k in range(2):
            told = mean_place(designated[k, 0])
            np.testing.assert_allclose(told, path[step - 1 + k], atol=1e-3)
            shown = video[k, 0].float() / video[k, 0].sum()
            np.testing.assert_allclose(told, mean_place(shown), atol=0.02)  # of whole grey levels


def test_propagation_believes_a_wrong_model_and_the_oracle_corrects_it():
    away = {}
    for tracking in ("propagation", "oracle"):
        model = DotModel(gain=0.5)
        policy = ModelControl(planner=planner(), cost=PixelDistance(), replan=2, tracking=tracking)
        path, _ = play(policy, model, DotWorld(), steps=10)
        designated = model.asked[policy.planner.iterations][1]  # of the second planning
        away[tracking] = np.linalg.norm(mean_place(designated[-1]).numpy() - path[3])
    assert away["oracle"] < 1e-3
    assert away["propagation"] > 0.5


def test_places_are_asked_for_at_every_decision_by_the_oracle_alone():
    settings = {"planner": planner(), "cost": PixelDistance()}
    assert ModelControl(**settings, tracking="oracle").needs_places
    assert not ModelControl(**settings).needs_places
    assert not ModelControl(planner=planner(), cost=GoalImage(), tracking="oracle").needs_places
    assert isinstance(ModelControl(**settings), Policy)


def test_the_simulator_leads_the_pixel_to_its_goal_without_drawing():
    policy = SimulatorControl(planner=planner(), cost=PixelDistance(), replan=2)
    _, arrived = play(policy, None, DotWorld())
    assert arrived
    assert policy._copy.cameras == ()


def test_the_simulator_and_an_exact_model_judge_alike():
    world = DotWorld()
    observation, scene = world.reset(seed=2), scene_of(world)
    candidates = torch.rand(5, 6, 2, generator=torch.Generator().manual_seed(0)) - 0.3
    cost = PixelDistance()
    simulated = SimulatorControl(planner=planner(), cost=cost).begin(None, scene, seed=0)
    simulated.act(observation, world.state())
    modelled = ModelControl(planner=planner(), cost=cost).begin(DotModel(), scene, seed=0)
    for _ in range(2):
        modelled.act(observation, None)
    found = modelled.cost(candidates) - simulated.cost(candidates)
    assert found.abs().max() < 0.35  # a moved map is a little wider than one that is made at its place


def test_what_cannot_follow_pixels_is_told_in_a_line():
    world = DotWorld()
    world.reset(seed=0)
    policy = ModelControl(planner=planner(), cost=PixelDistance())

    class Blind:
        hparams = DotModel().hparams

    with pytest.raises(ValueError, match=r"Blind follows no designated pixels; take policy\.cost=goal_image"):
        policy.begin(Blind(), scene_of(world), seed=0)
    for other, model in (
        (policy, DotModel()),
        (SimulatorControl(planner=planner(), cost=PixelDistance()), None),
    ):
        with pytest.raises(ValueError, match=r"designates no pixels; take policy\.cost=goal_image"):
            other.begin(model, scene_of(world, places=False), seed=0)
    with pytest.raises(ValueError, match="replan is 0"):
        ModelControl(planner=planner(), cost=PixelDistance(), replan=0)


@pytest.mark.parametrize(("precision", "type_"), [("32-true", None), ("bf16-mixed", torch.bfloat16)])
def test_a_model_predicts_in_the_precision_asked_for_and_costs_are_whole_floats(precision, type_):
    seen = []

    class Watched(DotModel):
        def track(self, *given, **named):
            seen.append(torch.get_autocast_dtype("cpu") if torch.is_autocast_enabled("cpu") else None)
            return super().track(*given, **named)

    policy = ModelControl(planner=planner(), cost=PixelDistance(), precision=precision)
    world = DotWorld()
    observation = world.reset(seed=1)
    episode = policy.begin(Watched(), scene_of(world), seed=0)
    for _ in range(2):
        episode.act(observation, None)
    assert set(seen) == {type_}
    assert episode.cost(torch.zeros(3, 4, 2)).dtype == torch.float32
    assert all(maps.dtype == torch.float32 for maps in episode.maps.expected)
