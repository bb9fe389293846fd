"""Predictors that know, blend or ignore the future get the scores that follow from what they do."""

import pytest
import torch

from datamodules.fork import Fork
from evaluation.known_futures import FollowedActions, KnownFutures, PsnrAt, Tracking, gradient_energy
from recipes.world_model import WorldModel, pixels


class Puppet(WorldModel):
    """Rolls out what `show(source, split, index, generator, horizon)` says for each clip."""

    def __init__(self, show, controlled=False, speed=1.0):
        super().__init__(context_frames=2, seed=0)
        self.show = show
        data = dict(num_frames=8, height=16, width=16, seed=0, controlled=controlled, speed=speed)
        self.remember(
            {"data": {"_component_": "datamodules.fork.Fork", **data}, "clip": {"num_frames": 8}, "seed": 0}
        )
        self.make = lambda num_frames: Fork(**data | {"num_frames": num_frames})

    def training_step(self, clip, batch_index):
        raise NotImplementedError

    def rollout(self, context, horizon, *, generator):
        assert context["video"].shape[1] == 2
        source = self.make(2 + horizon)
        places = [name.split("/")[-2:] for name in context["id"]]
        futures = [
            self.show(source, split, int(i), generator, {k: v[n] for k, v in context.items()})
            for n, (split, i) in enumerate(places)
        ]
        yield from torch.stack(futures).split(1, dim=1)


def any_future(source, split, index, generator, context):
    futures = pixels(source.futures(split, index)[:, 2:])
    return futures[torch.randint(len(futures), (), generator=generator)]


def first_future(source, split, index, generator, context):
    return pixels(source.futures(split, index)[0, 2:])


def blend(source, split, index, generator, context):
    return pixels(source.futures(split, index)[:, 2:]).mean(dim=0)


def by_actions(source, split, index, generator, context):
    start, past = context["state"][-1].numpy(), len(context["state"]) - 1
    path = start + context["actions"][past:].double().cumsum(0).numpy()
    return pixels(torch.from_numpy(source._render(path)))


def test_the_true_futures_are_perfect():
    found = KnownFutures(samples=12, clips=6, batch_size=4)(Puppet(any_future))
    assert found["best_psnr"] == pytest.approx(100)
    assert found["coverage"] == 1
    assert found["distance"] == pytest.approx(0, abs=1e-7)
    assert found["gradient_ratio"] == pytest.approx(1)
    assert found["gradient_gap"] == pytest.approx(0, abs=1e-6)
    assert found["diversity"] > 0.01
    assert found["mean_psnr"] < 70


def test_one_mode_is_sharp_but_covers_nothing():
    found = KnownFutures(samples=3, clips=12)(Puppet(first_future))
    assert found["coverage"] == found["diversity"] == 0
    assert found["distance"] == 0
    assert found["best_psnr"] == pytest.approx(found["mean_psnr"])
    assert found["best_psnr"] < 80


def test_a_blend_lies_half_way_and_has_less_gradient():
    puppet = Puppet(blend)
    found = KnownFutures(samples=2, clips=5, batch_size=2)(puppet)
    source = puppet.make(8)
    modes = torch.stack([pixels(source.futures("test", i)[:, 2:]) for i in range(5)])
    apart = (modes[:, 0] - modes[:, 1]).abs().mean()
    assert found["distance"] == pytest.approx(float(apart) / 2, rel=1e-5)
    assert found["gradient_ratio"] < 0.9
    assert found["coverage"] == found["diversity"] == 0


def test_gradient_energy_of_a_ramp_counts_pairs_inside_only():
    ramp = torch.arange(4.0).expand(1, 1, 1, 3, 4, 4)
    where = torch.ones(1, 1, 1, 1, 4, 4, dtype=torch.bool)
    assert gradient_energy(ramp, where) == 3 * 4 * 3  # channels, rows, pairs in a row; none between rows
    where[..., 2:] = False
    assert gradient_energy(ramp, where) == 3 * 4 * 1


def test_psnr_at_a_frame_beyond_the_clip():
    def dark_later(source, split, index, generator, context):
        future = pixels(source.futures(split, index)[0, 2:])
        return torch.cat([future[:9], (future[9:] + 0.1)])

    puppet = Puppet(dark_later, controlled=True)
    found = PsnrAt(steps=[1, 15], clips=4, batch_size=4)(puppet)
    assert found == {"psnr_1": pytest.approx(100), "psnr_15": pytest.approx(20, abs=1e-3)}


def test_actions_that_are_followed_matter():
    found = FollowedActions(clips=8, batch_size=4)(Puppet(by_actions, controlled=True))
    assert found["psnr"] == pytest.approx(100)
    assert found["drop_shuffled"] > 10
    assert found["drop_zeroed"] > 10
    assert found["psnr_zeroed"] == pytest.approx(found["psnr"] - found["drop_zeroed"])


def test_actions_that_are_ignored_do_not():
    found = FollowedActions(clips=4, batch_size=4)(Puppet(first_future, controlled=True))
    assert found["drop_shuffled"] == found["drop_zeroed"] == 0


@pytest.mark.parametrize(("follows", "error"), [(True, 0.0), (False, None)])
def test_tracking_error_is_the_way_that_was_missed(follows, error):
    puppet = Puppet(first_future, controlled=True)

    def track(context, horizon, designated, *, generator):
        assert (designated.sum(dim=(-2, -1)) == 1).all()
        last = designated[:, -1]
        moves = context["actions"][:, 1:].cumsum(dim=1).int() * follows
        rolled = [
            [one.roll((y, x), dims=(1, 2)) for x, y in m.tolist()] for one, m in zip(last, moves, strict=True)
        ]
        return torch.stack([torch.stack(frames) for frames in rolled])

    puppet.track = track
    found = Tracking(clips=6, batch_size=3)(puppet)
    if follows:
        assert found["tracking_error"] == pytest.approx(error, abs=1e-6)
    else:
        clips = [puppet.make(8).clip("test", i)["state"] for i in range(6)]
        missed = torch.stack([(state[2:] - state[1]).norm(dim=-1) for state in clips])
        assert found["tracking_error"] == pytest.approx(float(missed.mean()))
        assert found["tracking_error_last"] == pytest.approx(float(missed[:, -1].mean()))


def test_the_same_weights_give_the_same_numbers():
    measure = KnownFutures(samples=3, clips=4)
    assert measure(Puppet(any_future)) == measure(Puppet(any_future))


def test_mistakes_are_told():
    with pytest.raises(ValueError, match="diversity needs at least 2"):
        KnownFutures(samples=1)
    with pytest.raises(ValueError, match="first frame after the context is step 1"):
        PsnrAt(steps=[0])
    with pytest.raises(ValueError, match="exchanged among 2 clips"):
        FollowedActions(clips=5, batch_size=4)
    with pytest.raises(ValueError, match="has none"):
        Tracking()(Puppet(blend))
