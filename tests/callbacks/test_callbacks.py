import copy
import io
from pathlib import Path

import lightning as L
import pytest
import torch
import yaml
from lightning.pytorch.loggers import TensorBoardLogger
from PIL import Image
from rich import get_console, reconfigure
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch import nn
from torch.utils.data import DataLoader, Dataset

from callbacks.conversations import Conversations
from callbacks.progress import Progress
from callbacks.rollouts import Rollouts
from callbacks.run_record import RunRecord, flatten
from callbacks.throughput import Throughput, matmul_peak
from components.clip import Clip

CLIPS, FRAMES, SIZE, BATCH = 12, 5, 16, 2


class Clips(Dataset):
    def __len__(self) -> int:
        return CLIPS

    def __getitem__(self, index: int) -> Clip:
        generator = torch.Generator().manual_seed(index)
        shape = (FRAMES, 3, SIZE, SIZE)
        video = torch.randint(0, 256, shape, generator=generator, dtype=torch.uint8)
        return Clip(video=video, fps=torch.tensor(8.0), state=torch.zeros(FRAMES, 2), id=str(index))


class Toy(L.LightningModule):
    """Two optimizers, dropout that draws from the global random state, a part that never trains."""

    def __init__(self) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.context_frames = 2
        self.one = nn.Linear(SIZE, SIZE)
        self.two = nn.Sequential(nn.Dropout(0.5), nn.Linear(SIZE, SIZE))
        self.frozen = nn.BatchNorm1d(SIZE).eval()
        self.seen: list[Clip] = []

    def configure_optimizers(self):
        return [torch.optim.SGD(part.parameters(), lr=0.1) for part in (self.one, self.two)]

    def training_step(self, clip: Clip, batch_idx: int) -> None:
        x = clip["video"].float() / 255
        for optimizer, part in zip(self.optimizers(), (self.one, self.two), strict=True):
            loss = (part(x) - x).square().mean()
            optimizer.zero_grad()
            self.manual_backward(loss)
            optimizer.step()
        self.log("train/loss", loss)

    def validation_step(self, clip: Clip, batch_idx: int) -> None:
        self.log("val/psnr", torch.tensor(20.0 + batch_idx), batch_size=len(clip["video"]))

    def show(self, clip: Clip, samples: int, generator: torch.Generator) -> dict[str, torch.Tensor]:
        assert not self.training
        self.seen.append(clip)
        torch.rand(1)  # a model that forgets its generator must still not disturb the run
        future = torch.rand(len(clip["video"]), samples, *clip["video"].shape[1:], generator=generator)
        return {"truth": clip["video"]} | {f"sample {i + 1}": future[:, i] for i in range(samples)}

    def converse(self, clip: Clip, generator: torch.Generator) -> list[tuple[str, str, str]]:
        torch.rand(1)
        return [("what is it?", "a clip", "a clip")] * len(clip["video"])


def run(folder: Path, *callbacks: L.Callback, steps: int = 6, **options) -> tuple[Toy, L.Trainer]:
    L.seed_everything(0, verbose=False)
    model = Toy()
    trainer = L.Trainer(
        default_root_dir=folder,
        logger=TensorBoardLogger(folder, name="", version=""),
        callbacks=list(callbacks),
        max_epochs=1,
        limit_train_batches=steps,
        val_check_interval=3,
        log_every_n_steps=2,
        accelerator="cpu",
        enable_checkpointing=False,
        enable_model_summary=False,
        enable_progress_bar=any(isinstance(callback, Progress) for callback in callbacks),
        num_sanity_val_steps=0,
        **options,
    )
    loaders = [DataLoader(Clips(), batch_size=BATCH) for _ in range(2)]
    trainer.fit(model, *loaders)
    return model, trainer


def events(folder: Path) -> EventAccumulator:
    return EventAccumulator(str(folder), size_guidance={"images": 0, "tensors": 0}).Reload()


def test_rollouts_show_a_moving_gif_and_a_strip(tmp_path):
    model, _ = run(tmp_path, Rollouts(every=4, clips=3, samples=2))
    names = sorted(path.name for path in (tmp_path / "rollouts").iterdir())
    assert names == [f"step_00000{step}.{kind}" for step in (4, 6) for kind in ("gif", "png")]
    shown = events(tmp_path).Images("rollouts/moving")
    assert [event.step for event in shown] == [4, 6]
    gif = Image.open(io.BytesIO(shown[0].encoded_image_string))
    assert (gif.format, gif.n_frames, gif.size) == ("GIF", FRAMES, (shown[0].width, shown[0].height))
    assert gif.info["duration"] == 120  # 8 frames a second, in hundredths of a second
    assert shown[0].encoded_image_string == (tmp_path / "rollouts" / "step_000004.gif").read_bytes()
    assert [event.step for event in events(tmp_path).Images("rollouts/strip")] == [4, 6]
    assert [len(clip["video"]) for clip in model.seen[:2]] == [2, 1]  # clips 0 to 2 arrive in two batches
    # the same noise at both steps
    assert (tmp_path / "rollouts/step_000004.png").read_bytes() == (
        tmp_path / "rollouts/step_000006.png"
    ).read_bytes()


