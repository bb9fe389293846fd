"""Quantisers: one contract, the papers' formulas, the public library, and several processes as one."""

import json
import math
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch._subclasses.fake_tensor import FakeTensorMode

from components.quantizers import Quantizer, anchors, nearest
from components.quantizers.clustering_vq import ClusteringVQ
from components.quantizers.fsq import FiniteScalarQuantizer
from components.quantizers.lfq import LookupFreeQuantizer
from components.quantizers.ranks import JoinedFeatures
from components.quantizers.vq import VectorQuantizer
from components.randomness import mix
from tests.processes import free_port

ROOT = Path(__file__).resolve().parents[2]
KINDS = {
    "ema": lambda: VectorQuantizer(codebook_size=12, dim=4, decay=0.9),
    "gradient": lambda: VectorQuantizer(codebook_size=12, dim=4, decay=0.9, update="gradient"),
    "closest": lambda: ClusteringVQ(codebook_size=12, dim=4, anchors="closest"),
    "random": lambda: ClusteringVQ(codebook_size=12, dim=4, anchors="random", distance="euclidean"),
    "probrandom": lambda: ClusteringVQ(codebook_size=12, dim=4),
    "contrastive": lambda: ClusteringVQ(codebook_size=12, dim=4, contrastive_weight=1.0),
    "fsq": lambda: FiniteScalarQuantizer(levels=[3, 4, 5, 3], dim=4),
    "lfq": lambda: LookupFreeQuantizer(codebook_size=16, dim=4),
}
LEARNED = ["ema", "gradient", "closest", "random", "probrandom", "contrastive"]
every_kind = pytest.mark.parametrize("kind", KINDS)
every_learned = pytest.mark.parametrize("kind", LEARNED)


def drawn(*shape, seed=0, dtype=torch.float32):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def built(kind, seed=0):
    torch.manual_seed(seed)
    return KINDS[kind]()


def state(quantizer):
    return {name: value.clone() for name, value in quantizer.state_dict().items()}


def differing(before, after):
    return sorted(name for name in before if not torch.equal(before[name], after[name]))


# One contract


@every_kind
def test_lookup_gives_the_latents_and_gradients_pass_straight_through(kind):
    quantizer = built(kind)
    assert isinstance(quantizer, Quantizer)
    assert quantizer.dim == 4
    for shape in ((2, 3, 5, 4), (7, 4), (4,)):
        latents = drawn(*shape).requires_grad_()
        codebook = state(quantizer)
        found = quantizer(latents)
        quantizer.load_state_dict(codebook)  # the codes as they were chosen
        assert found.indices.shape == shape[:-1]
        assert ((found.indices >= 0) & (found.indices < quantizer.codebook_size)).all()
        assert torch.equal(found.latents, quantizer.lookup(found.indices))
        passed = torch.autograd.grad(found.latents.sum(), latents)[0]
        if kind == "fsq":
            assert (passed > 0).all()
            assert (passed <= 2.2).all()
        else:
            assert torch.equal(passed, torch.ones_like(latents))
        assert found.loss.isfinite()


@every_kind
def test_codes_under_autocast_are_those_of_full_precision(kind):
    quantizer = built(kind).eval()
    latents = drawn(200, 4).bfloat16()
    expected = quantizer(latents.float())
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = quantizer(latents)
    assert torch.equal(found.indices, expected.indices)
    assert found.latents.dtype == torch.bfloat16
    assert found.loss.dtype == torch.float32
    assert torch.equal(found.loss, expected.loss)


@every_kind
def test_evaluation_changes_nothing_and_training_draws_no_global_numbers(kind):
    quantizer = built(kind)
    before, generator = state(quantizer), torch.get_rng_state()
    quantizer.eval()(drawn(50, 4))
    assert differing(before, state(quantizer)) == []
    quantizer.train()(drawn(50, 4))
    assert torch.equal(torch.get_rng_state(), generator)
    changed = {"ema": ["codebook", "sums", "updates", "usage"], "fsq": [], "lfq": []}.get(kind)
    assert changed is None or differing(before, state(quantizer)) == changed


