"""A GTP engine as a short program, which behaves or misbehaves as a test wants."""

import stat
import sys
from pathlib import Path

ENGINE = """#!{python}
import os, sys, time
argv, stones, out = sys.argv[1:], [], sys.stdout
size = int(argv[argv.index("--boardsize") + 1]) if "--boardsize" in argv else 5
COLUMNS = "ABCDEFGHJKLMNOPQRST"

def beside(p):
    r, c = divmod(p, size)
    near = (r - 1, c), (r + 1, c), (r, c - 1), (r, c + 1)
    return [a * size + b for a, b in near if 0 <= a < size and 0 <= b < size]

def free():  # points never played on, beside such a point: legal for sure
    left = set(range(size ** 2)) - set(stones)
    return [p for p in sorted(left) if left.intersection(beside(p))]

def spell(p):
    return COLUMNS[p % size] + str(size - p // size)

def best():
    return spell(free()[-1]) if free() and len(stones) < 9 else "PASS"

for line in sys.stdin:
    number, command, *words = line.split()
    answer, end = "", "\\n\\n"
    if command == "clear_board":
        stones.clear()
    elif command == "play" or command == "genmove":
        vertex = words[1] if command == "play" else best()
        answer = vertex if command == "genmove" else ""
        on = vertex.upper() != "PASS"
        stones.append((size - int(vertex[1:])) * size + COLUMNS.index(vertex[0].upper()) if on else -1)
    elif command == "undo":
        stones.pop()
    elif command == "reg_genmove":
        answer = best()
    elif command == "all_move_values":
        answer, end = "\\n".join(f"{{spell(p)}} {{p}}.5" for p in free()), "\\n"
    elif command == "protocol_version":
        answer = "2"
    {misbehaviour}
    out.write("=" + number + " " + answer + end)
    out.flush()
"""


def fake_engine(folder: Path, misbehaviour: str = "pass", name: str = "fake") -> str:
    """The path of an engine that knows what GnuGo asks, but for lines of Python run before it answers."""
    path = folder / name
    path.write_text(ENGINE.format(python=f"{sys.executable} -SE", misbehaviour=misbehaviour))
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return str(path)