def test_no_validation_no_rollouts(tmp_path):
    run(tmp_path, Rollouts(every=4), limit_val_batches=0)
    assert not (tmp_path / "rollouts").exists()


def test_watching_changes_nothing(tmp_path):
    """Weights, modes and the random state after training are the same, bit for bit."""
    (tmp_path / "config.yaml").write_text("seed: 0\n")
    alone, _ = run(tmp_path / "alone")
    state = torch.get_rng_state()
    watched, _ = run(
        tmp_path / "watched", Rollouts(every=1), Throughput(), RunRecord(config=tmp_path / "config.yaml")
    )
    assert torch.equal(state, torch.get_rng_state())
    assert all(
        torch.equal(a, b)
        for a, b in zip(alone.state_dict().values(), watched.state_dict().values(), strict=True)
    )
    assert not watched.frozen.training
    assert watched.one.training


def test_throughput_is_logged(tmp_path):
    callback = Throughput()
    _, trainer = run(tmp_path, callback)
    scalars = events(tmp_path)
    values = {name: scalars.Scalars(f"perf/{name}") for name in ("frames_per_second", "step_ms", "mfu")}
    assert [event.step for event in values["mfu"]] == [1, 3, 5]
    rates = zip(values["frames_per_second"], values["step_ms"], strict=True)
    assert all(
        rate.value * step.value == pytest.approx(1e3 * BATCH * FRAMES, rel=1e-3) for rate, step in rates
    )
    assert 0 <= trainer.callback_metrics["perf/data_wait_share"] <= 1
    assert 0 < trainer.callback_metrics["perf/mfu"] < 1
    assert trainer.callback_metrics["perf/peak_memory_gib"] > 0.1
    # two layers, each forward and the gradient of its weights; the inputs need none
    rows = BATCH * FRAMES * 3 * SIZE
    assert callback._flops == 2 * 2 * (2 * rows * SIZE * SIZE)


def test_matmul_peak_is_quick_and_sane():
    start = torch.get_rng_state()
    peak = matmul_peak(torch.device("cpu"), torch.float32)
    assert 1e9 < peak < 1e13
    assert torch.equal(start, torch.get_rng_state())


def test_progress_prints_plain_lines_without_a_terminal(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("callbacks.progress.PLAIN_SECONDS", 0.0)
    run(tmp_path, Throughput(), Progress())
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith(("step", "validation"))]
    assert [line.split("  ")[0] for line in lines] == [
        *("step 1/6", "step 2/6", "step 3/6", "validation"),
        *("step 4/6", "step 5/6", "step 6/6", "validation"),
    ]
    assert "loss 0." in lines[0]
    assert "val/psnr 22.50" in lines[-1]
    assert "frames/s" in lines[-1]
    assert "left" in lines[2]


def test_progress_draws_one_bar_in_a_terminal(tmp_path, monkeypatch):
    console = copy.copy(get_console().__dict__)
    output = io.StringIO()
    bar = Progress()
    bar._console_kwargs = {"force_terminal": True, "file": output, "width": 120}
    reconfigure(**bar._console_kwargs)
    try:
        run(tmp_path, bar)
    finally:
        get_console().__dict__ = console
    text = output.getvalue()
    assert "6/6" in text
    assert "val/psnr: 22.50" in text
    assert "loss: 0." in text


def test_run_record_writes_config_and_final_metrics(tmp_path):
    config = {"seed": 3, "model": {"_component_": "a.B", "sizes": [1, 2], "lr": 1e-3, "extra": None}}
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(config))
    run(tmp_path, RunRecord())
    written = events(tmp_path)
    text = written.Tensors("config/text_summary")[0].tensor_proto.string_val[0].decode()
    assert yaml.safe_load(text.removeprefix("```yaml\n").removesuffix("```")) == config
    from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData

    content = written.SummaryMetadata("_hparams_/session_start_info").plugin_data.content
    values = HParamsPluginData.FromString(content).session_start_info.hparams
    assert values["seed"].number_value == 3
    assert values["model._component_"].string_value == "a.B"
    assert values["model.sizes"].string_value == "[1, 2]"
    last = written.Scalars("val/psnr")[-1]
    assert (last.step, last.value) == (5, 22.5)


def test_run_record_without_a_config_says_so(tmp_path):
    with pytest.warns(UserWarning, match="no composed config at"):
        run(tmp_path, RunRecord())


def test_flatten_leaves_out_what_has_no_value():
    from omegaconf import OmegaConf

    config = OmegaConf.create({"a": {"b": 1, "c": "${a.b}", "d": None, "e": "???"}, "f": []})
    assert flatten(config) == {"a.b": 1, "a.c": 1, "f": "[]"}


def test_conversations_are_a_table_after_every_validation(tmp_path):
    state = torch.get_rng_state()
    run(tmp_path, Conversations(clips=3))
    shown = events(tmp_path).Tensors("conversations/text_summary")
    assert [event.step for event in shown] == sorted({event.step for event in shown})
    text = shown[0].tensor_proto.string_val[0].decode()
    assert text.count("| what is it? | a clip | a clip |") == 3
    torch.set_rng_state(state)
