"""Write what recipes.latent_caching makes of clips into a cache; see datamodules.latent_folder."""

import signal
import threading
import time
from types import FrameType
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer
from rich import get_console

from callbacks.checkpoint import Interrupted
from components.clip import Clip, clip_size
from datamodules import Split
from datamodules.batches import OneClip
from datamodules.latent_folder import NO_TEXT, CacheFolder, source_settings
from datamodules.latent_plan import Piece, plan
from datamodules.latent_shards import pack

PLAIN_SECONDS = 10.0  # between two lines where there is no moving bar


class LatentWriter(Callback):
    """Make `trainer.predict` fill a cache, shard by shard, from where it was stopped.

    Shards are shared out among processes; which clips and which batches a shard is made of depends neither
    on their number nor on stops. Ctrl-C and SIGTERM end the job after a batch; that costs the shards begun.

    root: the folder. train_clips: training clips that are cached, null: all. Of val and test it caches what
    the loader's val_clips choose. clips_per_shard: clips that are held in memory and written together.
    Raises: SourceError that names what a cache in this folder was made with and this run is not.
    """

    def __init__(self, *, root: str, train_clips: int | None = None, clips_per_shard: int = 64) -> None:
        self.folder = CacheFolder(root)
        self.train_clips, self.clips_per_shard = train_clips, clips_per_shard
        self._pieces: list[Piece] = []
        self._clips: dict[str, OneClip] = {}
        self._texts: dict[str, Any] = {}
        self._done = self._total = 0
        self._said = time.monotonic()
        self._signal = 0
        self._handlers: dict[int, Any] = {}

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        if stage != "predict":
            return
        data: Any = trainer.datamodule
        chosen: dict[Split, int | None] = {
            "train": self.train_clips, "val": data.val_clips, "test": data.val_clips
        }  # fmt: skip
        made: Any = pl_module
        fingerprint = made.fingerprint() | {"precision": trainer.precision} | source_settings(data.source)
        self.folder.claim(fingerprint, chosen, write=trainer.is_global_zero)
        done = {entry.key for entry in self.folder.written()}
        pieces = plan(data.source, chosen, done, self.clips_per_shard)
        rank, world_size = data.place()
        self._pieces = pieces[rank::world_size]
        data.pieces = list(self._pieces)
        self._done = 0
        self._total = sum(len(piece.clips) for piece in self._pieces)
        trainer.strategy.barrier()  # all have seen what is done before anyone does more

    def on_predict_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        made: Any = pl_module
        if trainer.is_global_zero and (texts := made.features([""])):  # for dropped texts and for guidance
            self.folder.write(NO_TEXT, pack("train", {}, texts))
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                self._handlers[number] = signal.signal(number, self._on_signal)

    def on_predict_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Clip,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        piece = self._pieces[0]
        keys = list(piece.clips)[len(self._clips) :]
        size = clip_size(outputs.clips)
        for i, key in enumerate(keys[:size]):
            self._clips[key] = _one(batch, i) | {name: made[i] for name, made in outputs.clips.items()}
        self._texts |= outputs.texts
        self._done += size
        if len(self._clips) == len(piece.clips):
            self.folder.write(piece.name, pack(piece.split, self._clips, self._texts))
            self._pieces.pop(0)
            self._clips, self._texts = {}, {}
        self._say(trainer)
        if self._signal:
            raise Interrupted(signal.Signals(self._signal).name, batch_idx + 1)

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        if stage != "predict":
            return
        # Not every process need have had clips, so that other hooks are not called in all of them.
        if trainer.strategy.reduce_boolean_decision(not self._pieces) and trainer.is_global_zero:
            self.folder.finish()
        trainer.strategy.barrier()

    def on_predict_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._leave_signals()

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        self._leave_signals()

    def _leave_signals(self) -> None:
        for number, handler in self._handlers.items():
            signal.signal(number, handler)
        self._handlers = {}

    def _say(self, trainer: Trainer) -> None:
        now = time.monotonic()
        plain = trainer.is_global_zero and not get_console().is_terminal
        if plain and (now - self._said > PLAIN_SECONDS or self._done == self._total):
            self._said = now
            print(f"encoded {self._done}/{self._total} clips", flush=True)

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        if self._signal and number == signal.SIGINT:
            raise KeyboardInterrupt  # asked twice
        self._signal = number


def _one(batch: Any, i: int) -> OneClip:
    """Clip i of a batch, without its video, on the CPU."""
    clip: OneClip = {}
    for name, value in batch.items():
        if name == "video":
            continue
        if isinstance(value, dict):
            clip[name] = _one(value, i)
        else:
            clip[name] = value[i] if isinstance(value[i], str) else value[i].cpu()
    return clip
