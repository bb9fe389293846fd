"""Sample futures from a trained model: `python sample.py ckpt=runs/savp/...` -> mp4, gif and film strip."""

import sys

from launch.sample import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
