"""Exported weights on the Hugging Face hub: push a folder, pull it by `hf://owner/name`.

python -m checkpoints.hub push runs/savp/.../train/model owner/name
python sample.py ckpt=hf://owner/name
"""

import sys
from pathlib import Path

from checkpoints.own import CONFIG, WEIGHTS, CheckpointError

SCHEME = "hf:/"  # a Path has made one slash of the two in hf://owner/name


def on_hub(path: Path) -> str | None:
    """owner/name of a path that stands for a hub repository, None for one that does not."""
    text = path.as_posix()
    if not text.startswith(SCHEME):
        return None
    name = text.removeprefix(SCHEME).strip("/")
    if name.count("/") != 1:
        raise CheckpointError(f"hf://{name}: expected hf://owner/name")
    return name


def pull(name: str) -> Path:
    """The folder with config.json and model.safetensors of a hub repository, downloaded once.

    Raises:
        CheckpointError: no connection and no copy, no such repository, or not an export of this project.
    """
    from huggingface_hub import snapshot_download

    try:
        folder = Path(snapshot_download(name, allow_patterns=[CONFIG, WEIGHTS]))
    except Exception as error:  # of many kinds: no network, no such name, no access
        raise CheckpointError(f"hf://{name}: cannot be downloaded ({_reason(error)})") from error
    for file in (CONFIG, WEIGHTS):
        if not (folder / file).is_file():
            raise CheckpointError(f"hf://{name}: holds no {file}; it is not an export of this project")
    return folder


def push(folder: Path, name: str) -> str:
    """Upload an exported folder to the hub repository owner/name, made if need be; returns its address.

    Raises:
        CheckpointError: not an exported folder, not logged in, or no connection.
    """
    from huggingface_hub import HfApi

    for file in (CONFIG, WEIGHTS):
        if not (folder / file).is_file():
            raise CheckpointError(f"{folder}: holds no {file}; give the model folder of a finished run")
    hub = HfApi()
    try:
        hub.create_repo(name, exist_ok=True)
        hub.upload_folder(repo_id=name, folder_path=folder, allow_patterns=[CONFIG, WEIGHTS])
    except Exception as error:
        told = f"{folder}: cannot be pushed to {name} ({_reason(error)}); `hf auth login` logs in"
        raise CheckpointError(told) from error
    return f"hf://{name}"


def _reason(error: Exception) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())[:160]}"


def main(tokens: list[str]) -> int:
    """`push FOLDER owner/name`; returns the exit code."""
    if len(tokens) != 3 or tokens[0] != "push":
        print("python -m checkpoints.hub push FOLDER owner/name", file=sys.stderr)
        return 2
    try:
        address = push(Path(tokens[1]), tokens[2])
    except CheckpointError as error:
        print(f"checkpoints.hub: {error}", file=sys.stderr)
        return 1
    print(f"pushed; load it with ckpt={address}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
