"""The causal autoencoder: what it sees, in parts and whole, and its latents' normalisation."""

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from checkpoints.build import build
from components.latent_tokenizers import LatentTokenizer, channel_statistics
from components.latent_tokenizers.causal_layers import (
    CausalConv,
    FrameConv,
    Merge,
    ResidualBlock,
    Split,
    merged,
    split,
)
from components.latent_tokenizers.causal_vae import CausalVAE
from components.latent_tokenizers.channel_statistics import ChannelStatistics
from components.latent_tokenizers.posterior import LOG_VARIANCES, divergence, posterior_of
from components.randomness import ClipRandom
from launch.presets import kinds

SIZES = {"channels": 3, "patch": [1, 2], "widths": [4, 8, 8], "halvings": ["time", "both"], "blocks": 1}
SHAPES = [  # patch, widths, halvings
    ([1, 1], [4], []),
    ([2, 2], [4, 8], ["both"]),
    ([2, 1], [4, 8], ["space"]),
    ([1, 2], [4, 8, 8], ["time", "both"]),
    ([3, 1], [4, 4], ["time"]),
]


def tokenizer(**changes) -> CausalVAE:
    """In float64, every weight drawn: an untrained block would do nothing."""
    torch.manual_seed(0)
    model = CausalVAE(**(SIZES | changes)).double().eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.2 * torch.randn_like(parameter)
        model.statistics.mean += torch.linspace(-1, 1, model.channels)
        model.statistics.square += torch.linspace(1, 3, model.channels)
    return model


def clip(b=2, t=9, height=8, width=12, dtype=torch.float64):
    generator = torch.Generator().manual_seed(1)
    return torch.rand(b, t, 3, height, width, generator=generator, dtype=torch.float64).to(dtype)


def random(size=2, first=0, step=0) -> ClipRandom:
    return ClipRandom(0, step, first=first, size=size)


def preset(name: str) -> CausalVAE:
    return build(kinds()["components.latent_tokenizers"].nodes[name])


