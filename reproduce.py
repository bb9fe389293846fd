"""Try a recipe's claims and write its table of results: `python reproduce.py recipe=savp`."""

import sys

from launch.reproduce import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
