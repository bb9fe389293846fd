"""The Go suite on models whose every answer is known."""

import json
import stat
import sys

import numpy as np
import pytest

from datamodules.go.katago import HUMAN, NEEDED
from evaluation.go import INTERVENED, GoSuite, replacements
from evaluation.go_players import answering
from evaluation.go_positions import at_random, held_out_positions, imagined, judged, move_to
from launch.evaluate import main
from recipes.stage import Stage
from tests.evaluation.go_stand_ins import (
    NODE,
    PASS,
    Boards,
    Copies,
    Knows,
    LosesAStone,
    PlaysOnWhite,
    PlaysTwice,
    ToldTheState,
)

ALL_RIGHT = {
    "legal": 1.0,
    "no_move": 0.0,
    "several_stones": 0.0,
    "successor": 1.0,
    "accuracy": 1.0,
    "played_accuracy": 1.0,
    "action_value": 1.0,
}
IMAGINED = {"imagined_move": 1.0, "imagined_reply": 1.0}


@pytest.fixture(autouse=True)
def _no_engines(monkeypatch):
    """What is installed here shall not matter."""
    for variable in (*NEEDED, HUMAN):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("GNUGO", "/nowhere/gnugo")


def greedy(model, **changes) -> dict[str, float]:
    found = GoSuite(decodings=("greedy",), **changes)(model)
    return {name.replace("_greedy", "", 1): value for name, value in found.items()}


def test_who_knows_is_right_in_every_way():
    model = Knows()
    suite = GoSuite(batch_size=16)
    assert suite(model) == {
        f"{m}_{d}": v for d in ("greedy", "sampled") for m, v in (ALL_RIGHT | IMAGINED).items()
    }
    assert model.asked == [(n, t, ()) for t in (0.0, 1.0) for n in (16, 16, 8)]
    assert any("GNU Go's value" in note for note in suite.notes())
    assert any("at most 0.079" in note for note in suite.notes())


@pytest.mark.parametrize(
    ("model", "wrong"),
    [
        (Copies, {**dict.fromkeys(ALL_RIGHT, 0.0), "no_move": 1.0}),
        (PlaysOnWhite, dict.fromkeys(ALL_RIGHT, 0.0)),
        (LosesAStone, ALL_RIGHT | {"successor": 0.0}),
    ],
)
def test_each_failure_is_seen_as_what_it_is(model, wrong):
    found = greedy(model())
    assert {name: found[name] for name in ALL_RIGHT} == wrong


def test_two_stones_are_no_successor():
    found = greedy(PlaysTwice())
    assert (found["several_stones"], found["successor"], found["no_move"]) == (1.0, 0.0, 0.0)


def test_who_is_told_the_state_draws_nothing():
    found = greedy(ToldTheState())
    assert found == {
        name: ALL_RIGHT[name] for name in ("legal", "no_move", "accuracy", "played_accuracy", "action_value")
    }


def test_codes_that_give_way():
    """The first code is the move, the others are what comes later."""
    model = Knows()
    found = greedy(model, intervene=True, positions=20)
    assert {replaced for _, _, replaced in model.asked} == {(), (0,), (1,), (2,), (0, 1, 2)}
    for later in ("1", "2"):
        assert all(found[f"{name}_replaced_{later}"] == 1.0 for name in INTERVENED)
    for first in ("0", "all"):
        assert found[f"accuracy_replaced_{first}"] == 0.0
        assert 0 < found[f"legal_replaced_{first}"] < 1
    assert replacements(1) == {"0": (0,), "all": (0,)}


def test_without_codes_nothing_gives_way():
    suite = GoSuite(intervene=True)
    assert not any("replaced" in name for name in suite(Copies()))
    assert any("no codes" in note for note in suite.notes())


def test_guessing_is_a_random_legal_stone():
    chance = GoSuite(decodings=("greedy",)).chance(Knows().hparams)
    placed = Boards().placed
    counts = [len(one.position.legal() - {PASS}) for one in placed]
    assert chance["legal_greedy"] == chance["successor_greedy"] == 1.0
    assert chance["accuracy_greedy"] == pytest.approx(np.mean([1 / n for n in counts]))
    assert chance["action_value_greedy"] == pytest.approx(np.mean([1.25 / n for n in counts]))


def test_no_values_and_no_engine_leave_the_action_value_out():
    suite = GoSuite(decodings=("greedy",))
    model = Knows(values=False)
    assert "action_value_greedy" not in suite(model)
    assert "action_value_greedy" not in suite.chance(model.hparams)
    assert any("40 positions have no values" in note for note in suite.notes())


def test_all_that_is_found_was_announced():
    suite = GoSuite(intervene=True, ratings=True, ladder=(1.0,), games=2)
    found = suite(Knows())
    assert found.keys() == set(suite.metrics) - {"first_move"}  # random alone cannot tell its worth
    assert all(name.isidentifier() for name in suite.metrics)


def test_what_was_played_is_not_what_should_be():
    source = Boards()
    source.places = [(game, ply + 1) for game, ply in source.places]
    known = held_out_positions(source, 500)
    answers = answering(Knows(), source, temperature=0.0, batch_size=100)(known.boards, seed=0)
    found = judged(known, answers)
    assert found["accuracy"].all()
    assert found["played_accuracy"].mean() < 0.2
    assert set(at_random(known)) == set(found)


