"""Checkpoints of sharded runs: a folder that every process writes its shares to and any number of them reads.

    meta.pt                the checkpoint as a single process has it, a Share in place of each sharded tensor
    shard-*.safetensors    the shares of each process, by the keys that the Shares name

meta.pt is written last and says how long the other files are, so that a folder cut short is known as such.
Nothing is unpickled but tensors and plain values. Optimiser states are numbered as an optimiser numbers its
weights, so that the same checkpoint goes on in one process, in several with whole copies, and in more shards.
"""

import math
import warnings
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any, TypedDict, TypeGuard

import torch
from torch import Tensor
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.tensor import DTensor
from torch.distributed.tensor import Shard as SplitAlong
from torch.distributed.tensor import empty as empty_shares

from checkpoints.own import META, CheckpointError, load_plain

FILE_BYTES = 4 << 30  # of whole tensors to a file: what a process holds twice while it writes


class Share(TypedDict):
    """Where a sharded tensor stood: its key in the files, its whole shape and its type."""

    sharded: str
    shape: list[int]
    dtype: torch.dtype


def write(checkpoint: dict[str, Any], folder: Path) -> None:
    """Save a checkpoint in which some tensors are sharded; all processes call it together.

    Raises:
        OSError: one of the processes could not write; all of them raise it.
    """
    from torch.distributed import checkpoint as distributed
    from torch.distributed.checkpoint.api import CheckpointException

    folder.mkdir(parents=True, exist_ok=True)
    shares: dict[str, DTensor] = {}
    plain = _replaced(checkpoint, lambda value: isinstance(value, DTensor), _put_into(shares))
    files, filled = {}, 0
    for key, tensor in shares.items():
        files[key] = 1 + filled // FILE_BYTES
        filled += math.prod(tensor.shape) * tensor.element_size()
    try:
        writer = distributed.HuggingFaceStorageWriter(
            str(folder), fqn_to_index_mapping=files, save_distributed=True
        )
        distributed.save(dict(shares), storage_writer=writer)
    except CheckpointException as failed:  # of every process, which alone would not be an Exception
        first, _ = next(iter(failed.failures.values()))
        raise first if isinstance(first, OSError) else RuntimeError(str(failed)) from failed
    error: list[OSError | None] = [None]
    if torch.distributed.get_rank() == 0:
        try:
            lengths = {file.name: file.stat().st_size for file in folder.glob("*.safetensors")}
            torch.save({"files": lengths, "checkpoint": plain}, folder / META)
        except OSError as full:
            error = [full]
    torch.distributed.broadcast_object_list(error)
    if error[0] is not None:
        raise error[0]


def read(
    folder: Path, *, mesh: DeviceMesh | None = None, parts: Collection[str] | None = None
) -> dict[str, Any]:
    """The checkpoint of a folder.

    mesh: on which sharded tensors become sharded again, by all its processes together; None: each process
        that asks gets them whole, on the CPU.
    parts: entries of the checkpoint that are wanted; None = all.

    Raises:
        CheckpointError: a file is missing or cut short.
        Refused: the folder holds more than tensors and plain values.
    """
    from torch.distributed import checkpoint as distributed

    plain = read_plain(folder)
    wanted = {name: value for name, value in plain.items() if parts is None or name in parts}
    shares: dict[str, Tensor] = {}

    def space(share: Share, _: str) -> Tensor:
        shape, dtype = share["shape"], share["dtype"]
        if mesh is None:
            tensor = torch.empty(shape, dtype=dtype)
        else:
            tensor = empty_shares(*shape, dtype=dtype, device_mesh=mesh, placements=[SplitAlong(0)])
        return shares.setdefault(share["sharded"], tensor)

    wanted = _replaced(wanted, _is_share, space)
    if shares:
        reader = distributed.HuggingFaceStorageReader(str(folder))
        with warnings.catch_warnings():  # of reading alone, which is meant
            warnings.simplefilter("ignore", UserWarning)
            distributed.load(shares, storage_reader=reader, no_dist=mesh is None)
    return wanted


def read_plain(folder: Path) -> dict[str, Any]:
    """The checkpoint with Shares for sharded tensors, after a look at whether all files are whole."""
    meta = load_plain(folder / META)
    try:
        lengths, checkpoint = meta["files"], meta["checkpoint"]
    except (KeyError, TypeError) as error:
        raise CheckpointError(f"{folder}: not a checkpoint of this project") from error
    for name, length in lengths.items():
        file = folder / name
        if not file.is_file() or file.stat().st_size != length:
            raise CheckpointError(f"{folder}: not a readable checkpoint, {name} is missing or cut short")
    return checkpoint


def local(tensor: Tensor) -> Tensor:
    """What this process holds of a tensor: all of it, or its share."""
    return tensor.to_local() if isinstance(tensor, DTensor) else tensor


def whole(tensor: Tensor) -> Tensor:
    """All of a tensor; the processes that share it call together."""
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def spread_like(tensor: Tensor, other: Tensor) -> Tensor:
    """A whole tensor, which every process has, sharded as the other is."""
    if not isinstance(other, DTensor) or isinstance(tensor, DTensor) or tensor.shape != other.shape:
        return tensor
    from torch.distributed.tensor import distribute_tensor

    # without a source nothing is sent: every process cuts its own
    tensor = tensor.to(other.device)
    return distribute_tensor(tensor, other.device_mesh, other.placements, src_data_rank=None)


def _put_into(shares: dict[str, DTensor]) -> Callable[[DTensor, str], Share]:
    def put(tensor: DTensor, path: str) -> Share:
        shares[path] = tensor
        return {"sharded": path, "shape": list(tensor.shape), "dtype": tensor.dtype}

    return put


def _is_share(value: Any) -> TypeGuard[Share]:
    return isinstance(value, dict) and value.keys() == Share.__annotations__.keys()


def _replaced(value: Any, wanted: Callable[[Any], bool], new: Callable[..., Any], path: str = "") -> Any:
    """A copy of nested containers in which each wanted value is new(value, its path)."""
    if wanted(value):
        return new(value, path)
    if isinstance(value, dict):
        return {
            key: _replaced(part, wanted, new, f"{path}.{key}" if path else str(key))
            for key, part in value.items()
        }
    if isinstance(value, list | tuple):
        parts = [_replaced(part, wanted, new, f"{path}.{i}") for i, part in enumerate(value)]
        return parts if isinstance(value, list) else tuple(parts)
    return value
