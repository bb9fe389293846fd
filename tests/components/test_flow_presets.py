"""Every bare name of the kinds around flow matching builds what its file promises."""

import pytest

from checkpoints.build import build
from components.distances import Distance
from components.flow_samplers import FlowSampler
from components.guidance import Guidance
from components.loss_weights import LossWeight
from components.memories import Memory
from components.objectives.flow_matching import FlowMatching
from components.orders import SamplingOrder
from components.shifts import Shift
from components.timestep_laws import TimestepLaw
from launch.presets import kinds

CONTRACTS = {
    "distances": Distance,
    "flow_samplers": FlowSampler,
    "guidance": Guidance,
    "loss_weights": LossWeight,
    "memories": Memory,
    "objectives": FlowMatching,
    "orders": SamplingOrder,
    "shifts": Shift,
    "timestep_laws": TimestepLaw,
}
PRESETS = [(kind, name) for kind in CONTRACTS for name in kinds()[f"components.{kind}"].nodes]


@pytest.mark.parametrize(("kind", "name"), PRESETS)
def test_builds_and_meets_its_contract(kind, name):
    node = kinds()[f"components.{kind}"].nodes[name]
    made = build(node | ({"section": 4} if kind == "orders" else {}))
    assert isinstance(made, CONTRACTS[kind])


def test_orders_have_a_memory_on_their_side():
    memories = kinds()["components.memories"].nodes
    sides = {build(node).side for node in memories.values()}
    assert sides == {
        build(node | {"section": 4}).side for node in kinds()["components.orders"].nodes.values()
    }
