"""The short form of kill_and_resume: two kills."""

from tests.stress.kill_and_resume import stress


def test_killed_and_resumed_is_bit_equal(tmp_path):
    outcomes = stress(tmp_path, kills=2, processes=1, steps=6, seed=1)
    assert [outcome.different for outcome in outcomes] == [[], []]
