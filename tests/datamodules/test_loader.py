"""Every clip once an epoch, the same batches in any number of processes and workers, and after any stop."""

from types import SimpleNamespace

import lightning
import pytest
import torch
from lightning.pytorch.callbacks import Callback

from components.randomness import mix
from datamodules import SourceError
from datamodules.clip_order import ClipSampler
from datamodules.loader import ClipDataModule, ClipLoader
from tests.datamodules.numbered_clips import Stream, Table, Tables, TwoPartError, flat, ids


def loader(dataset=None, **settings):
    usual = {"batch_size": 4, "num_batches": 6, "seed": 3}
    return ClipLoader(dataset if dataset is not None else Table(10), **usual | settings)


# Order


def test_each_data_epoch_is_a_permutation_and_nothing_is_dropped():
    stream = flat(ids(loader(num_batches=15)))
    epochs = [stream[i : i + 10] for i in range(0, 60, 10)]
    assert all(sorted(epoch) == list(range(10)) for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) == 6
    generator = torch.Generator().manual_seed(mix(3, 2))
    assert epochs[2] == torch.randperm(10, generator=generator).tolist()
    assert stream != flat(ids(loader(num_batches=15, seed=4)))


@pytest.mark.parametrize("world_size", [2, 4])
def test_processes_together_see_what_one_sees(world_size):
    one = ids(loader(batch_size=4))
    ranks = [
        ids(loader(batch_size=4 // world_size, rank=rank, world_size=world_size))
        for rank in range(world_size)
    ]
    assert [flat(parts) for parts in zip(*ranks, strict=True)] == one


def test_a_batch_may_be_larger_than_the_dataset():
    sampler = ClipSampler(3, batch_size=8, seed=0, rank=0, world_size=1)
    batch = sampler.batch(sampler.start())
    assert sorted(batch[:3]) == sorted(batch[3:6]) == [0, 1, 2]


def test_loading_leaves_the_global_random_state_alone():
    before = torch.get_rng_state()
    ids(loader())
    assert (torch.get_rng_state() == before).all()


# Resume


@pytest.mark.parametrize("stop", [0, 1, 3, 6])
def test_resumed_pass_goes_on_with_the_next_batch(stop):
    whole = ids(loader())
    first = loader()
    assert ids(first, stop) == whole[:stop]
    state = first.state_dict()
    assert state["position"] == 4 * stop
    again = loader()
    again.load_state_dict(state)
    if stop < 6:
        assert ids(again) == whole[stop:]
    else:  # the pass was over: the next one carries the stream on
        assert ids(again) == ids(loader(num_batches=12))[6:]


def test_resume_with_more_processes_continues_the_same_stream():
    whole = ids(loader())
    first = loader()
    ids(first, 2)
    ranks = [loader(batch_size=2, rank=rank, world_size=2) for rank in range(2)]
    for rank in ranks:
        rank.load_state_dict(first.state_dict())
    assert [a + b for a, b in zip(*map(ids, ranks), strict=True)] == whole[2:]


def test_resume_with_other_data_is_refused():
    state = loader().state_dict()
    with pytest.raises(SourceError, match=r"at 10 clips with seed 3, this run reads 11 clips with seed 3"):
        loader(Table(11)).load_state_dict(state)
    with pytest.raises(SourceError, match="this run reads a stream"):
        loader(Stream(10)).load_state_dict(state)


# Streams


def test_stream_runs_pass_after_pass_and_resumes_anywhere():
    whole = ids(loader(Stream(10)))
    assert flat(whole) == [*range(10), *range(1000, 1010), *range(2000, 2004)]
    for stop in range(1, 6):
        first = loader(Stream(10))
        ids(first, stop)
        again = loader(Stream(10))
        again.load_state_dict(first.state_dict())
        assert ids(again) == whole[stop:]


def test_stream_state_travels_with_the_batch_out_of_the_worker():
    whole = ids(loader(Stream(10)))
    first = loader(Stream(10), num_workers=4)
    assert ids(first, 2) == whole[:2]
    again = loader(Stream(10))
    again.load_state_dict(first.state_dict())
    assert ids(again) == whole[2:]


class Named(Table):
    """A table whose clips have names, as files and cached clips have."""

    def __init__(self, names: str) -> None:
        super().__init__(len(names))
        self.names = names

    def name_of(self, index: int) -> str:
        return self.names[index]


def test_as_many_other_clips_are_not_gone_on_with():
    state = loader(Named("abcdefghij")).state_dict()
    loader(Named("abcdefghij")).load_state_dict(state)
    for other in ("abcdefghik", "bacdefghij"):
        with pytest.raises(SourceError, match="have other names than this run's, or come in another order"):
            loader(Named(other)).load_state_dict(state)
    del state["names"]  # of a run before names were written down
    loader(Named("abcdefghik")).load_state_dict(state)


def test_each_process_gets_its_own_stream_back():
    states = {rank: {"pass": 0, "place": rank} for rank in range(2)}
    second = loader(Stream(10), rank=1, world_size=2)
    saved = {"position": 8, "batches": 1, "seed": 3, "streams": states}
    second.load_state_dict(saved)
    assert ids(second, 1) == [[1, 2, 3, 4]]
    with pytest.raises(SourceError, match="a stream read by 2 processes cannot go on in 1"):
        loader(Stream(10)).load_state_dict(saved)


def test_empty_stream_is_an_error():
    with pytest.raises(SourceError, match="ended without a single clip"):
        ids(loader(Stream(0)))


# Errors


def test_what_a_worker_raises_reaches_the_user_as_it_was():
    with pytest.raises(SourceError) as error:
        ids(loader(Table(10, broken=(7,)), num_workers=1))
    assert str(error.value) == "clip 7: truncated file; remove it"
    assert "__getitem__" in error.value.__notes__[0]


def test_without_workers_the_error_is_the_very_same():
    error = TwoPartError("bad frame", "a.mp4")
    with pytest.raises(TwoPartError) as caught:
        ids(loader(Stream(3, error=error)))
    assert caught.value is error


# In Lightning


class Recorder(lightning.LightningModule):
    """Keeps the clips it was trained on and validated on."""

    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(()))
        self.trained, self.validated = [], []

    def training_step(self, batch, batch_index):
        self.trained.append(ids([batch])[0])
        return self.weight * batch["video"].float().mean()

    def validation_step(self, batch, batch_index):
        self.validated.append(ids([batch])[0])

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)


