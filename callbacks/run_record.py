"""What a run was and what came of it, in TensorBoard."""

from pathlib import Path

from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.loggers import TensorBoardLogger
from lightning.pytorch.utilities.rank_zero import rank_zero_only, rank_zero_warn
from omegaconf import DictConfig, ListConfig, OmegaConf


class RunRecord(Callback):
    """Write the composed config as text at the start, and its values beside the last val/* at the end.

    The values are TensorBoard's hyperparameters, so its HPARAMS tab compares runs. `config` is the composed
    config's file; None means `config.yaml` in the run folder. Loggers must not have written hyperparameters
    before, as TensorBoard keeps the first (TensorBoardLogger needs default_hp_metric=False).
    """

    def __init__(self, *, config: Path | None = None) -> None:
        self.config = config

    @rank_zero_only
    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        path = self._path(trainer)
        if not path.is_file():
            rank_zero_warn(f"run_record: no composed config at {path}; nothing will be recorded")
            return
        text = f"```yaml\n{path.read_text()}\n```"
        for logger in _tensorboards(trainer):
            logger.experiment.add_text("config", text, 0)

    @rank_zero_only
    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        path = self._path(trainer)
        if not path.is_file():
            return
        values = flatten(OmegaConf.load(path))
        metrics = {k: float(v) for k, v in trainer.callback_metrics.items() if k.startswith("val/")}
        step = (
            trainer.fit_loop.epoch_loop.batch_progress.total.completed - 1
        )  # as the last values were logged
        for logger in _tensorboards(trainer):
            logger.log_hyperparams(values, metrics, step=step)

    def _path(self, trainer: Trainer) -> Path:
        return self.config or Path(trainer.default_root_dir) / "config.yaml"


def flatten(node: DictConfig | ListConfig, prefix: str = "") -> dict[str, str | int | float | bool]:
    """Values by dotted path; lists become text, missing and null values are left out."""
    values: dict[str, str | int | float | bool] = {}
    for key in node:
        if OmegaConf.is_missing(node, key) or node[key] is None:
            continue
        value, path = node[key], f"{prefix}{key}"
        if isinstance(value, DictConfig):
            values |= flatten(value, f"{path}.")
        else:
            values[path] = value if isinstance(value, str | int | float | bool) else str(value)
    return values


def _tensorboards(trainer: Trainer) -> list[TensorBoardLogger]:
    return [logger for logger in trainer.loggers if isinstance(logger, TensorBoardLogger)]
