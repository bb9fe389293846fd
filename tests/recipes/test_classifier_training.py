"""Meta-training: what a few successes of a task that was never seen tell."""

from functools import partial

import pytest
import torch
from torch import nn

from components.clip import ClipSpec
from components.plan_costs.success import Success
from components.schedules.constant import Constant
from components.success_classifiers.few_shot import FewShotClassifier
from launch.main import main
from policies.successes import Successes
from recipes.classifier_training import ClassifierTraining
from tests.datamodules.test_success_examples import write
from tests.recipes.conftest import take_step

SIDE, SHOWN, JUDGED = 12, 5, 5


def training(**changes) -> ClassifierTraining:
    torch.manual_seed(0)
    settings = {"widths": (16, 16), "strides": (1, 1), "temperature": 0.1} | changes
    return ClassifierTraining(
        classifier=FewShotClassifier(**settings),
        context_frames=SHOWN,
        optimizer=partial(torch.optim.Adam, lr=3e-3),
        learning_rate=Constant(value=1.0),
        seed=0,
    )


def discs(where: torch.Tensor) -> torch.Tensor:
    """Pictures of a bright disc at each place, in pixels."""
    rows = torch.arange(SIDE)[:, None] - where[:, 0, None, None]
    columns = torch.arange(SIDE) - where[:, 1, None, None]
    disc = (2.5 - torch.hypot(rows, columns)).clamp(0, 1)
    return (255 * disc).to(torch.uint8)[:, None].expand(-1, 3, -1, -1)


def tasks(count: int, seed: int, *, held_out: bool = False) -> dict:
    """A task is a place where the disc is to be, about; in failures it is at least 4 pixels away.

    Places that are trained on and those that are held out lie like the fields of a chessboard. One frame
    alone does not tell success: over all tasks the disc is everywhere, in failures too.
    """
    generator = torch.Generator().manual_seed(seed)
    grid = [(row, column) for row in range(6) for column in range(6) if (row + column) % 2 == held_out]
    places = 2.0 + 1.5 * torch.tensor(grid)
    videos = []
    for _ in range(count):
        goal = places[torch.randint(len(places), (), generator=generator)]
        away = places[(places - goal).norm(dim=1) >= 4]
        wrong = away[torch.randint(len(away), (JUDGED,), generator=generator)]
        where = torch.cat([goal.expand(SHOWN + JUDGED, 2), wrong])
        videos.append(discs(where + 0.5 * torch.randn(where.shape, generator=generator)))
    state = torch.tensor([1.0] * (SHOWN + JUDGED) + [0.0] * JUDGED)[None, :, None]
    return {"video": torch.stack(videos), "state": state.expand(count, -1, -1), "id": [""] * count}


def accuracies(model, clip) -> dict[str, float]:
    found = {}
    model.log_validation = lambda name, values, **_: found.setdefault(name, values.mean().item())
    with torch.inference_mode():
        model.validation_step(clip, 0)
    return found


def meta_trained(steps: int) -> ClassifierTraining:
    model = training()
    (optimizer,) = model.configure_optimizers()
    model.optimizers, model.log = lambda: optimizer, lambda *args, **kwargs: None
    for step in range(steps):
        optimizer.zero_grad()
        model.training_step(tasks(8, 100 + step), step).backward()
        optimizer.step()
    return model


def test_a_few_successes_tell_a_task_that_was_never_trained_on():
    found = accuracies(meta_trained(120), tasks(40, 1, held_out=True))
    assert found["accuracy_guessing"] == 0.5
    assert found["accuracy"] > 0.85
    assert found["accuracy_before"] < 0.65


class Watched(nn.Module):
    """Says nothing, and remembers what it was shown."""

    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(()))

    def forward(self, successes, frames):
        self.shown, self.seen = successes, frames
        return self.scale * torch.tensor([0.0, 1.0]).expand(*frames.shape[:2], 2)


def test_the_first_frames_are_learned_by_and_the_others_judged():
    model, clip = training(), tasks(3, 0)
    model.classifier = Watched()
    logged = {}
    take_step(model, clip)
    model.log = lambda name, value, **_: logged.setdefault(name, float(torch.as_tensor(value).detach()))
    loss = model.training_step(clip, 1)
    assert torch.equal(model.classifier.shown, clip["video"][:, :SHOWN].float() / 255)
    assert torch.equal(model.classifier.seen, clip["video"][:, SHOWN:].float() / 255)
    likely = torch.tensor([0.0, float(model.classifier.scale.detach())]).softmax(0)
    torch.testing.assert_close(loss, -(likely.log()).mean())  # half of them are successes
    assert logged["train/accuracy"] == 0.5


def test_labels_are_what_the_state_says():
    model, clip = training(), tasks(2, 0)
    clip["state"] = clip["state"].flip(1)
    labels = model.examples(clip)[2]
    assert labels.tolist() == [[1] * (2 * JUDGED)] * 2


def test_what_does_not_fit_is_told():
    fits = ClipSpec(15, SIDE, SIDE, state_dim=1, state_names=("success",))
    training().check_fits(fits)
    with pytest.raises(
        ValueError, match="do not tell which frames are successes; take data=success_examples"
    ):
        training().check_fits(ClipSpec(15, SIDE, SIDE, state_dim=1, state_names=("x",)))
    with pytest.raises(ValueError, match="clips have 5 frames, 5 of them to learn by"):
        training().check_fits(ClipSpec(5, SIDE, SIDE, state_dim=1, state_names=("success",)))
    zeros = ClipSpec(15, SIDE, SIDE).zeros(2)  # a cost estimate knows no states
    assert torch.isfinite(training().typical_step(zeros))


def test_the_variant_trains_and_a_plan_cost_loads_what_it_leaves(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    root = write(tmp_path / "data")
    command = [
        "recipe=savp", "variant=success_classifier", f"data.root={root}", "data.tasks=null",
        "clip.height=8", "clip.width=8", "clip.num_frames=7", "clip.context_frames=3", "loader.batch_size=2",
        "loader.val_clips=4", "trainer.max_steps=2", "trainer.val_check_interval=2",
    ]  # fmt: skip
    assert main([*command, f"run_dir={tmp_path / 'run'}"]) == 0
    trained = ClassifierTraining.load(tmp_path / "run")
    assert trained.context_frames == 3
    cost = Success(classifier=str(tmp_path / "run"))
    assert Successes(cost, "static").trained("cpu").context_frames == 3
    shown = torch.rand(3, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    adapted = torch.cat([weight.flatten() for weight in trained.classifier.adapted(shown).values()])
    assert torch.equal(cost.goal_of(shown), adapted.detach())
    assert cost(shown[None], cost.goal_of(shown)).shape == (1,)
    capsys.readouterr()
    assert main([*command, "data=lerobot", f"data.root={root}", "~data.tasks"]) == 2
    assert "take data=success_examples" in capsys.readouterr().err
