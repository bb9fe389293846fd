"""A trained model as a Go engine: `python play_go.py ckpt=runs/videoworld/...` speaks GTP."""

import sys

from launch.play_go import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
