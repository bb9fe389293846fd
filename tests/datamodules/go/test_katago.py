"""KataGo behind a script that answers as it does."""

import math
import sys

import pytest

from datamodules import SourceError
from datamodules.go.katago import HUMAN, NEEDED, KataGo, configured, read_policy

# answers `kata-raw-nn` with what it has been told: its policy's first point counts the moves
FAKE = """#!{python}
import sys
moves, told = 0, []
for line in sys.stdin:
    number, command = line.split(maxsplit=1)
    told.append(command.strip())
    said = ""
    if command.startswith("clear_board"):
        moves = 0
    if command.startswith("play"):
        moves += 1
        if command.split()[1] != "bw"[(moves - 1) % 2]:
            print(f"?{{number}} wrong colour\\n", flush=True)
            continue
    if command.startswith("kata-raw-nn"):
        rows = [f"{{moves / 100}} NAN", "0.5 0.25"]
        said = "\\n".join(["symmetry 0", "policy", *rows, "policyPass 0.05", "whiteOwnership"])
    if command.startswith("told"):
        said = " ".join(sys.argv[1:]) + " | " + "; ".join(told)
    print(f"={{number}} {{said}}\\n", flush=True)
"""


@pytest.fixture
def fake(tmp_path, monkeypatch):
    for variable in (*NEEDED, HUMAN):
        file = tmp_path / variable
        file.write_text(FAKE.format(python=sys.executable))
        file.chmod(0o755)
        monkeypatch.setenv(variable, str(file))
    return tmp_path


def test_a_policy_after_some_moves(fake):
    with KataGo(size=2) as katago:
        assert katago.policy([]) == {0: 0.0, 2: 0.5, 3: 0.25, 4: 0.05}
        assert katago.policy([3, 4, 1])[0] == 0.03
        assert katago.policy([3])[0] == 0.01


def test_what_it_is_told(fake):
    with KataGo(size=2, komi=6.5) as katago:
        katago.policy([0, 4])
        command, _, told = katago.engine.ask("told").partition(" | ")
    folder = str(fake)
    assert command.replace(f"{folder}/", "") == (
        "gtp -model KATAGO_MODEL -config KATAGO_CONFIG -human-model KATAGO_HUMAN_MODEL"
    )
    assert told.startswith(
        "boardsize 2; kata-set-rules chinese; komi 6.5; clear_board; play b A2; play w pass;"
    )


def test_what_is_not_configured_is_one_line(fake, monkeypatch):
    assert configured()
    monkeypatch.setenv("KATAGO_MODEL", "/nowhere/net.bin.gz")
    with pytest.raises(SourceError, match=r"\$KATAGO_MODEL names no file: /nowhere/net.bin.gz"):
        KataGo(size=9)
    monkeypatch.delenv("KATAGO_MODEL")
    assert not configured()
    with pytest.raises(SourceError, match=r"\$KATAGO_MODEL is not set"):
        KataGo(size=9)


@pytest.mark.parametrize(
    "answer",
    ["", "policy\n0.1 0.2\npolicyPass 0.1", "policy\n0.1 x\n0 0\npolicyPass 0.1", "policy\n0 0\n0 0"],
)
def test_an_answer_without_a_policy_is_one_line(answer):
    with pytest.raises(SourceError, match="KataGo: ") as failure:
        read_policy(answer, 2)
    assert "\n" not in str(failure.value)


def test_what_is_not_legal_has_no_probability():
    found = read_policy("policy\nNAN 0.1\n0.2 nan\npolicyPass 0.3\n", 2)
    assert found == {1: 0.1, 2: 0.2, 4: 0.3}
    assert not any(math.isnan(value) for value in found.values())
