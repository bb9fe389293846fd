"""What a training step costs, without memory or data: parameters, bytes and FLOPs on the meta device."""

import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any
from unittest.mock import patch

from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.autograd.graph import saved_tensors_hooks

from checkpoints.build import build
from components.clip import ClipSpec
from components.flops import flop_counter
from launch.context import check_context
from launch.failures import problem_at
from launch.run import prepare

Config = dict[str, Any]


class _StillOptimizer:
    """Stands for an optimiser in a counted step: holds the groups, moves nothing."""

    def __init__(self, parameters: Any = ()) -> None:
        self.param_groups = [{"params": list(parameters), "lr": 0.0, "initial_lr": 0.0}]

    def zero_grad(self) -> None: ...

    def step(self) -> None: ...


def estimate(raw: Config) -> str:
    """A report on one stage: parameters by part, memory a device, clips and FLOPs a step.

    Raises:
        CommandError: it cannot be built, or cannot take a step on such clips.
    """
    resolved = prepare(raw)
    batch = resolved["loader"].get("batch_size", 1)
    clip = resolved["clip"]
    spec = ClipSpec(
        num_frames=clip["num_frames"],
        height=clip["height"],
        width=clip["width"],
        action_dim=clip["action_dim"],
        state_dim=clip["state_dim"],
        cameras=2 if resolved["data"].get("second_camera") else 1,
    )
    with problem_at("model"), FakeTensorMode(allow_non_fake_inputs=True), _as_allocated():
        model = build(resolved["model"])
        flops, kept = count_step(model, spec.zeros(batch)) if model.trains else (0, 0)
    lines = [f"{resolved['recipe']}, size {resolved['size']}, stage {resolved['stage']}", ""]
    lines += [f"  {'part':<28} {'parameters':>14} {'weights':>10}"]
    for name, part in model.named_children():
        count = sum(parameter.numel() for parameter in part.parameters())
        if count:
            lines.append(f"  {name:<28} {count:>14,} {_bytes(_weights(part)):>10}")
    total = sum(parameter.numel() for parameter in model.parameters())
    trained = sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)
    lines.append(f"  {'total':<28} {total:>14,} {_bytes(_weights(model)):>10}")
    if not model.trains:
        return "\n".join([*lines, "", "  every clip passes once; nothing is trained", ""])
    context = check_context(resolved)
    flops, place = flops // context, "a device" if context == 1 else f"for {context} devices together"
    frozen = sum(weight.nbytes for weight in model.parameters() if not weight.requires_grad)
    state = _weights(model) + trained * 12  # gradient and two running means in float32
    lines += [
        "",
        f"  trained parameters            {trained:,}",
        f"  memory a device, no sharding  {_bytes(state)} for weights, gradients and two optimiser states;"
        " activations come on top",
        f"  kept for the backward pass    up to {_bytes(kept)} {place}",
        *_shared(resolved, context, frozen, state - frozen, kept),
        f"  a step                        {batch} clips, {batch * spec.num_frames} frames,"
        f" {batch * spec.num_frames * spec.height * spec.width:,} pixels {place}",
        f"  FLOPs a step                  {flops / 1e9:,.1f} G a device, forward and backward",
        f"  whole run                     {resolved['trainer']['max_steps']:,} steps,"
        f" {flops * resolved['trainer']['max_steps'] / 1e15:,.3g} PFLOPs a device",
    ]
    return "\n".join(lines)


def _shared(resolved: Config, context: int, frozen: int, state: int, kept: int) -> list[str]:
    """What is left of it where devices share trained weights or rows; nothing where they do not."""
    trainer = resolved["trainer"]
    devices, nodes = trainer.get("devices"), trainer.get("num_nodes") or 1
    count = devices * nodes if isinstance(devices, int) else 1
    sharded = count if trainer.get("strategy") == "fsdp" else 1
    if sharded == context == 1:
        return []
    ways = [f"weights among {sharded}"] * (sharded > 1) + [f"rows among {context}"] * (context > 1)
    told = f"{_bytes(frozen + state / sharded)} and up to {_bytes(kept / context)}"
    return [f"  memory a device, shared       {told}, {' and '.join(ways)} devices"]


def count_step(model: Any, clip: Any) -> tuple[int, int]:
    """Of one training step: FLOPs with its backward passes, and bytes that it keeps for them.

    Counted operation by operation on fake tensors. Weights are not counted among what is kept.
    """
    optimizers = [_StillOptimizer(model.parameters()), _StillOptimizer()]
    single = len(getattr(model, "judges", {})) == 0
    model.optimizers = lambda: optimizers[0] if single else optimizers
    model.manual_backward = lambda loss: loss.backward()
    model.log = model.log_dict = lambda *args, **kwargs: None
    own = {weight.untyped_storage()._cdata for weight in [*model.parameters(), *model.buffers()]}
    kept: dict[int, Tensor] = {}  # by storage, of which views are parts; held, so that none is used again

    def keep(tensor: Tensor) -> Tensor:
        if (storage := tensor.untyped_storage()._cdata) not in own:
            kept.setdefault(storage, tensor)
        return tensor

    with flop_counter() as counter, saved_tensors_hooks(keep, lambda tensor: tensor):
        loss = model.typical_step(clip)
        peak = sum(tensor.untyped_storage().nbytes() for tensor in kept.values())
        if model.automatic_optimization:
            loss.backward()
    return counter.get_total_flops(), peak


@contextmanager
def _as_allocated() -> Iterator[None]:
    """Leave weights as they are: some of torch's initialisers look at values, and fake tensors have none.

    Nor can a module's fake weights be moved; peft moves what it adds, to where it is already.
    """
    names = [name for name in dir(nn.init) if name.endswith("_") and not name.startswith("_")]
    with ExitStack() as stack:
        for name in names:
            stack.enter_context(patch.object(nn.init, name, lambda tensor, *args, **kwargs: tensor))
        stack.enter_context(patch.object(nn.Module, "to", lambda module, *args, **kwargs: module))
        stack.enter_context(warnings.catch_warnings())  # torchmetrics copies the tensors of a new metric
        warnings.filterwarnings("ignore", message="Accessing the data pointer of FakeTensor")
        yield


def _weights(module: nn.Module) -> int:
    tensors = [*module.parameters(), *module.buffers()]
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)


def _bytes(count: float) -> str:
    for unit in ("B", "KiB", "MiB"):
        if count < 1024:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1024
    return f"{count:.2f} GiB"