@every_learned
def test_a_resumed_run_moves_codes_as_the_unbroken_one(kind):
    unbroken = built(kind)
    for step in range(4):
        unbroken(10 * drawn(6, 4, seed=step))
    resumed = built(kind, seed=1)
    resumed.load_state_dict(unbroken.state_dict())
    for step in range(4, 60):
        for quantizer in (unbroken, resumed):
            quantizer(10 * drawn(6, 4, seed=step))
    assert differing(state(unbroken), state(resumed)) == []


@every_learned
def test_gradients_are_those_of_the_codes_as_chosen(kind):
    """Codes that move between forward and backward change no gradient."""
    moving = built(kind)
    moving.usage[:6] = 0
    still = built(kind, seed=1)
    still.load_state_dict(moving.state_dict())
    still._learn = still._follow = lambda *arguments: None
    gradients = []
    for quantizer in (moving, still):
        latents = drawn(6, 4).requires_grad_()
        found = quantizer(latents)
        gradients.append(torch.autograd.grad(found.loss, [latents, *quantizer.parameters()]))
    assert not torch.equal(moving.codebook, still.codebook)
    for one, other in zip(*gradients, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-6, atol=1e-9)


@every_kind
def test_a_training_pass_costs_no_values(kind):
    with FakeTensorMode(allow_non_fake_inputs=True):
        quantizer = KINDS[kind]()
        quantizer(torch.zeros(2, 5, 4, requires_grad=True)).loss.requires_grad_().backward()
    with torch.device("meta"):
        assert KINDS[kind]()(torch.zeros(2, 5, 4)).indices.shape == (2, 5)


@pytest.mark.parametrize("kind", ["fsq", "lfq"])
def test_kept_in_half_precision_still_works(kind):
    build = {
        "fsq": lambda: FiniteScalarQuantizer(levels=[3, 4], dim=4),
        "lfq": lambda: LookupFreeQuantizer(codebook_size=8, dim=4),
    }[kind]
    quantizer = build().bfloat16()
    found = quantizer(drawn(5, 4).bfloat16())
    assert found.latents.dtype == torch.bfloat16
    assert torch.equal(quantizer.lookup(found.indices).bfloat16(), found.latents)


# Nearest codes


@pytest.mark.parametrize("distance", ["cosine", "euclidean"])
def test_nearest_in_chunks_is_the_dense_search(distance, monkeypatch):
    queries, keys = drawn(37, 5, dtype=torch.float64), drawn(11, 5, seed=1, dtype=torch.float64)
    if distance == "euclidean":
        expected = torch.cdist(queries, keys).argmin(dim=1)
    else:
        expected = F.cosine_similarity(queries[:, None], keys[None], dim=2).argmax(dim=1)
    for size in (1, 50, 2**24):
        monkeypatch.setattr(nearest, "CHUNK", size)
        assert torch.equal(nearest.nearest(queries, keys, distance=distance), expected)


def test_a_young_codebook_is_told_apart_beside_large_features():
    """In float32 |z|^2 would swallow the differences of codes uniform in [-1/K, 1/K]."""
    codes = VectorQuantizer(codebook_size=2048, dim=64).codebook
    z = 30 * drawn(200, 64)
    exact = torch.cdist(z.double(), codes.double()).argmin(dim=1)
    assert torch.equal(nearest.nearest(z, codes, distance="euclidean"), exact)


# Vector quantisation


def test_first_codes_are_uniform_and_running_means_converge():
    quantizer = VectorQuantizer(codebook_size=4, dim=2, restart_below=0.0)
    assert quantizer.codebook.abs().max() <= 0.25
    corners = torch.tensor([[1.0, 1.0], [-1.0, 1.0], [1.0, -1.0], [-1.0, -1.0]])
    for tensor in (quantizer.codebook, quantizer.sums):
        tensor.copy_(corners / 10)
    for _ in range(1000):
        found = quantizer(3 * corners)
    torch.testing.assert_close(quantizer.codebook, 3 * corners, rtol=1e-4, atol=1e-4)
    assert found.indices.tolist() == [0, 1, 2, 3]


