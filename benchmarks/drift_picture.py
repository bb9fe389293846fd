"""A rollout of each arm of a drift claim as a picture: `python benchmarks/drift_picture.py [claim=drift]`.

Reads the trainings that `python reproduce.py recipe=framepack` has left in runs/claims/framepack, rolls a
test clip out for 40 sections and writes docs/images/framepack_CLAIM.png: a row each, the truth above.
"""

import sys
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from checkpoints.build import build
from components.media import film_strip, write_png
from datamodules.batches import collate
from launch.claims.arms import arms_of
from launch.claims.reading import read_claims
from launch.presets import ROOT
from recipes.world_model import WorldModel

FRAMES = (0, 4, 12, 20, 40, 60, 80, 120, 160)  # of the video; four to a section


def main(words: list[str]) -> None:
    options = dict(word.split("=") for word in words)
    name, seed = options.get("claim", "drift"), int(options.get("seed", 0))
    torch.set_num_threads(1)
    (claim,) = read_claims("framepack", name)
    arms = arms_of([claim], "framepack", seed + 1, Path(options.get("runs", "runs/claims")) / "framepack")
    rows = []
    for variant in claim.variants:
        arm = arms[claim.name, variant, seed]
        if not arm.trained():
            print(f"{variant}: not trained yet")
            continue
        model = WorldModel.load(arm.folder)
        test = build(model.hparams["data"] | {"num_frames": FRAMES[-1] + 1}).split("test")
        clip = collate([test[0]])
        context, _ = model.split(clip)
        made = model.predict(context, FRAMES[-1], generator=torch.Generator().manual_seed(0))[0]
        shown = made.mul(255).round().byte()[[frame - 1 for frame in FRAMES[1:]]]
        first = clip["video"][0, :1]
        rows = rows or [("truth", clip["video"][0, list(FRAMES)])]
        rows.append((variant, torch.cat([first, shown])))
        print(f"{variant}: done", flush=True)
    file = ROOT / "docs" / "images" / f"framepack_{name}.png"
    write_png(file, film_strip(rows, context_frames=1, truths=1))
    print(f"wrote {file}; frames {', '.join(map(str, FRAMES))}")


if __name__ == "__main__":
    main(sys.argv[1:])
