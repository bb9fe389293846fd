"""Memory over 2,000 clips of twenty videos: python -m tests.stress.flat_memory"""

import tempfile
from pathlib import Path

from tests.datamodules.test_hanging import growth

if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        print(f"{growth(Path(folder), clips=2000, warm=100):+.1f} MiB over 2,000 clips")
