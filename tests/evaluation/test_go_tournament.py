"""Tournaments at the Go board: who meets whom, in lock step; turns without a legal move."""

import pytest

from datamodules import SourceError
from datamodules.go.gnugo import GnuGo
from datamodules.go.rules import replay
from evaluation.go_players import Going, NoisyGnuGo, random_move, rung_name, show
from evaluation.go_ratings import hold_tournament
from evaluation.go_tournament import LONGEST, Tournament
from tests.evaluation.go_stand_ins import PASS, SIZE, Copies, Knows, ToldTheState, installed, model_player

EARLY = {(0, 2), (0, 3), (1, 2), (1, 3), (2, 3)}


class Fixed:
    """Plays its moves in turn, then passes; None stands for a turn without a legal move."""

    def __init__(self, name: str, *moves: int | None) -> None:
        self.name, self.given = name, moves
        self.asked: list[int] = []

    def moves(self, games):
        self.asked.append(len(games))
        turn = [(game.position.ply) // 2 for game in games]
        return [self.given[i] if i < len(self.given) else PASS for i in turn]


def held(models, ladder, **changes):
    settings = {
        "size": SIZE,
        "games": 4,
        "opening": 0,
        "seed": 1,
        "referee": lambda game, *players: game.position.score(),
    }
    return Tournament(models=models, ladder=ladder, **(settings | changes))


def rung(epsilon: float, engine: GnuGo | None = None) -> NoisyGnuGo:
    return NoisyGnuGo(engine=engine, epsilon=epsilon)


def test_models_meet_the_ladder_and_rungs_each_other():
    tournament = held([Fixed("a"), Fixed("b")], [Fixed("c"), Fixed("d")])
    assert set(tournament.pairs()) == EARLY
    played = tournament.play()
    assert len(played) == 4 * len(EARLY)
    assert sum((game.black, game.white) == (2, 3) for game in played) == 2
    assert all(game.black < 2 or {game.black, game.white} == {2, 3} for game in played)


def test_all_games_of_a_pair_are_asked_at_once():
    model, other = Fixed("model", 0, 2, 4), Fixed("other", 20, 22)
    (game, *_) = held([model], [other]).play()
    assert set(model.asked) == set(other.asked) == {4}
    assert game.moves == [0, 20, 2, 22, 4, PASS, PASS]
    assert game.margin == replay(SIZE, game.moves).score()
    assert game.result == f"W+{-game.margin:g}"


def test_no_legal_move_is_a_pass_and_is_counted():
    (game, *_) = held([Fixed("model", 0, None, 2)], [Fixed("other", 20, 22, 24)]).play()
    assert game.moves[:6] == [0, 20, PASS, 22, 2, 24]
    assert game.failures == (1, 0)
    assert game.turns[0] == 4


def test_a_game_ends_after_enough_plies():
    class Captures:
        """Fills the board and never passes while it may play."""

        name = "captures"

        def moves(self, games):
            return [min(game.position.legal()) for game in games]

    (game, *_) = held([Captures()], [Captures()], games=1).play()
    assert len(game.moves) <= LONGEST * SIZE**2


def test_openings_are_shared_and_of_the_seed():
    tournament = held([Fixed("a"), Fixed("b")], [Fixed("c"), Fixed("d")], opening=4)
    starts = {}
    for game in tournament.play():
        assert game.opening == 4
        starts.setdefault((game.black, game.white), []).append(tuple(game.moves[:4]))
    assert starts[0, 2] == starts[1, 3]
    assert len(set(starts[0, 2])) == 4
    assert starts[2, 3] == starts[3, 2] == starts[0, 2][:2]
    other = held([Fixed("a")], [Fixed("c")], opening=4, seed=2).play()
    assert tuple(other[0].moves[:4]) != starts[0, 2][0]


def test_games_do_not_depend_on_who_else_plays():
    alone = held([model_player(Knows())], [rung(1.0)]).play()
    among = held([Fixed("other"), model_player(Knows())], [Fixed("another"), rung(1.0)]).play()
    pairs = [game.moves for game in among if (game.black, game.white) == (1, 3)]
    assert [game.moves for game in alone] == pairs


def test_a_model_has_one_try_and_may_answer_a_pass_with_one():
    game = Going.begun(SIZE, [0, 1], 0)
    assert model_player(Copies()).moves([game]) == [None]
    assert model_player(ToldTheState()).moves([game]) == [PASS]  # it says so itself
    game = Going.begun(SIZE, [0, PASS], 0)
    assert model_player(Copies()).moves([game]) == [PASS]


def test_a_model_sees_itself_as_black():
    """What it does as White is what it does as Black on the board with the colours swapped."""
    as_black = Going.begun(SIZE, [0, 12, 24, 13], 0)
    as_white = Going.begun(SIZE, [12, 0, 13, 24, PASS], 0)
    player = model_player(Knows())
    assert player.moves([as_black]) == player.moves([as_white])


def test_random_moves_are_legal_and_pass_only_when_they_must():
    import numpy as np

    random = np.random.Generator(np.random.Philox(key=0))
    position = replay(SIZE, [])
    for _ in range(200):
        point = random_move(position, random)
        assert point in position.legal()
        assert point != PASS or position.legal() == {PASS}
        if point == PASS:
            break
        position.play(point)


def test_names_of_rungs():
    names = [rung_name(epsilon) for epsilon in (0.0, 0.1, 0.3, 1.0, 0.125)]
    assert names == ["gnugo", "gnugo_10", "gnugo_30", "random", "gnugo_12_5"]


def ratings(models, epsilons, **changes):
    settings = {"size": SIZE, "games": 6, "opening": 4, "seed": 1}
    return hold_tournament(models, epsilons=epsilons, **(settings | changes))


def test_without_an_engine_the_random_mover_is_the_ladder(monkeypatch):
    monkeypatch.setenv("GNUGO", "/nowhere/gnugo")
    found = ratings([model_player(Knows())], (0.0, 0.5, 1.0))
    assert found.names == ["model", "random"]
    assert found.values()["rating_random"] == 0.0
    assert any("random mover alone" in note for note in found.notes)
    assert any("moving first counts as strength" in note for note in found.notes)
    with pytest.raises(ValueError, match=r"suite.ladder=\[1.0\]"):
        ratings([model_player(Knows())], (0.0,))


def test_an_engine_that_dies_is_one_line(monkeypatch, tmp_path):
    engine = tmp_path / "gnugo"
    engine.write_text("#!/bin/sh\nread line; echo '=1'; echo; exit 1\n")
    engine.chmod(0o755)
    monkeypatch.setenv("GNUGO", str(engine))
    with pytest.raises(SourceError) as failure:
        ratings([model_player(Knows())], (0.0, 1.0))
    assert "\n" not in str(failure.value)


@installed
def test_gnu_go_is_stronger_than_chance_and_plays_the_same_again():
    first, second = (ratings([model_player(Copies())], (0.0, 1.0), games=4) for _ in range(2))
    assert [game.moves for game in first.games] == [game.moves for game in second.games]
    values = first.values()
    assert values["rating_gnugo"] == 0.0
    assert values["rating_random"] < 0
    assert values["failures_model"] > 0.5
    margins = [game.margin for game in first.games if game.black == 0]
    assert max(margins) < 0  # who only passes wins no game, not even where the other one fills its eyes
    assert "±" in first.table()
    assert any("one drawn game more" in note for note in first.notes)


@installed
def test_gnu_go_follows_a_game_with_a_ko():
    """The engine is shown all moves, so it never takes back at once."""
    moves = [1, 2, 5, 8, 11, 12, PASS, 6]  # White has just taken in the corner of a ko
    game = Going.begun(SIZE, moves, 0)
    with GnuGo(size=SIZE) as engine:
        for seed in range(5):
            game.seed = seed
            assert NoisyGnuGo(engine=engine, epsilon=0.0).moves([game])[0] in game.position.legal()
        show(engine, game.moves)
        assert engine.legal(game.position.black_to_move) == game.position.legal()
