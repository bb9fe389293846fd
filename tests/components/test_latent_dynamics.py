"""Latent dynamics: who sees what, what happens where a video ends, and that codes come into use."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from checkpoints.build import build
from components.latent_dynamics import LatentDynamics
from components.latent_dynamics.causal_queries import CausalQueries
from components.latent_dynamics.frames_ahead import frames_ahead
from components.latent_dynamics.horizon_queries import HorizonQueries
from components.latent_dynamics.pairs import Pairs
from components.latent_dynamics.places import Places
from components.quantizers.fsq import FiniteScalarQuantizer
from components.quantizers.vq import VectorQuantizer
from components.randomness import ClipRandom
from launch.presets import kinds

SIZES = dict(patch=2, widths=[8, 16], blocks=1, channels=12, num_heads=2, depth=2)


def drawn(module):
    """In float64, every weight drawn: what begins as zero would hide what depends on it."""
    torch.manual_seed(1)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter += 0.2 * torch.randn_like(parameter)
    return module.double().eval()


def queries(horizon: int = 3, **changes) -> CausalQueries:
    torch.manual_seed(0)
    quantizer = FiniteScalarQuantizer(levels=[8, 5, 5], dim=10)
    return drawn(CausalQueries(horizon=horizon, quantizer=quantizer, **(SIZES | changes)))


def pairs(offsets: list[int]) -> Pairs:
    model = Pairs(dynamics=queries(1), offsets=offsets)
    return drawn(model)


def random(size: int = 2, step: int = 0) -> ClipRandom:
    return ClipRandom(0, step, first=0, size=size)


def video(t: int = 4, b: int = 2, height: int = 8, width: int = 12, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(b, t, 3, height, width, generator=generator, dtype=torch.float64)


def preset(name: str):
    torch.manual_seed(0)
    return build(kinds()["components.latent_dynamics"].nodes[name])


@pytest.mark.parametrize("model", [queries(3), queries(1), pairs([1, 3])], ids=["joint", "one", "pairs"])
def test_shapes_are_those_promised(model):
    clip, n = video(), model.num_codes
    assert isinstance(model, LatentDynamics)
    codes = model.encode(clip)
    assert codes.shape == (2, n)
    assert 0 <= int(codes.min()) <= int(codes.max()) < model.codebook_size == 200
    assert model.features(clip).shape == (2, n, model.dim)
    assert model.dim == 10
    decoded = model.decode(clip[:, 0], codes)
    assert decoded.shape == (2, model.horizon, 3, 8, 12)
    assert bool(((decoded >= 0) & (decoded <= 1)).all())
    for made in (model.reconstruct(clip, random()), model.autoencode(clip, random())):
        assert made.video.shape == (2, 1 + model.horizon, 3, 8, 12)
        assert torch.equal(made.codes, codes)
        assert made.loss.shape == ()


@settings(max_examples=12, deadline=None)
@given(changed=st.integers(0, 4), blocks=st.integers(1, 2))
def test_feature_h_sees_frames_0_to_h_to_the_bit(changed, blocks):
    model, clip = queries(4, blocks=blocks), video(5)
    other = clip.clone()
    other[:, changed] = video(5, seed=9)[:, changed]
    same = (model.features(clip) == model.features(other)).all(dim=2)
    for h in range(1, 5):
        assert bool(same[:, h - 1].all()) == (changed > h)
        assert bool(same[:, h - 1].any()) == (changed > h)


@pytest.mark.parametrize("changed", [1, 2, 3])
def test_a_code_changes_no_earlier_frame_and_all_later_ones(changed):
    model, frame = queries(3), video()[:, 0]
    codes = torch.tensor([[3, 50, 170], [7, 60, 110]])
    other = codes.clone()
    other[:, changed - 1] += 13
    differs = (model.decode(frame, codes) != model.decode(frame, other)).flatten(2).any(dim=2)
    for h in range(1, 4):
        assert bool(differs[:, h - 1].all()) == (h >= changed)
        assert bool(differs[:, h - 1].any()) == (h >= changed)


@pytest.mark.parametrize("model", [queries(3), pairs([1, 3])], ids=["joint", "pairs"])
def test_a_video_that_ends_early_goes_on_as_its_last_frame(model):
    short = video(2)
    long = torch.cat([short, short[:, -1:], short[:, -1:]], dim=1)
    assert torch.equal(frames_ahead(short, 3), long)
    assert torch.equal(model.features(short), model.features(long))
    assert torch.equal(model.encode(short), model.encode(long))
    for ours, theirs in zip(
        model.reconstruct(short, random()), model.reconstruct(long, random()), strict=True
    ):
        assert torch.equal(ours, theirs)
    beyond = torch.cat([long, video(2, seed=5)], dim=1)
    assert torch.equal(model.features(beyond), model.features(long))


def test_decoding_true_codes_is_what_training_sees():
    model, clip = queries(3), video()
    made = model.reconstruct(clip, random())
    decoded = model.decode(clip[:, 0], made.codes)
    torch.testing.assert_close(decoded, made.video[:, 1:].clamp(0, 1), rtol=1e-5, atol=1e-6)  # float32 codes


@pytest.mark.parametrize("model", [queries(3), pairs([1, 3])], ids=["joint", "pairs"])
def test_what_codes_stand_for_is_one_vector_each(model):
    codes = model.encode(video())
    found = model.lookup(codes)
    assert found.shape == (2, model.num_codes, model.dim)
    assert torch.equal(model.lookup(codes.roll(1, 0)), found.roll(1, 0))


def test_the_first_frame_is_not_quantised_and_codes_mean_nothing_at_first():
    torch.manual_seed(0)
    model = CausalQueries(horizon=2, quantizer=FiniteScalarQuantizer(levels=[8, 5, 5], dim=10), **SIZES)
    frame = video()[:, 0].float()
    still = frame[:, None].expand(-1, 3, -1, -1, -1)
    decoded = model.decode(frame, torch.tensor([[1, 2], [3, 4]]))
    torch.testing.assert_close(decoded, model.autoencode(still, random()).video[:, 1:].clamp(0, 1))


def test_features_have_unit_variance_whatever_the_queries_find():
    torch.manual_seed(0)
    model = CausalQueries(horizon=2, quantizer=FiniteScalarQuantizer(levels=[8, 5, 5], dim=10), **SIZES)
    with torch.no_grad():
        model.queries.output.weight *= 0.1
        model.queries.output.bias += 2.0
    clip = video(b=64, t=3).float()
    for _ in range(3):
        model.train().reconstruct(clip, random(64))
    features = model.eval().features(clip)
    torch.testing.assert_close(features.mean(dim=0), torch.zeros(2, 10), atol=0.05, rtol=0)
    torch.testing.assert_close(features.std(dim=0), torch.ones(2, 10), atol=0.1, rtol=0)
    assert len(model.encode(clip)[:, 0].unique()) > 16


def test_queries_begin_with_the_difference_of_neighbouring_frames():
    torch.manual_seed(0)
    module = HorizonQueries(horizon=2, dim=8, num_heads=2, depth=1, out_dim=4).double()
    features = torch.randn(2, 3, 4, 5, 8, dtype=torch.float64)
    expected = torch.cat([torch.zeros_like(features[:, :1]), features.diff(dim=1)], dim=1)
    torch.testing.assert_close(module.change(features, None), expected)


def test_attention_leans_to_what_changes():
    """At first a place gets attention by its energy, and e^-2 of that for every frame it is older."""
    module = HorizonQueries(horizon=2, dim=8, num_heads=2, depth=1, out_dim=4).double()
    changes = torch.zeros(1, 3, 1, 2, 8, dtype=torch.float64)
    changes[0, 1, 0, 1], changes[0, 2, 0, 0] = 3.0, 1.0
    share = module._bias(changes)[0, 0].softmax(dim=-1).unflatten(1, (3, 2))
    assert (share[0, 2] == 0).all()  # the frame after its own
    assert float(share[0, 1, 1].detach()) > 0.999
    ratio = (share[1, 1, 1] / share[1, 2, 0]).detach()
    torch.testing.assert_close(
        ratio, torch.tensor(9.0).double() * torch.exp(torch.tensor(-2.0).double()), rtol=1e-3, atol=0
    )


def test_places_are_told_apart_and_the_same_share_of_any_picture():
    torch.manual_seed(0)
    places = Places(dim=16)
    codes = places(8, 8).flatten(0, 1)
    assert float(torch.pdist(codes).min().detach()) > 0.05
    torch.testing.assert_close(places(9, 27)[4, 13], places(3, 3)[1, 1])  # both are the middle


@pytest.mark.parametrize("model", [queries(3), pairs([1, 3])], ids=["joint", "pairs"])
def test_gradients_reach_every_weight(model):
    model = model.train()
    model.zero_grad()
    made = model.reconstruct(video(), random())
    (made.video.square().mean() + made.loss).backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.any(), name
    model.zero_grad()
    made = model.autoencode(video(), random())
    (made.video.square().mean() + made.loss).backward()
    assert all(parameter.grad is not None for parameter in model.parameters())  # zero, but there
    assert model.last_layer.grad.any()


def test_autoencoding_rounds_nothing_and_skips_the_codes_of_half_of_the_clips():
    model, clip = queries(3), video(b=8)
    before = model.autoencode(clip, random(8)).video
    drawn(model.quantizer)
    assert torch.equal(model.autoencode(clip, random(8)).video, before)
    drawn(model.changes)
    same = (model.autoencode(clip, random(8)).video == before).flatten(1).all(dim=1)
    assert torch.equal(same, random(8).uniform() < 0.5)
    assert 0 < int(same.sum()) < 8


def test_encoding_teaches_a_learned_codebook_nothing():
    quantizer = VectorQuantizer(codebook_size=16, dim=12)
    model = CausalQueries(horizon=2, quantizer=quantizer, **SIZES).train()
    state = {name: value.clone() for name, value in model.state_dict().items()}
    model.encode(video().float())
    model.features(video().float())
    assert all(torch.equal(value, state[name]) for name, value in model.state_dict().items())
    assert quantizer.training
    model.autoencode(video().float(), random())
    changed = {name for name, value in model.state_dict().items() if not torch.equal(value, state[name])}
    assert changed == {"statistics.mean", "statistics.square", "statistics.updates"}


def test_pairs_are_models_of_their_own():
    model, clip = pairs([1, 3]), video()
    both = model.features(clip)
    for h, (single, offset) in enumerate(zip(model.models, [1, 3], strict=True)):
        alone = single.features(clip[:, [0, offset]])
        assert torch.equal(both[:, [h]], alone)
    between = clip.clone()
    between[:, 2] = 0.5
    assert torch.equal(model.features(between), both)
    codes = model.encode(clip)
    frames = model.decode(clip[:, 0], codes)
    assert torch.equal(frames[:, 1], frames[:, 0])  # the frame between is that before it
    assert torch.equal(frames[:, 2], model.models[1].decode(clip[:, 0], codes[:, 1:])[:, 0])
    made = model.reconstruct(clip, random())
    assert torch.equal(made.video[:, 2], clip[:, 2])  # and costs nothing


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (lambda: queries(0), r"^horizon is 0"),
        (lambda: queries(2, num_heads=5), r"channels 12, num_heads 5; .*as many channels$"),
        (lambda: pairs([3, 1]), r"^offsets of pairs grow from at least 1, got \[3, 1\]$"),
        (lambda: pairs([]), r"^offsets of pairs grow"),
        (lambda: Pairs(dynamics=queries(2), offsets=[1]), r"^the model of a pair looks 1 frame ahead"),
        (lambda: queries(1).encode(video(height=6)), r"cannot see frames of 6x12; .* multiples of 4$"),
    ],
)
def test_what_does_not_fit_is_told_in_one_line(make, told):
    with pytest.raises(ValueError, match=told) as caught:
        make()
    assert "\n" not in str(caught.value)


def test_presets_are_what_they_say():
    for name in ("causal_queries", "pairs"):
        model = preset(name)
        assert isinstance(model, LatentDynamics)
        assert model.encode(video(height=32, width=32).float()).shape == (2, model.num_codes)
    with torch.device("meta"):
        paper = preset("causal_queries_paper")
    assert (paper.horizon, paper.codebook_size, paper.dim, paper.factor) == (5, 64_000, 512, 8)


def test_codes_come_into_use():
    """A bright square appears at one of 4 places: soon there are as many codes, and it is drawn there."""
    torch.manual_seed(0)
    quantizer = FiniteScalarQuantizer(levels=[5, 5], dim=8)
    model = CausalQueries(horizon=1, quantizer=quantizer, patch=4, widths=[16], channels=16)
    optimizer = torch.optim.Adam(model.parameters(), lr=5e-3)
    clips = torch.full((4, 2, 3, 16, 16), 0.2)
    for place in range(4):
        row, column = divmod(place, 2)
        clips[place, 1, :, 8 * row + 2 : 8 * row + 6, 8 * column + 2 : 8 * column + 6] = 0.9
    copied = float((clips[:, 1] - clips[:, 0]).square().mean())
    for step in range(120):
        made = (model.autoencode if step < 60 else model.reconstruct)(clips, random(4, step))
        optimizer.zero_grad()
        ((made.video - clips).square().mean() + made.loss).backward()
        optimizer.step()
    codes = model.eval().encode(clips)
    assert len(codes.unique()) == 4
    error = (model.decode(clips[:, 0], codes)[:, 0] - clips[:, 1]).square().mean()
    assert float(error.detach()) < 0.2 * copied
