import math

import pytest

from components.schedules import Schedule
from components.schedules.constant import Constant
from components.schedules.inverse_sigmoid import InverseSigmoid
from components.schedules.linear import Linear
from components.schedules.sigmoid import Sigmoid


def test_kl_weight_of_savp():
    weight = Linear(start=0.0, end=1.0, begin=50_000, finish=100_000)
    assert isinstance(weight, Schedule)
    assert [weight(step) for step in (0, 50_000, 75_000, 100_000, 300_000)] == [0.0, 0.0, 0.5, 1.0, 1.0]


def test_learning_rate_of_savp():
    rate = Linear(start=2e-4, end=0.0, begin=200_000, finish=300_000)
    assert [rate(step) for step in (0, 200_000, 250_000, 300_000)] == pytest.approx([2e-4, 2e-4, 1e-4, 0.0])


def test_a_ramp_of_no_length_is_a_jump():
    weight = Linear(start=0.0, end=1.0, begin=5, finish=5)
    assert [weight(step) for step in (0, 4, 5, 6)] == [0.0, 0.0, 1.0, 1.0]


def test_scheduled_sampling_of_savp():
    truth = InverseSigmoid(k=900.0)
    assert truth(0) == pytest.approx(900 / 901)
    assert truth(6122) == pytest.approx(0.5, abs=1e-4)
    for step in (1, 5000, 12_000):
        assert truth(step) == pytest.approx(900 / (900 + math.exp(step / 900)))
    last = max(step for step in range(12_000, 13_000) if truth(step) > 0)
    assert last == pytest.approx(12_340, abs=10)
    assert truth(last) >= 0.001
    assert {truth(step) for step in (last + 1, 20_000, 10**9)} == {0.0}


def test_schedules_never_turn_back():
    for schedule, sign in ((InverseSigmoid(k=60.0), -1), (Sigmoid(k=60.0), 1)):
        values = [sign * schedule(step) for step in range(0, 2000, 7)]
        assert values == sorted(values)


def test_sigmoid_is_the_official_form():
    weight = Sigmoid(k=900.0, value=0.1)
    for step in (0, 1000, 6122, 100_000):
        assert weight(step) == pytest.approx(0.1 / (1 + 900 * math.exp(-step / 900)))
    assert Constant(value=0.3)(10**6) == 0.3


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: Linear(start=0.0, end=1.0, begin=6, finish=5),
        lambda: InverseSigmoid(k=1.0),
        lambda: Sigmoid(k=-1.0),
    ],
)
def test_wrong_settings_are_one_clear_line(wrong):
    with pytest.raises(ValueError, match="needs"):
        wrong()
