"""Measure a run in a process of its own: `python -m launch.claims.measure RUN NODE_AS_JSON OUT_FILE`."""

import json
import sys
from pathlib import Path


def measure(run: Path, node: dict[str, object], out: Path) -> None:
    """Write what one Measurement finds in a run as JSON; the file is there only when it is whole."""
    import torch

    from checkpoints.build import build
    from recipes.stage import Stage

    torch.set_num_threads(1)
    found = build(node)(Stage.load(run))
    new = out.with_suffix(".new")
    new.write_text(json.dumps(found, indent=1))
    new.replace(out)


if __name__ == "__main__":
    measure(Path(sys.argv[1]), json.loads(sys.argv[2]), Path(sys.argv[3]))