def test_positions_where_the_annotator_passes_are_left_out():
    source = Boards()
    source.placed[3].line[0] = PASS
    known = held_out_positions(source, 500)
    assert len(known.placed) == 39
    assert any("1 positions" in note for note in known.notes)
    assert len(held_out_positions(source, 10).placed) in (9, 10)


def test_replies_are_imagined_where_there_are_any():
    known = held_out_positions(Boards(), 10)
    right = np.stack([one.position.child(one.line[0]).board for one in known.placed])
    replies = np.stack([one.position.child(one.line[0]).child(one.line[1]).board for one in known.placed])
    found = imagined(known, np.stack([right, replies, replies], axis=1))
    assert found["imagined_reply"].tolist() == [1.0] * 10
    assert imagined(known, np.stack([right, right], axis=1))["imagined_reply"].tolist() == [0.0] * 10
    assert imagined(known, np.stack([replies, replies], axis=1))["imagined_move"].tolist() == [0.0] * 10
    known.placed[0].line[1] = PASS
    assert len(imagined(known, np.stack([right, replies], axis=1))["imagined_reply"]) == 9
    assert set(imagined(known, right[:, None])) == {"imagined_move"}


def test_a_board_that_follows_is_told_from_one_that_does_not():
    for placed in Boards().placed:
        position = placed.position
        for point in position.legal() - {PASS}:
            assert move_to(position, position.child(point).board) == point
        assert move_to(position, position.board) is None
        white = position.child(placed.line[0])
        assert move_to(white, white.child(placed.line[1]).board) == placed.line[1]


FAKE_KATAGO = """#!{python}
import sys
moves = 0
for line in sys.stdin:
    number, command = line.split(maxsplit=1)
    said = ""
    if command.startswith("clear_board"):
        moves = 0
    if command.startswith("play"):
        moves += 1
    if command.startswith("kata-raw-nn"):
        policy = ["NAN"] * 12 + ["0.1", "0.4"] + ["0.01"] * 11
        rows = [" ".join(policy[i : i + 5]) for i in range(0, 25, 5)]
        said = "\\n".join(["symmetry 0", "whiteWin 0.5", "policy", *rows, "policyPass 0.3", "whiteOwnership"])
    print(f"={{number}} {{said}}\\n", flush=True)
"""


def test_katago_judges_where_it_is_configured(tmp_path, monkeypatch):
    for variable in NEEDED:
        file = tmp_path / variable
        file.write_text(FAKE_KATAGO.format(python=sys.executable))
        file.chmod(file.stat().st_mode | stat.S_IXUSR)
        monkeypatch.setenv(variable, str(file))
    known = held_out_positions(Boards(), 3)
    assert known.worth[0][13] == 1.0
    assert known.worth[0][12] == pytest.approx(0.25)
    assert 0 not in known.worth[0]
    assert any("KataGo" in note for note in known.notes)


class DrawsNothing:
    hparams = Knows().hparams


def test_what_cannot_be_asked_is_one_line():
    with pytest.raises(ValueError, match="DrawsNothing has no `next_frame`"):
        GoSuite()(DrawsNothing())
    with pytest.raises(ValueError, match="shows no boards; this needs a model trained on data=go"):
        answering(Knows(), object(), temperature=0.0, batch_size=1)


@pytest.mark.parametrize(
    "wrong",
    [
        {"positions": 0},
        {"games": 0},
        {"opening": 3},
        {"ladder": (1.5,)},
        {"ladder": (1.0, 1.0)},
        {"decodings": ()},
    ],
)
def test_arguments_that_make_no_sense(wrong):
    with pytest.raises(ValueError, match="give"):
        GoSuite(**wrong)


def test_evaluate_writes_tables_pictures_and_games(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(Stage, "load", lambda path: Knows())
    tokens = ["ckpt=somewhere", "suite=go", f"out={tmp_path}", "suite.positions=8", "suite.ratings=true"]
    assert main([*tokens, "suite.ladder=[1.0]", "suite.games=2", "suite.others=[elsewhere]"]) == 0
    found = json.loads((tmp_path / "go.json").read_text())["groups"]["test"]
    assert found["model"]["values"]["legal_greedy"] == 1.0
    assert found["model"]["values"].keys() >= {"rating_greedy", "rating_other_1_sampled", "failures_sampled"}
    assert found["guessing"]["values"]["legal_sampled"] == 1.0
    assert any("other_1 is elsewhere" in note for note in found["model"]["notes"])
    for picture in ("positions", "ratings", "final_boards"):
        assert (tmp_path / "go" / f"{picture}.png").stat().st_size > 500
    assert (tmp_path / "go" / "ratings.md").read_text().startswith("| player | Elo")
    assert "| legal_greedy | 1.0000 | 0.0000 |" in (tmp_path / "go" / "positions.md").read_text()
    assert len(list((tmp_path / "go" / "games").glob("*.sgf"))) == 8
    assert "rating_greedy" in capsys.readouterr().out


def test_videos_cannot_be_asked(tmp_path, capsys):
    assert main(["suite=go", f"videos={tmp_path}", f"reference={tmp_path}"]) == 2
    assert "asks a model; give ckpt=PATH" in capsys.readouterr().err


def test_node_of_the_stand_in_is_built_as_it_is_written():
    assert NODE["_component_"].rpartition(".")[2] == Boards.__name__
