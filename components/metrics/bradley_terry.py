"""Ratings of players from the games they played (Bradley and Terry, 1952; Elo's scale)."""

from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torchmetrics import Metric

POINTS = 400 / torch.log(torch.tensor(10.0, dtype=torch.float64)).item()  # Elo points of one natural logit
FAR = 12.0  # logits; no number of games that can be played gives odds of e^12, only a fit that runs away does
CERTAIN = 1.959964  # standard errors on each side of a 95 % interval


class Ratings(NamedTuple):
    """What was fitted, in Elo points: 400 of them are odds of ten to one.

    ratings: the anchor's is 0. intervals: half the width of each rating's 95 % interval; the anchor's is 0.
    first_move: what moving first is worth; not a number where the games cannot tell.
    first_move_interval: half the width of its 95 % interval.
    prior: whether the games alone had no finite answer, and a drawn game of each pair was added.
    """

    ratings: Float[Tensor, " n"]
    intervals: Float[Tensor, " n"]
    first_move: Float[Tensor, ""]
    first_move_interval: Float[Tensor, ""]
    prior: bool


class BradleyTerry(Metric):
    """Fit P(Black wins) = sigmoid(rating of Black - rating of White + first move) to all games seen.

    The fit is the maximum of the likelihood (Newton's method), the intervals are those of its Fisher
    information. Where someone won or lost everything that ties them to the others, the maximum lies at
    infinity: then each pair that met is given one drawn game more, as BayesElo's prior does, and the result
    says so. Where nobody met anybody in both colours, or as good as that, the worth of the first move cannot
    be told from strength and is left out.

    players: how many there are. anchor: which of them is rated 0.
    Raises: ValueError from `compute`, where some have no games that lead to the anchor.
    """

    full_state_update = False
    points: Tensor
    games: Tensor

    def __init__(self, *, players: int, anchor: int) -> None:
        super().__init__()
        self.anchor = anchor
        empty = torch.zeros(players, players, dtype=torch.float64)
        self.add_state("points", default=empty.clone(), dist_reduce_fx="sum")  # Black's, [Black, White]
        self.add_state("games", default=empty.clone(), dist_reduce_fx="sum")

    def update(self, black: Int[Tensor, " g"], white: Int[Tensor, " g"], result: Float[Tensor, " g"]) -> None:
        """Add games. result: 1 where Black won, 0 where White did, 0.5 for a draw."""
        self.points.index_put_((black, white), result.to(self.points.dtype), accumulate=True)
        self.games.index_put_(
            (black, white), torch.ones_like(result, dtype=self.games.dtype), accumulate=True
        )

    def compute(self) -> Ratings:
        black, white = self.games.nonzero(as_tuple=True)
        points, games = self.points[black, white], self.games[black, white]
        n = len(self.games)
        identity = torch.eye(n, dtype=torch.float64)
        strength = (identity[black] - identity[white])[:, [i for i in range(n) if i != self.anchor]]
        if torch.linalg.matrix_rank(strength) < n - 1:
            raise ValueError("some players have no games, direct or through others, against the anchor")
        design = torch.cat((strength, torch.ones(len(games), 1, dtype=torch.float64)), dim=1)
        if told := bool(torch.linalg.matrix_rank(design) < n):
            design = strength
        fitted, prior = _fit(design, points, games), False
        if fitted is None:
            share = games / (self.games + self.games.T)[black, white]
            fitted, prior = _fit(design, points + share / 2, games + share), True
            assert fitted is not None  # with a draw in every pair no odds can run away
        weights, covariance = fitted
        weights, errors = POINTS * weights, POINTS * CERTAIN * covariance.diagonal().sqrt()
        unknown = torch.tensor([torch.nan], dtype=torch.float64)
        if told:
            weights, errors = torch.cat((weights, unknown)), torch.cat((errors, unknown))
        zero = torch.zeros(1, dtype=torch.float64)
        ratings, intervals = (
            torch.cat((x[: self.anchor], zero, x[self.anchor : -1])) for x in (weights, errors)
        )
        return Ratings(ratings, intervals, weights[-1], errors[-1], prior)


def _fit(
    design: Float[Tensor, "m k"], points: Float[Tensor, " m"], games: Float[Tensor, " m"]
) -> tuple[Float[Tensor, " k"], Float[Tensor, "k k"]] | None:
    """Logistic regression: weights and their covariance; None where the odds run away."""
    weights = torch.zeros(design.shape[1], dtype=design.dtype)
    while True:
        chance = (design @ weights).sigmoid()
        information = design.T @ ((games * chance * (1 - chance))[:, None] * design)
        step = torch.linalg.solve(information, design.T @ (points - games * chance))
        step = step / (design @ step).abs().max().clamp(min=1.0)  # Newton's step may be far too long
        weights = weights + step
        if (design @ weights).abs().max() > FAR:
            return None
        if step.abs().max() < 1e-9:
            return weights, torch.linalg.inv(information)
