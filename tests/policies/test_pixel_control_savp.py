"""SAVP's own maps in the control suite, on the play-table: that all parts fit, with random weights."""

from functools import partial

import pytest
import torch

from checkpoints.build import build
from components.action_distributions.gaussian import DiagonalCovariance
from components.plan_costs.pixel_distance import PixelDistance
from components.planners.cem import CEM
from environments import UnavailableError
from evaluation.control import ControlSuite
from launch.command import parse
from launch.compose import compose
from launch.run import prepare
from policies.model_control import ModelControl


@pytest.fixture(scope="module")
def savp():
    tokens = ["variant=deterministic_l1", "model.generator.channels=4", "model.generator.transformation=flow"]
    (raw,) = compose(parse(["recipe=savp", *tokens]))[0].values()
    raw["clip"] |= {"action_dim": 7}
    resolved = prepare(raw)
    torch.manual_seed(0)
    model = build(resolved["model"]).eval()
    model.remember(resolved)
    return model


@pytest.mark.parametrize("tracking", ["propagation", "oracle"])
def test_savp_plans_with_designated_pixels_on_the_table(savp, tracking):
    try:
        from environments.play_table import PlayTable

        table = PlayTable()
        table.reset(seed=0)
        table.close()
    except UnavailableError as reason:
        pytest.skip(str(reason))
    cem = CEM(
        distribution=DiagonalCovariance(std=[0.5] * 3 + [0.0] * 4), num_actions=2, repeat=2, iterations=1,
        num_samples=4, elites=2, warm_start=False,
    )  # fmt: skip
    policy = ModelControl(planner=cem, cost=PixelDistance(), replan=3, tracking=tracking)
    suite = ControlSuite(
        env=partial(PlayTable, max_steps=6), policy=policy, tasks=["open_drawer"], episodes=1
    )
    values = suite(savp).values
    assert values["crashes"] == 0
    assert values["success"] == 0
