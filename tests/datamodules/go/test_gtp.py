"""Engines over GTP: answers as they are, and one line for whatever goes wrong."""

import gc
import os
import time
from pathlib import Path

import pytest

from datamodules import SourceError
from datamodules.go.gtp import Engine, EngineError, point_at, vertex
from tests.datamodules.go.fake_engine import fake_engine


def fails(engine: Engine, line: str, *words: str) -> None:
    with pytest.raises(EngineError) as told:
        engine.ask(line)
    message = str(told.value)
    assert "\n" not in message
    assert len(message) < 300
    for word in words:
        assert word in message


def running(engine: Engine) -> bool:
    return engine._process.poll() is None


@pytest.mark.parametrize("size", [5, 9, 19])
def test_points_and_vertices_are_each_others_inverse(size: int) -> None:
    vertices = [vertex(point, size) for point in range(size**2 + 1)]
    assert [point_at(word.lower(), size) for word in vertices] == list(range(size**2 + 1))
    assert not any("I" in word for word in vertices)
    assert vertices[0] == f"A{size}"
    assert vertices[size * (size - 1)] == "A1"
    assert vertices[-1] == "pass"


@pytest.mark.parametrize("word", ["", "A", "A0", "A6", "F1", "I1", "Z99", "resign", "A1 B2", "5", "a²"])
def test_what_is_no_point_is_told(word: str) -> None:
    with pytest.raises(ValueError, match="no point of a 5x5 board"):
        point_at(word, 5)


def test_answers_come_without_mark_and_number(tmp_path: Path) -> None:
    with Engine([fake_engine(tmp_path)], timeout=20) as engine:
        assert engine.ask("protocol_version") == "2"
        assert engine.ask("clear_board") == ""
        # GNU Go does not close this answer with an empty line
        answer = engine.ask("all_move_values", fenced=True)
        assert len(answer.split("\n")) == 25
        assert answer.startswith("A5 0.5\n")
        assert engine.ask("protocol_version") == "2"
    assert not running(engine)
    fails(engine, "protocol_version", "has ended")


def test_answers_of_many_lines_keep_their_layout(tmp_path: Path) -> None:
    path = fake_engine(tmp_path, 'answer = "\\n   A B\\n 2 . ."')
    with Engine([path], timeout=20) as engine:
        assert engine.ask("showboard") == "A B\n 2 . ."


def test_a_refusal_is_told_and_the_engine_lives_on(tmp_path: Path) -> None:
    path = fake_engine(
        tmp_path, 'if command == "foo": out.write("?" + number + " unknown\\n\\n"); out.flush(); continue'
    )
    with Engine([path], timeout=20) as engine:
        fails(engine, "foo", "refuses 'foo': unknown")
        assert engine.ask("protocol_version") == "2"
        with pytest.raises(EngineError, match="refuses 'foo'"):
            engine.ask("foo", fenced=True)
        assert engine.ask("protocol_version") == "2"
        fails(engine, "a\nb", "not one GTP command")
        fails(engine, " ", "not one GTP command")


@pytest.mark.parametrize(
    ("misbehaviour", "word"),
    [
        ("time.sleep(60)", "no answer to 'name' in 0.3 s"),
        ("out.write('=' + number + ' half'); out.flush(); time.sleep(60)", "no answer"),
        (
            "sys.stderr.write('lost\\nno file'); sys.exit(3)",
            "died of 'name'; it says: no file",
        ),
        ("os.kill(os.getpid(), 9)", "died of 'name'"),
        (
            "out.write('hello\\n\\n'); out.flush(); time.sleep(60)",
            "answers 'name' with 'hello', which is not GTP",
        ),
        ("out.write('=77 2\\n\\n'); out.flush(); time.sleep(60)", "not GTP"),
        ("out.buffer.write(bytes(range(128, 255)) + b'\\n'); out.flush(); time.sleep(60)", "not GTP"),
        ("while True: out.write('x' * 65536)", "without end"),
        ("out.write('=' + number)\n    while True: out.write('x' * 999 + chr(10))", "without end"),
        ("os.close(1); time.sleep(60)", "died"),
    ],
)
def test_dead_hanging_and_babbling_engines_are_ended(tmp_path: Path, misbehaviour: str, word: str) -> None:
    engine = Engine([fake_engine(tmp_path, misbehaviour)], timeout=20)
    if "no answer" in word:
        engine.timeout = 0.3
    fails(engine, "name", word)
    assert not running(engine)
    fails(engine, "name", "has ended")


def test_an_engine_that_ended_before_it_was_asked_is_told(tmp_path: Path) -> None:
    path = fake_engine(tmp_path, name="early")
    Path(path).write_text("#!/bin/sh\necho cannot open network >&2\nexit 1\n")
    engine = Engine([path], timeout=20)
    engine._process.wait(20)
    fails(engine, "name", "early", "died", "cannot open network")


def test_what_cannot_be_started_is_told(tmp_path: Path) -> None:
    for command in ([str(tmp_path / "none")], [str(tmp_path)], ["a\0b"]):
        with pytest.raises(SourceError, match="cannot be started"):
            Engine(command)


def test_engines_end_with_their_owner(tmp_path: Path) -> None:
    engine = Engine([fake_engine(tmp_path)], timeout=20)
    process = engine._process
    engine.ask("protocol_version")
    del engine
    gc.collect()
    assert process.poll() is not None
    before = len(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else 0
    with pytest.raises(ZeroDivisionError), Engine([fake_engine(tmp_path)], timeout=20) as engine:
        1 / 0  # noqa: B018
    assert not running(engine)
    if before:
        assert len(os.listdir("/proc/self/fd")) == before


def test_closing_does_not_wait_for_an_engine_that_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("datamodules.go.gtp.GRACE", 0.2)
    path = fake_engine(tmp_path, name="stays")
    Path(path).write_text("#!/bin/sh\nexec sleep 60\n")
    engine = Engine([path], timeout=20)
    began = time.monotonic()
    engine.close()
    engine.close()
    assert not running(engine)
    assert time.monotonic() - began < 10
