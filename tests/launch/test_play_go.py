"""A model as a Go engine: GTP's letter, and that a Go program can run it."""

import io
import subprocess
import sys

import pytest

from datamodules.go.gtp import Engine, EngineError, point_at
from datamodules.go.rules import replay
from launch.go_engine import Conversation, GoEngine
from launch.play_go import main
from recipes.stage import Stage
from tests.evaluation.go_stand_ins import GNUGO, SIZE, Copies, Knows, installed, model_player

SCRIPT = """
import os, sys
from launch import play_go
from tests.evaluation.go_stand_ins import SIZE, Knows, model_player

def load(options):
    print("a library greets")
    os.system("echo so does another")
    return model_player(Knows()), SIZE

play_go.load = load
sys.exit(play_go.main(["ckpt=somewhere"]))
"""


def conversation(model=None) -> Conversation:
    return Conversation(GoEngine(model_player(model or Knows()), size=SIZE, seed=0))


def said(*lines: str, model=None) -> list[str]:
    """The answers, each without its closing blank line."""
    out = io.StringIO()
    conversation(model).hold([line + "\n" for line in lines], out)
    assert out.getvalue().endswith("\n\n")
    return out.getvalue()[:-2].split("\n\n")


def test_the_letter_of_gtp():
    assert said("protocol_version", "7 name", "12 nonsense", "  # remark", "", "quit", "name") == [
        "= 2",
        "=7 Video World Models",
        "?12 unknown command",
        "= ",
    ]


def test_what_every_controller_asks_for():
    (commands,) = said("list_commands")
    known = commands.removeprefix("= ").split("\n")
    needed = "protocol_version name version known_command list_commands quit boardsize clear_board komi play"
    assert {
        *needed.split(),
        "genmove",
        "undo",
        "showboard",
        "final_score",
        "time_settings",
        "time_left",
    } <= set(known)
    assert said("known_command play", "known_command fly", "known_command") == [
        "= true",
        "= false",
        "= false",
    ]


def test_a_game():
    answers = said(
        "boardsize 5", "clear_board", "komi 6.5", "play w C3", "genmove b", "showboard", "final_score"
    )
    assert answers[:4] == ["= "] * 4
    vertex = answers[4].removeprefix("= ")
    assert point_at(vertex, SIZE) in replay(SIZE, [12]).legal()
    assert answers[5].splitlines()[4].startswith(" 3 . . O")
    assert answers[5].count("X") == 1
    assert answers[6].startswith("= W+")


def test_mistakes_are_one_line_and_change_nothing():
    answers = said(
        "play b C3", "play w C3", "play w Z9", "play w", "play green A1", "genmove", "boardsize 9", "komi x"
    )
    assert answers[1:] == [
        "? illegal move",
        "? invalid color or coordinate",
        "? invalid color or coordinate",
        "? invalid color or coordinate",
        "? invalid color or coordinate",
        "? unacceptable size, the model plays on 5x5",
        "? komi not a float",
    ]


def test_undo_takes_back_one_move():
    boards = said("showboard", "play b A1", "genmove w", "undo", "undo", "showboard", "undo")
    assert boards[0] == boards[5]
    assert boards[6] == "? cannot undo"


def test_a_look_does_not_play():
    before, look, after, move = said("showboard", "reg_genmove b", "showboard", "genmove b")
    assert before == after
    assert look == move


def test_a_colour_may_move_twice_and_a_game_goes_on_after_two_passes():
    answers = said("play b A1", "play b B1", "play w pass", "play b pass", "play w C3", "genmove w")
    assert all(answer.startswith("=") for answer in answers)


def test_no_legal_move_is_a_pass():
    assert said("play b C3", "play w A1", "genmove b", model=Copies())[-1] == "= PASS"


def test_an_error_of_the_model_is_an_answer():
    class Fails(Knows):
        def next_frame(self, *args, **kwargs):
            raise RuntimeError("out of\nmemory")

    assert said("genmove b", "name", model=Fails()) == [
        "? RuntimeError: out of memory",
        "= Video World Models",
    ]


def test_a_go_program_can_run_it(tmp_path):
    """Over real pipes; what a library prints does not get in between."""
    with Engine([sys.executable, "-c", SCRIPT]) as engine:
        moves = []
        for ply in range(8):
            moves.append(point_at(engine.ask(f"genmove {'bw'[ply % 2]}"), SIZE))
        replay(SIZE, moves)  # all of them legal
        assert len(engine.ask("list_commands").split()) > 10
        with pytest.raises(EngineError, match="unknown command"):
            engine.ask("dance")
        engine.ask("quit")


def test_without_words_a_person_is_told_what_to_do(capsys):
    assert main([]) == 0
    out = capsys.readouterr().out
    assert "ckpt" in out
    assert "genmove b" in out


@pytest.mark.parametrize(
    ("tokens", "told"),
    [
        (["ckpt=nowhere"], "no such file or folder"),
        (["ckpt=nowhere", "temperature=-1.0"], "give 0 or more"),
        (["cktp=nowhere"], "did you mean ckpt?"),
    ],
)
def test_mistakes_before_the_game_are_told(tokens, told, capfd):
    assert main(tokens) == 2
    seen = capfd.readouterr()
    assert told in seen.err
    assert seen.out == ""


def test_a_model_that_knows_no_go_is_refused(monkeypatch, capfd):
    model = Knows()
    model.hparams = {
        "data": {
            "_component_": "datamodules.fork.Fork",
            "num_frames": 4,
            "height": 16,
            "width": 16,
            "seed": 0,
        }
    }
    monkeypatch.setattr(Stage, "load", lambda path: model)
    assert main(["ckpt=somewhere"]) == 2
    assert "Fork shows no boards" in capfd.readouterr().err


@installed
def test_gnu_go_accepts_its_moves():
    commands, engine = [f"boardsize {SIZE}"], GoEngine(model_player(Knows()), size=SIZE, seed=0)
    for ply in range(10):
        colour = "bw"[ply % 2]
        commands.append(f"play {colour} {engine.genmove([colour])}")
    run = subprocess.run(
        [GNUGO, "--mode", "gtp"],
        input="\n".join([*commands, "quit", ""]),
        capture_output=True,
        text=True,
        timeout=30,
    )
    assert "?" not in run.stdout