@pytest.mark.parametrize("update", ["ema", "gradient"])
def test_unused_codes_restart_on_distinct_features_and_used_ones_stay(update):
    quantizer = VectorQuantizer(codebook_size=8, dim=2, update=update, restart_below=0.1)
    quantizer.codebook.data.fill_(100.0)
    quantizer.codebook.data[0] = 0.0
    quantizer.usage.fill_(1e-9)
    quantizer.usage[0] = 8.0
    if update == "ema":
        quantizer.sums.copy_(quantizer.codebook * quantizer.usage[:, None])
    features = drawn(5, 2)
    quantizer(features)
    # five features serve once each, the last two codes wait
    assert sorted(quantizer.codebook[1:6].tolist()) == sorted(features.tolist())
    assert not any(code in features.tolist() for code in quantizer.codebook[6:].tolist())
    torch.testing.assert_close(quantizer.usage[1:6], torch.full((5,), 0.1 * (0.99 * 8 + 0.05) / 8))
    quantizer(features)
    assert all(code in features.tolist() for code in quantizer.codebook[6:].tolist())


def library(name):
    return pytest.importorskip(f"vector_quantize_pytorch.{name}")


def library_vq(**options):
    """The library's, without its default gradient (the rotation trick) and channel order."""
    module = library("vector_quantize_pytorch")
    return module.VectorQuantize(dim=4, codebook_size=16, rotation_trick=False, **options)


def test_facts_of_the_library_that_these_tests_rest_on():
    module = library("vector_quantize_pytorch").VectorQuantize(dim=4, codebook_size=16)
    assert module.rotation_trick
    assert module._codebook.decay == 0.8
    assert module._codebook.threshold_ema_dead_code == 0
    lfq = library("lookup_free_quantization").LFQ(codebook_size=16)
    assert lfq(torch.tensor([[[1.0, -1.0, -1.0, -1.0]]])).indices.item() == 8  # the first number is highest
    fsq = library("finite_scalar_quantization").FSQ
    assert fsq([3, 5])(torch.tensor([[[9.0, -9.0]]]))[1].item() == 2  # the first number runs fastest
    with pytest.raises(AssertionError, match="preserve_symmetry"):
        fsq([2, 3])


