"""Make public weights ours: `python import_weights.py family=llama weights=FOLDER out=FOLDER`."""

import sys

from launch.import_weights import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
