import itertools

import pytest
import torch

from components.history_codes import HistoryCodes
from components.history_codes.kmeans import KMeans
from components.quantizers.ranks import JoinedFeatures
from tests.processes import finish, start


def latents(b=2, seed=0):
    return torch.randn(b, 3, 4, 5, 6, generator=torch.Generator().manual_seed(seed))


def rows(z):
    return z.movedim(2, -1).flatten(0, -2)


def fitted(num_codes, z, rounds=30, **kwargs):
    codes = KMeans(channels=4, num_codes=num_codes, seed=0, **kwargs)
    distances = [float(codes.learn(z)) for _ in range(rounds)]
    return codes, distances


def test_every_pixel_becomes_its_nearest_centre_and_stays_there():
    z = latents()
    codes, _ = fitted(8, z)
    assert isinstance(codes, HistoryCodes)
    found = codes(z)
    away = (rows(z)[:, None] - codes.centres).square().sum(-1)
    torch.testing.assert_close(rows(found), codes.centres[away.argmin(1)])
    assert torch.equal(codes(found), found)


def test_one_code_tells_nothing_of_the_history_and_as_many_as_latents_all():
    z = latents()
    one, _ = fitted(1, z)
    assert torch.equal(one(z), one(latents(seed=1)))
    torch.testing.assert_close(one.centres[0], rows(z).mean(0))
    few = z[:, :1, :, :2, :3]
    every, distances = fitted(12, few, rounds=2)
    assert distances[0] == pytest.approx(0, abs=1e-6)  # k-means++ takes no latent twice
    torch.testing.assert_close(every(few), few)


def test_without_memory_it_is_lloyds_algorithm():
    z = latents(b=4)
    codes, distances = fitted(10, z, rounds=1, keep=0.0)
    x, centres = rows(z), KMeans(channels=4, num_codes=10, seed=0)._first(JoinedFeatures(rows(z)))
    for _ in range(25):
        nearest = torch.cdist(x, centres).argmin(1)
        centres = torch.stack([x[nearest == k].mean(0) for k in range(10)])
        torch.testing.assert_close(codes.centres, centres)
        distances.append(float(codes.learn(z)))
    assert all(a >= b - 1e-6 for a, b in itertools.pairwise(distances))


def test_its_fixed_points_are_those_of_scikit_learn():
    cluster = pytest.importorskip("sklearn.cluster")
    z = latents(b=4)
    first = KMeans(channels=4, num_codes=10, seed=0)._first(JoinedFeatures(rows(z)))
    codes, _ = fitted(10, z, rounds=300, keep=0.0)
    theirs = cluster.KMeans(10, init=first.numpy(), n_init=1, max_iter=300, tol=0.0).fit(rows(z).numpy())
    torch.testing.assert_close(codes.centres, torch.from_numpy(theirs.cluster_centers_), atol=1e-5, rtol=0)


def test_a_stream_of_batches_ends_near_the_whole():
    whole = latents(b=64)
    codes = KMeans(channels=4, num_codes=16, seed=0)
    for part in whole.split(8):
        codes.learn(part)
    streamed = float((whole - codes(whole)).square().mean())
    at_once, _ = fitted(16, whole, rounds=60, keep=0.0)
    assert streamed < 1.1 * float((whole - at_once(whole)).square().mean())


def test_centres_go_with_the_weights():
    codes, _ = fitted(5, latents())
    other = KMeans(channels=4, num_codes=5, seed=3)
    other.load_state_dict(codes.state_dict())
    assert torch.equal(other(latents(seed=4)), codes(latents(seed=4)))
    assert not list(codes.parameters())


@pytest.mark.parametrize("wrong", [{"num_codes": 0}, {"num_codes": 2, "keep": 1.5}])
def test_mistakes_are_told_in_a_line(wrong):
    with pytest.raises(ValueError, match="give at least 1, and 0 to 1"):
        KMeans(channels=4, seed=0, **wrong)


WORKER = """
import sys
import torch
import torch.distributed as dist
from tests.components.test_history_codes import fitted, latents
dist.init_process_group("gloo")
codes, distances = fitted(6, latents(b=4)[2 * dist.get_rank() :][:2], rounds=5)
torch.save((codes.centres, distances), f"{sys.argv[1]}/{dist.get_rank()}.pt")
dist.destroy_process_group()
"""


def test_two_processes_fit_what_one_does(tmp_path):
    finish(start(["-c", WORKER, tmp_path], 2), seconds=120)
    codes, distances = fitted(6, latents(b=4), rounds=5)
    for rank in range(2):
        centres, theirs = torch.load(tmp_path / f"{rank}.pt")
        torch.testing.assert_close(centres, codes.centres)
        assert theirs == pytest.approx(distances)
