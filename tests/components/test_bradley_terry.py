"""Ratings from games: known strengths come back, intervals hold, wins without losses stay finite."""

import math

import pytest
import torch
from torch import Tensor

from components.metrics.bradley_terry import POINTS, BradleyTerry, Ratings

STRENGTHS = torch.tensor([0.0, -60.0, -250.0, 140.0], dtype=torch.float64)
PAIRS = [(i, j) for i in range(4) for j in range(4) if i != j]


def played(generator: torch.Generator, *, games: int, first_move: float = 80.0) -> tuple[Tensor, ...]:
    """Games of every ordered pair, won by chances that the strengths give."""
    black, white = torch.tensor([pair for pair in PAIRS for _ in range(games)]).T
    chance = ((STRENGTHS[black] - STRENGTHS[white] + first_move) / POINTS).sigmoid()
    return (
        black,
        white,
        (torch.rand(chance.shape, generator=generator, dtype=torch.float64) < chance).double(),
    )


def fitted(black: Tensor, white: Tensor, result: Tensor, *, players: int = 4, anchor: int = 0) -> Ratings:
    metric = BradleyTerry(players=players, anchor=anchor)
    metric.update(black, white, result)
    return metric.compute()


def results(*games: tuple[int, int, float]) -> tuple[Tensor, ...]:
    black, white, result = zip(*games, strict=True)
    return torch.tensor(black), torch.tensor(white), torch.tensor(result)


def test_known_strengths_lie_in_their_intervals():
    generator, inside, first_inside = torch.Generator().manual_seed(0), [], []
    for _ in range(100):
        found = fitted(*played(generator, games=30))
        assert not found.prior
        inside.append((found.ratings - STRENGTHS).abs()[1:] <= found.intervals[1:])
        first_inside.append((found.first_move - 80).abs() <= found.first_move_interval)
    assert 0.91 <= torch.stack(inside).double().mean() <= 0.985
    assert 0.90 <= torch.stack(first_inside).double().mean() <= 1.0


def test_many_games_leave_no_doubt():
    found = fitted(*played(torch.Generator().manual_seed(1), games=20_000))
    torch.testing.assert_close(found.ratings, STRENGTHS, rtol=0, atol=5.0)
    assert float(found.first_move) == pytest.approx(80.0, abs=4.0)
    assert found.intervals.max() < 5.0


def test_intervals_are_those_of_the_bootstrap():
    games = played(torch.Generator().manual_seed(2), games=40)
    found, generator = fitted(*games), torch.Generator().manual_seed(3)
    again = []
    for _ in range(200):
        drawn = torch.randint(len(games[0]), games[0].shape, generator=generator)
        again.append(fitted(*(part[drawn] for part in games)).ratings)
    spread = 1.96 * torch.stack(again).std(dim=0)
    torch.testing.assert_close(spread[1:], found.intervals[1:], rtol=0.15, atol=0)


def test_two_players_have_a_closed_form():
    """Nine wins of twelve are odds of three to one, whoever was Black."""
    games = [(0, 1, 1.0)] * 9 + [(0, 1, 0.0)] * 3
    found = fitted(*results(*games), players=2, anchor=1)
    assert float(found.ratings[0]) == pytest.approx(400 * math.log10(3))
    assert float(found.intervals[0]) == pytest.approx(1.959964 * POINTS / math.sqrt(12 * 0.75 * 0.25))
    assert math.isnan(found.first_move)


@pytest.mark.parametrize("anchor", range(4))
def test_the_anchor_moves_all_alike(anchor):
    games = played(torch.Generator().manual_seed(4), games=30)
    found, first = fitted(*games, anchor=anchor), fitted(*games)
    assert found.ratings[anchor] == found.intervals[anchor] == 0
    torch.testing.assert_close(found.ratings - found.ratings[0], first.ratings)
    torch.testing.assert_close(found.first_move, first.first_move)


def test_games_add_up_over_batches():
    games = played(torch.Generator().manual_seed(5), games=20)
    metric = BradleyTerry(players=4, anchor=0)
    for start in range(0, len(games[0]), 50):
        metric.update(*(part[start : start + 50] for part in games))
    torch.testing.assert_close(metric.compute().ratings, fitted(*games).ratings)


def test_equal_to_another_fit():
    choix = pytest.importorskip("choix")
    black, white, result = played(torch.Generator().manual_seed(6), games=40, first_move=0.0)
    both = results(*[(int(b), int(w), float(r)) for b, w, r in zip(black, white, result, strict=True)])
    # every game counted from both sides leaves no first move to fit
    mirrored = [torch.cat(pair) for pair in ((both[0], both[1]), (both[1], both[0]), (both[2], 1 - both[2]))]
    found = fitted(*mirrored)
    won = [(int(b), int(w)) if r else (int(w), int(b)) for b, w, r in zip(*both, strict=True)]
    expected = torch.tensor(choix.opt_pairwise(4, won, tol=1e-10)) * POINTS
    torch.testing.assert_close(found.ratings, expected - expected[0], rtol=1e-4, atol=0.01)
    assert float(found.first_move) == pytest.approx(0.0, abs=1e-6)


def test_who_won_everything_stays_finite_and_it_is_said():
    games = [(0, 1, 1.0)] * 15 + [(1, 0, 0.0)] * 15
    games += [(1, 2, 1.0), (1, 2, 0.0), (2, 1, 1.0), (2, 1, 0.0)] * 4
    found = fitted(*results(*games), players=3)
    assert found.prior
    assert found.ratings[1] == pytest.approx(-400 * math.log10(30.5 / 0.5), abs=1.0)
    assert found.ratings.isfinite().all()
    assert (found.intervals[1:] > 200).all()


def test_a_drawn_game_is_half_a_win():
    drawn = fitted(*results((0, 1, 0.5), (1, 0, 0.5)), players=2)
    assert drawn.ratings.tolist() == pytest.approx([0.0, 0.0])
    assert not drawn.prior


def test_who_never_met_the_anchor_cannot_be_rated():
    with pytest.raises(ValueError, match="against the anchor"):
        fitted(*results((0, 1, 1.0), (1, 0, 1.0), (2, 3, 1.0), (3, 2, 1.0)))
