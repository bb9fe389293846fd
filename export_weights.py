"""Make our weights public: `python export_weights.py ckpt=RUN to=FOLDER`."""

import sys

from launch.export_weights import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
