"""A claim that trains and measures nothing, and the programs that stand for both."""

# Trains nothing: notes that it was asked, and at Ctrl-C leaves a checkpoint as train.py does.
TRAINER = """
import json, pathlib, sys, time
words = dict(word.split("=", 1) for word in sys.argv[1:])
run = pathlib.Path(words.get("resume") or words["run_dir"])
with open(run.parent / "calls.txt", "a") as calls:
    calls.write(" ".join(sys.argv[1:]) + "\\n")
(run / "train" / "checkpoints").mkdir(parents=True, exist_ok=True)
(run / "run.json").write_text(json.dumps({"stages": ["train"]}))
if "broken" in run.name:
    sys.exit("the disk is full")
try:
    if "slow" in run.name and "resume" not in words:
        (run / "begun").touch()
        time.sleep(30)
except KeyboardInterrupt:
    (run / "train" / "checkpoints" / "step_00000001.ckpt").touch()
    sys.exit(130)
(run / "train" / "result.json").write_text("{}")
"""
MEASURER = """
import json, pathlib, sys
run, node, out = pathlib.Path(sys.argv[1]), json.loads(sys.argv[2]), pathlib.Path(sys.argv[3])
seed = int(run.name.split("seed")[1][0])
height = 10 if "_good_" in run.name else 5
out.write_text(json.dumps({"score": height + seed, "cost": [[1, height], [2, 2 * height], [3, 3 * height]]}))
"""


class Toy:
    """A Measurement by name only: the fake measurer writes what it would find."""

    metrics = ("score", "cost")

    def __init__(self, *, clips: int = 4) -> None:
        self.clips = clips


TOY = {
    "says": "Good is better than bad.",
    "common": {"trainer.max_steps": 2},
    "variants": {"bad": {"optimizer.lr": 0.002}, "good": {"optimizer.lr": 0.001}},
    "measure": {"_component_": "tests.launch.toy_claim.Toy"},
    "expect": "good.score > bad.score + 2 and slope(bad.cost) < 0.6 * slope(good.cost)",
    "minutes": 1,
}
