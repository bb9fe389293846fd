"""Judge a checkpoint or a folder of videos: `python evaluate.py ckpt=runs/savp/... suite=video`."""

import sys

from launch.evaluate import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
