"""trainer.strategy=fsdp: each process keeps a share of weights, gradients and optimiser states."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

from lightning.pytorch.core.optimizer import LightningOptimizer
from lightning.pytorch.strategies import ModelParallelStrategy
from torch.optim import Optimizer

from checkpoints.own import read_checkpoint
from checkpoints.sharded import read, spread_like, write
from components.context_parallel import Layout
from launch.context import SharedRows
from launch.processes import PATIENCE
from recipes.stage import Stage


class FSDP(SharedRows, ModelParallelStrategy):
    """Lightning's FSDP2 over all processes, whose checkpoints also go on under another strategy.

    Lightning's own `fsdp` is FSDP1, which wraps modules and needs an accelerator.
    Stage.configure_model shards. A checkpoint has the entries that it has in a single process, so callbacks
    meet what they know. Lightning's own loads weights and optimisers before callbacks see the checkpoint,
    keeps tensors that callbacks add (averaged weights) from the first process alone, and unpickles.
    """

    def __init__(self, *, context: int = 1, layout: Layout = "zigzag") -> None:
        super().__init__(timeout=PATIENCE)
        self.context, self.layout = context, layout

    @classmethod
    def of(cls, stage: Stage, *, context: int = 1, layout: Layout = "zigzag") -> Self:
        """For a stage; raises ValueError, in one line, for one whose weights cannot be shared out."""
        name = type(stage).__name__
        if not stage.automatic_optimization and not stage.sharded_calls:
            raise ValueError(f"{name} does not say which calls use its weights (sharded_calls): take ddp")
        own = [weight for weight, x in stage.named_parameters(recurse=False) if x.requires_grad]
        if own:
            raise ValueError(f"{name}.{own[0]} is in no part of it, and only parts are shared out: take ddp")
        return cls(context=context, layout=layout)

    def _setup_distributed(self) -> None:
        super()._setup_distributed()
        self._data_parallel_size, self._tensor_parallel_size = self.world_size, 1

    @property
    def lightning_restore_optimizer(self) -> bool:
        return True

    def lightning_module_state_dict(self) -> dict[str, Any]:
        assert self.model is not None
        return self.model.state_dict()

    def load_model_state_dict(self, checkpoint: Mapping[str, Any], strict: bool = True) -> None:
        assert self.model is not None
        self.model.load_state_dict(checkpoint["state_dict"], strict=strict)

    def optimizer_state(self, optimizer: Optimizer) -> dict[str, Any]:
        return (optimizer._optimizer if isinstance(optimizer, LightningOptimizer) else optimizer).state_dict()

    def load_optimizer_state_dict(self, checkpoint: Mapping[str, Any]) -> None:
        for optimizer, state in zip(self.optimizers, checkpoint["optimizer_states"], strict=True):
            optimizer.load_state_dict(state)

    def save_checkpoint(
        self, checkpoint: dict[str, Any], filepath: str | Path, storage_options: Any | None = None
    ) -> None:
        write(checkpoint, Path(self.broadcast(filepath)))

    def load_checkpoint(
        self, checkpoint_path: str | Path, weights_only: bool | None = None
    ) -> dict[str, Any]:
        path = Path(self.broadcast(checkpoint_path))
        if path.is_dir():
            return read(path, mesh=self.device_mesh["data_parallel"])
        return self._spread(read_checkpoint(path))

    def _spread(self, checkpoint: dict[str, Any]) -> dict[str, Any]:
        """A checkpoint of whole tensors, sharded as the model is."""
        assert self.model is not None
        own = self.model.state_dict()
        for entry in ("state_dict", "current_model_state"):
            for name, tensor in checkpoint.get(entry, {}).items():
                if name in own:
                    checkpoint[entry][name] = spread_like(tensor, own[name])
        for optimizer, state in zip(self.optimizers, checkpoint["optimizer_states"], strict=True):
            weights = [weight for group in optimizer.param_groups for weight in group["params"]]
            for number, values in state["state"].items():
                state["state"][number] = {
                    key: spread_like(value, weights[number]) if hasattr(value, "shape") else value
                    for key, value in values.items()
                }
        return checkpoint