def numbers(model: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


def cut(x, lengths):
    return x.split([*lengths, x.shape[1] - sum(lengths)], dim=1)


def test_presets():
    small = preset("causal_vae")
    assert isinstance(small, LatentTokenizer)
    assert numbers(small) == 533_176
    assert (small.channels, small.time_factor, small.space_factor, small.causal) == (8, 4, 4, True)
    with torch.device("meta"):
        large = preset("causal_vae_large")
    assert large.grid(81, 480, 832) == (21, 60, 104)
    assert numbers(large) == 24_355_139


@pytest.mark.parametrize(("patch", "widths", "halvings"), SHAPES)
@pytest.mark.parametrize("length", [0, 1, 2])
def test_shapes_are_what_grid_says(patch, widths, halvings, length):
    model = tokenizer(patch=patch, widths=widths, halvings=halvings)
    video = clip(t=1 + length * model.time_factor)
    latents = model.encode(video)
    grid = model.grid(video.shape[1], 8, 12)
    assert grid == (1 + length, 8 // model.space_factor, 12 // model.space_factor)
    assert latents.movedim(2, -1).shape == (2, *grid, 3)
    assert latents.is_contiguous()
    assert not latents.requires_grad
    decoded = model.decode(latents)
    assert decoded.shape == video.shape
    assert 0 <= decoded.min() <= decoded.max() <= 1


@pytest.mark.parametrize("shape", [(0, 8, 8), (4, 8, 8), (5, 6, 8), (5, 8, 6), (5, 0, 8)])
def test_sizes_that_do_not_fit_are_one_clear_line(shape):
    with pytest.raises(ValueError, match="1 \\+ k \\* 4 frames, both sides multiples of 4") as error:
        tokenizer().grid(*shape)
    assert "\n" not in str(error.value)


def test_what_does_not_fit_together_is_refused_when_built():
    with pytest.raises(ValueError, match="3 widths need 2 halvings, not 1"):
        tokenizer(halvings=["time"])
    with pytest.raises(ValueError, match="patch is \\[frames, pixels\\]"):
        tokenizer(patch=[2])
    with pytest.raises(ValueError, match="blocks of at least 1"):
        tokenizer(blocks=0)
    with pytest.raises(ValueError, match="2x1x1 pixels of 4 channels cannot be shared out among 12"):
        tokenizer(widths=[4, 12, 12])


@pytest.mark.parametrize(("patch", "widths", "halvings"), SHAPES)
def test_nothing_looks_ahead(patch, widths, halvings):
    model = tokenizer(patch=patch, widths=widths, halvings=halvings)
    video, changed = clip(t=1 + 3 * model.time_factor), clip(t=1 + 3 * model.time_factor)
    known = 1 + model.time_factor
    changed[:, known:] = 1 - changed[:, known:]
    latents, others = model.encode(video), model.encode(changed)
    assert torch.equal(latents[:, :2], others[:, :2])
    assert not torch.allclose(latents[:, 2], others[:, 2])
    torch.testing.assert_close(model.encode(video[:, :known]), latents[:, :2], rtol=0, atol=1e-12)
    others[:, :2] = latents[:, :2]
    assert torch.equal(model.decode(latents)[:, :known], model.decode(others)[:, :known])


def test_a_latent_sees_the_frames_before_it():
    model = tokenizer()
    changed = clip()
    changed[:, :5] = 1 - changed[:, :5]
    assert not torch.allclose(model.encode(clip())[:, 2], model.encode(changed)[:, 2])


@settings(deadline=None, max_examples=25)
@given(
    shape=st.sampled_from(SHAPES),
    lengths=st.lists(st.integers(1, 2), max_size=3),
    latent_lengths=st.lists(st.integers(1, 2), max_size=3),
)
def test_parts_equal_the_whole(shape, lengths, latent_lengths):
    patch, widths, halvings = shape
    model = tokenizer(patch=patch, widths=widths, halvings=halvings)
    factor = model.time_factor
    video = clip(b=1, t=1 + 8 * factor)
    whole = model.encode(video)
    encode, decode = model.encoding(), model.decoding()
    parts = cut(video, [n * factor + (i == 0) for i, n in enumerate(lengths)])
    torch.testing.assert_close(torch.cat([encode(part) for part in parts], 1), whole, rtol=0, atol=1e-12)
    frames = torch.cat([decode(part) for part in cut(whole, latent_lengths)], 1)
    torch.testing.assert_close(frames, model.decode(whole), rtol=0, atol=1e-12)


def test_two_videos_stream_side_by_side():
    model = tokenizer()
    first, second = model.encoding(), model.encoding()
    a, b = clip()[:1], clip()[1:]
    made = [first(a[:, :5]), second(b[:, :1]), first(a[:, 5:]), second(b[:, 1:])]
    torch.testing.assert_close(torch.cat(made[::2], 1), model.encode(a), rtol=0, atol=1e-12)
    torch.testing.assert_close(torch.cat(made[1::2], 1), model.encode(b), rtol=0, atol=1e-12)


def test_a_part_of_the_wrong_length_is_refused():
    encode = tokenizer().encoding()
    with pytest.raises(ValueError, match="the first part of this video needs 1 \\+ k \\* 4 frames, not 4"):
        encode(clip(t=4))
    encode(clip(t=5))
    with pytest.raises(ValueError, match="the next part of this video needs k \\* 4 frames, not 5"):
        encode(clip(t=5))


@pytest.mark.parametrize("frames_at_once", [1, 6, 9, 100])
def test_frames_at_once_change_nothing(frames_at_once):
    video = clip(t=17)
    latents = tokenizer().encode(video)
    model = tokenizer(frames_at_once=frames_at_once)
    torch.testing.assert_close(model.encode(video), latents, rtol=0, atol=1e-12)
    torch.testing.assert_close(model.decode(latents), tokenizer().decode(latents), rtol=0, atol=1e-12)


def test_space_then_time_is_one_convolution_over_both():
    torch.manual_seed(0)
    space, time = FrameConv(in_channels=3, out_channels=4).double(), CausalConv(channels=4).double()
    x = torch.rand(2, 5, 6, 7, 3, dtype=torch.float64)
    kernel = torch.einsum("omtz,miyx->oityx", time.conv.weight, space.conv.weight)
    bias = time.conv.bias + torch.einsum("omtz,m->o", time.conv.weight, space.conv.bias)
    padded = torch.cat([x[:, :1], x[:, :1], x], dim=1).movedim(-1, 1)
    expected = F.conv3d(padded, kernel, bias, padding=(0, 1, 1)).movedim(1, -1)
    torch.testing.assert_close(time(space(x), None), expected, rtol=0, atol=1e-12)


def test_a_resting_first_frame_is_what_was_before():
    conv = CausalConv(channels=4).double()
    x = torch.rand(1, 3, 2, 2, 4, dtype=torch.float64)
    longer = torch.cat([x[:, :1].expand(-1, 2, -1, -1, -1), x], dim=1)
    torch.testing.assert_close(conv(longer, None)[:, 2:], conv(x, None))


@settings(deadline=None, max_examples=20)
@given(time=st.integers(1, 3), space=st.integers(1, 3), begins=st.booleans())
def test_split_undoes_merged(time, space, begins):
    x = torch.rand(2, (1 if begins else 0) + 2 * time, 2 * space, 3 * space, 5)
    small = merged(x, time, space, begins)
    assert small.shape == (2, 2 + begins, 2, 3, 5 * time * space**2)
    assert torch.equal(split(small, time, space, begins), x)


def test_untrained_resampling_keeps_means_and_copies():
    merge = Merge(in_channels=4, out_channels=8, time=2, space=2)
    apart = Split(in_channels=8, out_channels=4, time=2, space=2)
    for linear in (merge.linear, apart.linear):
        torch.nn.init.zeros_(linear.weight)
        torch.nn.init.zeros_(linear.bias)
    x = torch.full((1, 5, 4, 4, 4), 0.5)
    assert torch.equal(merge(x, True), torch.full((1, 3, 2, 2, 8), 0.5))
    assert torch.equal(apart(merge(x, True), True), x)


def test_an_untrained_block_is_the_identity():
    x = torch.rand(1, 2, 3, 3, 4)
    assert torch.equal(ResidualBlock(channels=4)(x, None), x)


def test_the_training_pass():
    model = tokenizer().train()
    video = clip()
    made = model.reconstruct(video, random())
    assert made.video.shape == video.shape
    assert made.latents.shape == (2, 3, 3, 2, 3)
    (F.mse_loss(made.video, video) + made.loss).backward()
    still = [name for name, p in model.named_parameters() if p.grad is None or not p.grad.abs().sum()]
    assert still == []
    assert model.last_layer.grad is not None


def test_latents_of_the_training_pass_are_those_of_encode():
    model = tokenizer()
    torch.testing.assert_close(model.reconstruct(clip(), random()).latents, model.encode(clip()))


def test_without_noise_decode_gives_the_training_pass_clamped():
    model = tokenizer()
    with torch.no_grad():
        model.encoder.output.conv.weight[3:] = 0
        model.encoder.output.conv.bias[3:] = LOG_VARIANCES[0]
        model.decoder.output.conv.weight *= 10
        made = model.reconstruct(clip(), random())
        assert made.video.min() < 0
        assert made.video.max() > 1
        again = model.decode(model.encode(clip()))
    torch.testing.assert_close(again, made.video.clamp(0, 1), rtol=0, atol=1e-4)


def test_noise_belongs_to_the_clip():
    model = tokenizer()
    both = model.reconstruct(clip(), random()).video
    second = model.reconstruct(clip()[1:], random(size=1, first=1)).video
    torch.testing.assert_close(both[1:], second)
    assert torch.equal(both, model.reconstruct(clip(), random()).video)
    assert not torch.allclose(both, model.reconstruct(clip(), random(step=1)).video)


def test_divergence_is_that_of_torch():
    moments = torch.randn(2, 3, 4, 5, 6)
    posterior = posterior_of(moments)
    normal = torch.distributions.Normal(posterior.mean, (0.5 * posterior.log_variance).exp())
    standard = torch.distributions.Normal(0.0, 1.0)
    expected = torch.distributions.kl_divergence(normal, standard).sum(-1).mean()
    torch.testing.assert_close(divergence(posterior), expected)


def test_training_makes_latents_of_unit_variance():
    model = tokenizer()
    model.statistics = ChannelStatistics(channels=3, decay=0.99).double()
    model.train()
    for step in range(3):
        model.reconstruct(clip(), random(step=step))
    model.eval()
    latents = model.encode(clip())
    torch.testing.assert_close(latents.mean(dim=(0, 1, 3, 4)), torch.zeros(3).double(), rtol=0, atol=1e-9)
    torch.testing.assert_close(latents.std(dim=(0, 1, 3, 4), correction=0), torch.ones(3).double())
    before = model.statistics.mean.clone()
    model.reconstruct(1 - clip(), random())
    model.train().encode(1 - clip())
    assert torch.equal(model.statistics.mean, before)


def test_statistics_begin_as_means_of_all_and_then_forget():
    statistics = ChannelStatistics(channels=2, decay=0.75)
    batches = torch.randn(4, 10, 2) * torch.tensor([1.0, 3.0]) + 2
    for batch in batches:
        statistics.update(batch)
    rows = batches.flatten(0, 1)
    torch.testing.assert_close(statistics.mean, rows.mean(0))
    torch.testing.assert_close(statistics.std, rows.std(0, correction=0))
    torch.testing.assert_close(statistics.restored(statistics.normalised(rows)), rows)
    statistics.update(torch.zeros(10, 2))
    torch.testing.assert_close(statistics.mean, 0.75 * rows.mean(0))
    copy = ChannelStatistics(channels=2, decay=0.75)
    copy.load_state_dict(statistics.state_dict())
    assert torch.equal(copy.std, statistics.std)


def test_statistics_are_those_of_all_ranks(monkeypatch):
    here, there = torch.randn(6, 2), torch.randn(4, 2) + 1
    one = ChannelStatistics(channels=2, decay=0.9)
    one.update(torch.cat([here, there]))
    sums = torch.stack([torch.ones(4, 2), there, there.square()]).sum(dim=1)
    monkeypatch.setattr(channel_statistics, "sum_over_ranks", lambda local: local + sums)
    two = ChannelStatistics(channels=2, decay=0.9)
    two.update(here)
    torch.testing.assert_close(two.mean, one.mean)
    torch.testing.assert_close(two.std, one.std)


def test_a_channel_that_says_nothing_stays_finite():
    statistics = ChannelStatistics(channels=1, decay=0.9)
    statistics.update(torch.full((5, 1), 3.0))
    assert torch.isfinite(statistics.normalised(torch.full((2, 1), 3.0))).all()


def test_full_precision_comes_back_from_autocast():
    model = tokenizer().float()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        made = model.reconstruct(clip(dtype=torch.float32), random())
        latents = model.encode(clip(dtype=torch.float32))
    assert {made.video.dtype, made.latents.dtype, made.loss.dtype, latents.dtype} == {torch.float32}


def test_settings_say_what_weights_do_not():
    told = tokenizer().settings()
    assert told["patch"] == "1x2"
    assert told["halvings"] == "time, both"
    assert all(isinstance(value, str | int | float | bool) for value in told.values())


def test_it_learns():
    torch.manual_seed(0)
    model = CausalVAE(**(SIZES | {"widths": [16, 32, 32]}))
    ramp = torch.linspace(0, 1, 8)[:, None, None, None, None]
    video = (clip(b=1, t=5, dtype=torch.float32) > 0.7) * ramp  # 8 brightnesses of one drawn picture
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    losses = []
    for step in range(40):
        made = model.reconstruct(video, random(size=8, step=step))
        loss = F.mse_loss(made.video, video) + made.loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.3 * video.var().item() < losses[0]
