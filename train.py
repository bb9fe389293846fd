"""Fit a recipe, stage by stage: `python train.py recipe=savp`. Without arguments it lists the recipes."""

import sys

from launch.main import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
