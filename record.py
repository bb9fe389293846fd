"""Record trajectories: `python record.py out=data/table` -> a LeRobotDataset, or CALVIN's files."""

import sys

from launch.record import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
