"""Every recipe, at the size of its tiny config with fewer and smaller clips."""

import pytest
import torch

from launch.command import parse
from launch.compose import compose, recipe_folders
from launch.run import build_model, open_source, prepare

FEW = ["loader.batch_size=2", "loader.val_clips=2", "trainer.max_steps=4", "trainer.val_check_interval=4"]
FEW_OF = {
    "framepack": ["stages.cache.callbacks.writer.train_clips=8"],
    "videoworld": ["stages.codes.callbacks.writer.train_clips=8"],
}


def begun(recipe: str) -> list[str]:
    """The command of a small run of a recipe, so far as all such runs share it."""
    return [f"recipe={recipe}", *FEW, *FEW_OF.get(recipe, [])]


def configured(recipe: str, *tokens: str) -> dict:
    """A recipe's last stage, composed and checked; without a cache, which no stage before has made."""
    stages, problems = compose(parse([*begun(recipe), *tokens]))
    assert problems == []
    raw = list(stages.values())[-1]
    raw.pop("cache", None)
    prepare(raw)
    return raw


def built(recipe: str, *tokens: str):
    """A recipe's model with a batch of its own data."""
    from datamodules.batches import collate

    raw = configured(recipe, *tokens)
    source, resolved = open_source(raw, prepare(raw))
    dataset = source.split("train")
    return build_model(resolved, source), collate([dataset[0], dataset[1]])


def take_step(model, clip, step: int = 0) -> None:
    """One training step with the model's own optimisers, without a trainer."""
    optimizers = model.configure_optimizers()
    model.optimizers = lambda: optimizers if len(optimizers) > 1 else optimizers[0]
    model.manual_backward = lambda loss: loss.backward()
    model.log = model.log_dict = lambda *args, **kwargs: None
    loss = model.training_step(clip, step)
    if model.automatic_optimization:
        loss.backward()
        optimizers[0].step()


@pytest.fixture(params=sorted(recipe_folders()))
def recipe(request) -> str:
    return request.param


@pytest.fixture
def generator():
    return torch.Generator().manual_seed(0)
