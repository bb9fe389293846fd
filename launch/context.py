"""parallel.context=N: N processes share each row of tokens, and see the same clips."""

from typing import Any

import torch.distributed as dist
from lightning.pytorch.strategies import DDPStrategy, Strategy

from checkpoints.build import locate
from components.attention.ring import RingAttention
from components.context_parallel import ContextGroup, Layout, use_context_group
from launch.problems import CommandError, Problem
from launch.processes import PATIENCE

Config = dict[str, Any]


class SharedRows(Strategy):
    """A strategy whose processes form groups of `context` neighbours, each for the same rows.

    Data, and all that is drawn for it, are those of a run with as many processes as there are groups.
    Gradients are averaged over all processes, as ever: a process's loss is its own tokens' share of the loss,
    times the number of processes.
    """

    context: int
    layout: Layout

    def setup_environment(self) -> None:
        super().setup_environment()
        if self.context == 1:
            return
        world: Any = self
        if world.world_size % self.context:
            told = f"{world.world_size} processes are no groups of {self.context}"
            raise CommandError([Problem("parallel.context", f"{told}; set trainer.devices to a multiple")])
        for first in range(0, world.world_size, self.context):  # all processes take part in making each
            group: Any = dist.new_group(list(range(first, first + self.context)), timeout=PATIENCE)
            if first <= world.global_rank < first + self.context:
                rank = world.global_rank - first
                use_context_group(ContextGroup(group=group, rank=rank, size=self.context, layout=self.layout))

    @property
    def distributed_sampler_kwargs(self) -> dict[str, Any]:
        """Rank and number among the processes that see different clips."""
        world: Any = self
        return {"num_replicas": world.world_size // self.context, "rank": world.global_rank // self.context}

    def teardown(self) -> None:
        use_context_group(None)
        super().teardown()


class SharedRowsDDP(SharedRows, DDPStrategy):
    """Every process holds all weights."""

    def __init__(self, *, context: int, layout: Layout) -> None:
        super().__init__()
        self.context, self.layout = context, layout


def check_context(resolved: Config) -> int:
    """How many processes share a row. Raises: CommandError where the model cannot share."""
    context = (resolved.get("parallel") or {}).get("context", 1)
    if context == 1 or "decoder" not in resolved["model"]:
        return 1
    if context < 1:
        raise CommandError([Problem("parallel.context", f"{context} processes a row; give at least 1")])
    attention = resolved["model"]["decoder"].get("attention") or {}
    if not (attention and issubclass(locate(attention["_component_"]), RingAttention)):
        told = "processes that share a row need an attention that goes round: model.decoder.attention=ring"
        raise CommandError([Problem("parallel.context", told)])
    strategy, devices = resolved["trainer"].get("strategy"), resolved["trainer"].get("devices")
    nodes = resolved["trainer"].get("num_nodes") or 1
    if strategy not in ("auto", "ddp", "fsdp"):
        raise CommandError([Problem("trainer.strategy", f"{strategy} shares no rows; take ddp or fsdp")])
    if isinstance(devices, int) and devices > 0 and devices * nodes % context:
        told = f"{devices * nodes} devices (trainer.devices, .num_nodes) are no multiple of {context} a row"
        raise CommandError([Problem("parallel.context", told)])
    return context
