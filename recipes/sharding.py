"""Weights shared out among processes: FSDP2, one block at a time. Models know nothing of it."""

import warnings

import torch
from torch import nn
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.fsdp import (
    FSDPModule,
    MixedPrecisionPolicy,
    fully_shard,
    register_fsdp_forward_method,
)


def shard(stage: nn.Module, mesh: DeviceMesh, precision: str, calls: dict[str, tuple[str, ...]]) -> None:
    """Let every process of a mesh keep its share of each part of a stage that trains.

    A part is put together while it runs, its `blocks()`, where it has them, one by one. What does not train,
    as a tokenizer, stays whole in every process.

    precision: Lightning's. Under bf16-mixed weights travel in bfloat16; gradients are summed in float32.
    calls: methods of parts, beside the call itself, that use their weights.
    """
    policy = _policy(precision)
    # about writing in place into what a part returned, which no stage does
    warnings.filterwarnings("ignore", message="FSDP2-wrapped module")
    for name, part in stage.named_children():
        trains = any(weight.requires_grad for weight in part.parameters())
        if not trains or isinstance(part, FSDPModule):  # configure_model may be called again
            continue
        for block in getattr(part, "blocks", list)():
            fully_shard(block, mesh=mesh, mp_policy=policy)
        fully_shard(part, mesh=mesh, mp_policy=policy)
        for method in calls.get(name, ()):
            register_fsdp_forward_method(part, method)


def _policy(precision: str) -> MixedPrecisionPolicy:
    """What is not said here is autocast's: inputs keep their type, so noise levels stay exact."""
    half = torch.bfloat16 if precision == "bf16-mixed" else None
    reduce = torch.float32 if precision.startswith("bf16") else None
    return MixedPrecisionPolicy(param_dtype=half, reduce_dtype=reduce, cast_forward_inputs=False)