class StopAfter(Callback):
    """Saves a checkpoint after some batches and stops."""

    def __init__(self, batches, path):
        self.batches, self.path = batches, path

    def on_train_batch_end(self, trainer, module, outputs, batch, batch_index):
        if batch_index + 1 == self.batches:
            trainer.save_checkpoint(self.path)
            trainer.should_stop = True


def fit(num_workers=0, callbacks=(), checkpoint=None, num_batches=9, validate=True):
    module = Recorder()
    data = ClipDataModule(
        source=Tables(), batch_size=4, num_batches=num_batches, val_clips=6, num_workers=num_workers, seed=3
    )
    trainer = lightning.Trainer(
        max_epochs=1,
        accelerator="cpu",
        accumulate_grad_batches=2,
        val_check_interval=4,
        use_distributed_sampler=False,
        num_sanity_val_steps=1,
        limit_val_batches=None if validate else 0,
        callbacks=list(callbacks),
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(module, datamodule=data, ckpt_path=checkpoint)
    return module, trainer


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("stop", [2, 4, 6])
def test_fit_resumed_from_a_checkpoint_sees_the_same_batches(tmp_path, stop):
    whole, uninterrupted = fit()
    assert whole.trained == ids(loader(num_batches=9))
    assert len(whole.validated) == 1 + 2 * 2  # a sanity batch and two validations of two batches
    path = tmp_path / "stopped.ckpt"
    first, _ = fit(callbacks=[StopAfter(stop, path)])
    assert first.trained == whole.trained[:stop]
    second, resumed = fit(checkpoint=path)
    assert second.trained == whole.trained[stop:]
    assert resumed.global_step == uninterrupted.global_step == 5
    assert second.weight == whole.weight


@pytest.mark.filterwarnings("ignore")
def test_what_workers_had_read_ahead_at_a_stop_is_not_lost(tmp_path):
    path = tmp_path / "stopped.ckpt"
    first, _ = fit(num_workers=2, callbacks=[StopAfter(4, path)], validate=False)
    second, _ = fit(num_workers=2, checkpoint=path, validate=False)
    assert first.trained + second.trained == ids(loader(num_batches=9))


@pytest.mark.filterwarnings("ignore")
def test_a_finished_run_can_be_made_longer(tmp_path):
    path = tmp_path / "finished.ckpt"
    first, trainer = fit(num_batches=4)
    trainer.save_checkpoint(path)
    assert first.trained == ids(loader(num_batches=4))
    again = loader(num_batches=9)
    again.load_state_dict(
        torch.load(path, weights_only=True)["loops"]["fit_loop"]["state_dict"]["combined_loader"][0]
    )
    assert ids(again) == ids(loader(num_batches=9))[4:]


def test_data_module_reads_its_place_among_the_processes():
    data = ClipDataModule(source=Tables(), batch_size=2, num_batches=5, val_clips=6, num_workers=0, seed=3)
    data.trainer = SimpleNamespace(distributed_sampler_kwargs={"rank": 1, "num_replicas": 2})
    whole = ids(loader(batch_size=4, num_batches=5))
    assert ids(data.train_dataloader()) == [batch[2:] for batch in whole]
    assert ids(data.val_dataloader()) == [[50, 66], [83]]
    assert ids(data.test_dataloader()) == [[3, 4], [5]]