@pytest.mark.parametrize("restart_below", [0.0, 0.3])
def test_running_means_and_codes_are_the_librarys(restart_below):
    """Restarts too, with the library's absolute threshold set from ours, a share of mean usage."""
    theirs = library_vq(decay=0.9, commitment_weight=0.25, threshold_ema_dead_code=restart_below).double()
    ours = VectorQuantizer(codebook_size=16, dim=4, decay=0.9, restart_below=restart_below).double()
    ours.codebook.copy_(theirs.codebook)
    ours.sums.copy_(theirs.codebook)
    restarts = []

    def as_ours_draws(samples, number):
        generator = torch.Generator().manual_seed(mix(ours.seed, int(ours.updates)))
        restarts.append(number)
        return samples[:, torch.randperm(samples.shape[1], generator=generator)[:number]]

    theirs._codebook.replace_sample_fn = as_ours_draws
    for step in range(40):
        threshold = restart_below * (0.9 * ours.usage.mean().item() + 0.1)
        theirs._codebook.threshold_ema_dead_code = theirs._codebook.reset_cluster_size = threshold
        # the library works in float32: features that it holds exactly
        one = (2 * drawn(2, 8, 4, seed=step) + 3).double().requires_grad_()
        other = one.detach().clone().requires_grad_()
        quantized, indices, loss = theirs(one)
        found = ours(other)
        assert torch.equal(found.indices, indices)
        torch.testing.assert_close(found.latents, quantized, rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(found.loss, loss, rtol=1e-5, atol=1e-6)
        (quantized.sin().sum() + loss).backward()
        (found.latents.sin().sum() + found.loss).backward()
        torch.testing.assert_close(other.grad, one.grad, rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(ours.codebook, theirs.codebook, rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(ours.usage, theirs._codebook.cluster_size[0], rtol=1e-5, atol=1e-6)
    assert (sum(restarts) > 0) == (restart_below > 0)


def test_gradient_codebook_is_the_librarys():
    """Its single term is the sum of both of ours at weight 1, whose values are equal."""
    theirs = library_vq(learnable_codebook=True, ema_update=False)
    ours = VectorQuantizer(
        codebook_size=16, dim=4, update="gradient", commitment_weight=1.0, restart_below=0.0
    )
    ours.codebook.data.copy_(theirs.codebook)
    one, other = drawn(2, 8, 4).requires_grad_(), drawn(2, 8, 4).requires_grad_()
    _, indices, loss = theirs(one)
    found = ours(other)
    assert torch.equal(found.indices, indices)
    torch.testing.assert_close(found.loss, 2 * loss)
    (theirs_grad,) = torch.autograd.grad(loss, theirs._codebook.embed, retain_graph=True)
    (ours_grad,) = torch.autograd.grad(found.loss, ours.codebook, retain_graph=True)
    torch.testing.assert_close(ours_grad, theirs_grad[0])
    torch.testing.assert_close(torch.autograd.grad(found.loss, other)[0], torch.autograd.grad(loss, one)[0])


# Clustering vector quantisation


def nearness(code, feature, distance):
    if distance == "euclidean":
        return -((code - feature) ** 2).sum()
    return code @ feature / (code.norm() * feature.norm())


@pytest.mark.parametrize("distance", ["cosine", "euclidean"])
def test_clustering_by_hand(distance):
    """Four codes, one code and one feature at a time."""
    quantizer = ClusteringVQ(codebook_size=4, dim=3, distance=distance, anchors="closest").double()
    codes, usage = quantizer.codebook.detach().clone(), [0.0] * 4
    for step in range(6):
        z = drawn(10, 3, seed=step, dtype=torch.float64) + 2
        chosen = [max(range(4), key=lambda k: nearness(codes[k], feature, distance)) for feature in z]
        found = quantizer(z)
        assert found.indices.tolist() == chosen
        torch.testing.assert_close(found.loss, 1.25 * (z - codes[chosen]).square().mean())
        for k in range(4):
            anchor = max(z, key=lambda feature: nearness(codes[k], feature, distance))
            usage[k] = 0.99 * usage[k] + 0.01 * chosen.count(k) / 10
            alpha = math.exp(-10 * 4 * usage[k] / (1 - 0.99) - 1e-3)
            codes[k] = (1 - alpha) * codes[k] + alpha * anchor
        torch.testing.assert_close(quantizer.codebook.detach(), codes, rtol=1e-12, atol=1e-12)
        torch.testing.assert_close(quantizer.usage, torch.tensor(usage, dtype=torch.float64))


@pytest.mark.parametrize("anchor", ["closest", "random", "probrandom"])
def test_a_code_never_used_becomes_its_anchor_and_one_in_use_stays(anchor):
    quantizer = ClusteringVQ(codebook_size=3, dim=2, anchors=anchor, distance="euclidean")
    before = torch.tensor([[0.0, 0.0], [500.0, 0.0], [0.0, 500.0]])
    quantizer.codebook.data.copy_(before)
    quantizer.usage[0] = 0.5
    features = drawn(9, 2)
    quantizer(features)
    codebook = quantizer.codebook.detach()
    assert torch.equal(codebook[0], before[0])
    for k in (1, 2):
        moved = (1 - math.exp(-1e-3)) * before[k] + math.exp(-1e-3) * features
        assert (codebook[k] - moved).abs().amax(dim=1).min() < 1e-4


@pytest.mark.parametrize("distance", ["cosine", "euclidean"])
def test_probable_anchors_have_the_softmax_of_the_similarities(distance, monkeypatch):
    features, code = drawn(6, 3, dtype=torch.float64), drawn(1, 3, seed=1, dtype=torch.float64)
    expected = torch.stack([nearness(code[0], feature, distance) for feature in features]).softmax(dim=0)
    even = (torch.arange(20_000, dtype=torch.float64) + 0.5) / 20_000
    monkeypatch.setattr(nearest, "CHUNK", 50_000)
    places = anchors.probable(JoinedFeatures(features), code.expand(20_000, 3), even, distance=distance)
    shares = torch.bincount(places, minlength=6) / 20_000
    torch.testing.assert_close(shares.double(), expected, rtol=0, atol=1e-4)
    assert (places.diff() >= 0).all()


def test_the_pool_fills_in_order_then_at_random_and_a_large_batch_replaces_it():
    quantizer = ClusteringVQ(codebook_size=5, dim=2, anchors="random")
    first, second, third, large = drawn(3, 2), drawn(4, 2, seed=1), drawn(2, 2, seed=2), drawn(9, 2, seed=3)
    quantizer(first)
    assert torch.equal(quantizer.pool[:3], first)
    assert quantizer.pool[3:].abs().max() <= 0.2
    quantizer(second)
    assert torch.equal(quantizer.pool, torch.cat([first, second[:2]]))
    quantizer(third)
    held = quantizer.pool.tolist()
    assert sum(row in third.tolist() for row in held) == 2
    assert sum(row in torch.cat([first, second[:2]]).tolist() for row in held) == 3
    quantizer(large)
    assert all(row in large.tolist() for row in quantizer.pool.tolist())


@pytest.mark.parametrize("distance", ["cosine", "euclidean"])
@pytest.mark.parametrize("number", [3, 25])
def test_contrastive_term_by_hand(distance, number, monkeypatch):
    quantizer = ClusteringVQ(codebook_size=4, dim=3, distance=distance, contrastive_weight=1.0).double()
    z = drawn(number, 3, dtype=torch.float64)
    terms = []
    for code in quantizer.codebook:
        scores = torch.stack([nearness(code, feature, distance) for feature in z]).sort().values / 0.07
        near = scores[-max(1, number // 4) :].mean()
        terms.append(F.cross_entropy(torch.cat([near[None], scores[: number // 2]]), torch.tensor(0)))
    expected = torch.stack(terms).mean()
    (gradient,) = torch.autograd.grad(expected, quantizer.codebook)
    for size in (30, 2**24):
        monkeypatch.setattr(nearest, "CHUNK", size)
        found = quantizer._contrast(z, quantizer.codebook)
        torch.testing.assert_close(found, expected)
        torch.testing.assert_close(torch.autograd.grad(found, quantizer.codebook)[0], gradient)


@pytest.mark.parametrize("kind", ["ema", "closest", "probrandom", "random"])
def test_a_codebook_that_starts_far_away_ends_in_use(kind):
    """Twelve clusters; without restarts one or two codes would take them all."""
    quantizer, centres = built(kind), 10 * drawn(12, 4)
    optimizer = torch.optim.Adam(quantizer.parameters(), 1e-2) if list(quantizer.parameters()) else None
    for step in range(120):
        z = centres[torch.randint(12, (48,), generator=torch.Generator().manual_seed(step))]
        loss = quantizer(z + 0.1 * drawn(48, 4, seed=step)).loss
        if optimizer:
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    assert len(quantizer.eval()(centres).indices.unique()) > 7


# Finite scalar quantisation


LEVELS = st.lists(st.integers(3, 9), min_size=1, max_size=5)


@settings(max_examples=40, deadline=None)
@given(levels=LEVELS, seed=st.integers(0, 1000), scale=st.floats(0.1, 10))
def test_fsq_is_the_librarys(levels, seed, scale):
    theirs = library("finite_scalar_quantization").FSQ(levels)
    ours = FiniteScalarQuantizer(levels=levels, dim=len(levels))
    one = (scale * drawn(2, 30, len(levels), seed=seed)).requires_grad_()
    other = one.detach().clone().requires_grad_()
    quantized, indices = theirs(one)
    found = ours(other)
    assert torch.equal(found.indices, indices.long())
    torch.testing.assert_close(found.latents, quantized, rtol=0, atol=1e-6)
    assert found.loss == 0
    quantized.sin().sum().backward()
    found.latents.sin().sum().backward()
    torch.testing.assert_close(other.grad, one.grad, rtol=1e-5, atol=1e-6)


def test_fsq_with_projections_is_the_librarys():
    theirs = library("finite_scalar_quantization").FSQ([8, 5, 5], dim=7)
    ours = FiniteScalarQuantizer(levels=[8, 5, 5], dim=7)
    ours.load_state_dict(theirs.state_dict())
    latents = 3 * drawn(2, 30, 7)
    quantized, indices = theirs(latents)
    found = ours(latents)
    assert torch.equal(found.indices, indices.long())
    torch.testing.assert_close(found.latents, quantized)
    torch.testing.assert_close(ours.lookup(found.indices), quantized)


@settings(max_examples=20, deadline=None)
@given(levels=st.lists(st.integers(3, 6), min_size=1, max_size=4))
def test_every_fsq_code_is_reached_and_found_again(levels):
    quantizer = FiniteScalarQuantizer(levels=levels, dim=len(levels))
    indices = torch.arange(quantizer.codebook_size)
    codes = quantizer.lookup(indices)
    assert len(codes.unique(dim=0)) == quantizer.codebook_size == math.prod(levels)
    assert codes.min() == -1
    assert codes.max() <= 1
    half = torch.tensor(levels) // 2
    inner = (codes * half + 0.5 * (torch.tensor(levels) % 2 == 0)) / ((torch.tensor(levels) - 1) * 1.001 / 2)
    shift = torch.atanh(0.5 * (torch.tensor(levels) % 2 == 0) / ((torch.tensor(levels) - 1) * 1.001 / 2))
    assert torch.equal(quantizer(torch.atanh(inner) - shift).indices, indices)


def test_videoworlds_levels():
    quantizer = FiniteScalarQuantizer(levels=[8, 8, 8, 5, 5, 5], dim=256)
    assert quantizer.codebook_size == 64_000
    assert sum(parameter.numel() for parameter in quantizer.parameters()) == 256 * 6 + 6 + 6 * 256 + 256
    zero = FiniteScalarQuantizer(levels=[8, 8, 8, 5, 5, 5], dim=6)(torch.zeros(6))
    assert zero.indices.item() == 4 + 8 * (4 + 8 * (4 + 8 * (2 + 5 * (2 + 5 * 2))))
    assert list(quantizer.state_dict()) == [
        f"project_{way}.{name}" for way in ("in", "out") for name in ("weight", "bias")
    ]


@pytest.mark.parametrize("levels", [[], [8, 2]])
def test_too_few_levels_are_one_clear_line(levels):
    with pytest.raises(ValueError, match=r"levels of fsq are at least 3 each, got \["):
        FiniteScalarQuantizer(levels=levels, dim=4)


# Lookup-free quantisation


@pytest.mark.parametrize(("bits", "temperature"), [(1, 0.1), (4, 0.01), (5, 1.0), (6, 5.0)])
def test_lfq_is_the_librarys(bits, temperature, monkeypatch):
    """Codes with the order of bits turned round; losses without the library's floor under log."""
    module = library("lookup_free_quantization")
    options = {"entropy_loss_weight": 0.3, "commitment_loss_weight": 0.25, "diversity_gamma": 0.7}
    theirs = module.LFQ(codebook_size=2**bits, force_quantization_f32=False, **options).double()
    ours = LookupFreeQuantizer(
        codebook_size=2**bits, dim=bits, entropy_weight=0.3, diversity_weight=0.7, temperature=temperature
    )
    one = drawn(2, 20, bits, dtype=torch.float64).requires_grad_()
    other = one.detach().clone().requires_grad_()
    found = ours(other)
    floored = theirs(one, inv_temperature=1 / temperature).entropy_aux_loss
    torch.testing.assert_close(found.loss, floored, rtol=0, atol=1e-3)
    monkeypatch.setattr(module, "log", lambda t: t.clamp(min=1e-300).log())
    quantized, indices, loss = theirs(one, inv_temperature=1 / temperature)
    turned = sum((indices >> (bits - 1 - i) & 1) << i for i in range(bits))
    assert torch.equal(found.indices, turned.long())
    assert torch.equal(found.latents, quantized)
    torch.testing.assert_close(found.loss, loss, rtol=1e-10, atol=1e-10)
    (expected,) = torch.autograd.grad(loss + quantized.sin().sum(), one)
    (gradient,) = torch.autograd.grad(found.loss + found.latents.sin().sum(), other)
    torch.testing.assert_close(gradient, expected, rtol=1e-8, atol=1e-8)


@settings(max_examples=20, deadline=None)
@given(bits=st.integers(1, 8), temperature=st.floats(0.05, 10), seed=st.integers(0, 1000))
def test_entropies_are_those_of_the_dense_softmax(bits, temperature, seed):
    quantizer = LookupFreeQuantizer(codebook_size=2**bits, dim=bits, temperature=temperature)
    z, codes = (
        drawn(9, bits, seed=seed, dtype=torch.float64),
        quantizer.lookup(torch.arange(2**bits)).double(),
    )
    q = (-(z[:, None] - codes).square().sum(dim=2) / temperature).softmax(dim=1)
    expected = torch.special.entr(q).sum(dim=1).mean(), torch.special.entr(q.mean(dim=0)).sum()
    torch.testing.assert_close(quantizer._entropies(z), expected, rtol=1e-9, atol=1e-9)


def test_the_first_number_is_the_lowest_bit_and_zero_counts_as_negative():
    quantizer = LookupFreeQuantizer(codebook_size=8, dim=3)
    z = torch.tensor([[0.1, -5.0, -0.2], [-1.0, 2.0, -3.0], [0.0, 0.0, 0.3]])
    assert quantizer(z).indices.tolist() == [1, 2, 4]
    assert quantizer.lookup(torch.tensor([6])).tolist() == [[-1.0, 1.0, 1.0]]


def test_262144_codes_fit_and_train():
    quantizer = LookupFreeQuantizer(codebook_size=2**18, dim=24)
    found = quantizer(drawn(2, 64, 24).requires_grad_())
    found.loss.backward()
    assert all(parameter.grad.isfinite().all() for parameter in quantizer.project_in.parameters())
    torch.testing.assert_close(quantizer.lookup(found.indices), found.latents)


def test_confident_features_have_a_finite_gradient():
    quantizer = LookupFreeQuantizer(codebook_size=16, dim=4)
    z = (1e4 * drawn(6, 4)).requires_grad_()
    quantizer(z).loss.backward()
    assert z.grad.isfinite().all()


def test_a_codebook_that_is_no_power_of_two_is_one_clear_line():
    with pytest.raises(ValueError, match="codebook_size of lfq is a power of two, got 1000"):
        LookupFreeQuantizer(codebook_size=1000, dim=10)


# Several processes


WORKER = """
import json, sys
import torch
import torch.distributed as dist
from tests.components.test_quantizers import report

torch.set_num_threads(1)
rank, port = int(sys.argv[1]), int(sys.argv[2])
dist.init_process_group("gloo", init_method=f"tcp://127.0.0.1:{port}", rank=rank, world_size=2)
print(json.dumps(report(slice(0, 20) if rank == 0 else slice(20, 48))))
dist.barrier()  # a process that ends while the other still talks to it aborts
dist.destroy_process_group()
"""


def report(part: slice) -> dict[str, list]:
    """What quantisers hold after steps on part of each batch of 48 features, and the codes they gave it."""
    found: dict[str, list] = {}
    for kind in ("ema", "closest", "random", "probrandom"):
        quantizer = built(kind)
        codes = [
            quantizer((8 * drawn(12, 4))[torch.arange(48) % 12][part] + drawn(48, 4, seed=step)[part]).indices
            for step in range(20)
        ]
        found[f"{kind} codes"] = torch.stack(codes).tolist()
        found |= {f"{kind} {name}": value.tolist() for name, value in quantizer.state_dict().items()}
    half = slice(0, 24) if part.start == 0 else slice(24, 48)
    z = drawn(48, 4)[half if part.stop - part.start < 48 else part].requires_grad_()
    LookupFreeQuantizer(codebook_size=16, dim=4, temperature=1.0)(z).loss.backward()
    assert z.grad is not None
    found["lfq gradient"] = (z.grad * len(z)).tolist()
    return found


def test_two_processes_learn_the_codebook_of_the_joined_batch():
    port = free_port()
    command = [sys.executable, "-c", WORKER]
    workers = [
        subprocess.Popen([*command, str(rank), str(port)], cwd=ROOT, stdout=subprocess.PIPE, text=True)
        for rank in range(2)
    ]
    alone = report(slice(0, 48))
    first, second = (json.loads(worker.communicate(timeout=90)[0]) for worker in workers)
    assert all(worker.wait(timeout=90) == 0 for worker in workers)
    for name, expected in alone.items():
        if name.endswith("codes"):
            joined = torch.cat([torch.tensor(first[name]), torch.tensor(second[name])], dim=1)
            assert torch.equal(joined, torch.tensor(expected)), name
        elif name == "lfq gradient":
            torch.testing.assert_close(torch.tensor(first[name] + second[name]), torch.tensor(expected))
        else:
            assert first[name] == second[name], name
            torch.testing.assert_close(
                torch.tensor(first[name]), torch.tensor(expected), rtol=1e-4, atol=1e-4
            )
