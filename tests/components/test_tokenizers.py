import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from checkpoints.build import build
from components.quantizers.fsq import FiniteScalarQuantizer
from components.quantizers.lfq import LookupFreeQuantizer
from components.quantizers.vq import VectorQuantizer
from components.tokenizers import VideoTokenizer
from components.tokenizers.layers import ResidualBlock, SpatialAttention, Upsample
from components.tokenizers.vqgan import VQGAN
from launch.presets import kinds


def tokenizer(**changes):
    torch.manual_seed(0)
    sizes = {"channels": 4, "multipliers": [1, 2, 2], "blocks": 1, "latent_channels": 6, "norm_groups": 2}
    quantizer = changes.pop("quantizer", None) or VectorQuantizer(codebook_size=20, dim=5)
    return VQGAN(quantizer=quantizer, **(sizes | changes))


def clip(b=2, t=3, height=16, width=24):
    return torch.rand(b, t, 3, height, width, generator=torch.Generator().manual_seed(1))


def drawn_codes(*shape):
    return torch.randint(0, 20, shape, generator=torch.Generator().manual_seed(2))


def preset(name):
    node = kinds()["components.tokenizers"].nodes[name]
    return build(node | {"quantizer": node["quantizer"] | {"seed": 0}})


def numbers(module):
    return sum(parameter.numel() for parameter in module.parameters())


def test_has_the_papers_number_of_parameters():
    with torch.device("meta"):
        model = preset("vqgan_lwm")
    assert model.grid(30, 256, 256) == (30, 16, 16)
    assert numbers(model) + model.quantizer.codebook.numel() == 146_244_675  # the codebook is a buffer


def test_videoworlds_sizes_fit_the_same_parts():
    with torch.device("meta"):
        model = VQGAN(
            quantizer=FiniteScalarQuantizer(levels=[8, 8, 8, 5, 5, 5], dim=256),
            multipliers=(1, 1, 1, 2, 2, 4, 4),
            latent_channels=256,
            attention_levels=(6,),
            middle_attention=True,
        )
    assert model.codebook_size == 64_000
    assert model.grid(1, 256, 256) == (1, 4, 4)


@pytest.mark.parametrize(
    "quantizer",
    [
        VectorQuantizer(codebook_size=16, dim=5),
        FiniteScalarQuantizer(levels=[4, 4], dim=5),
        LookupFreeQuantizer(codebook_size=16, dim=5),
    ],
)
def test_any_quantizer_fits(quantizer):
    model = tokenizer(quantizer=quantizer, attention_levels=[1], middle_attention=True)
    assert isinstance(model, VideoTokenizer)
    assert model.codebook_size == 16
    video = clip()
    result = model.reconstruct(video)
    assert result.video.shape == video.shape
    assert result.codes.shape == (2, *model.grid(3, 16, 24)) == (2, 3, 4, 6)
    assert 0 <= result.codes.min() <= result.codes.max() < 16
    assert result.loss.ndim == 0


@pytest.mark.parametrize("shape", [(0, 16, 16), (3, 18, 16), (3, 16, 2)])
def test_sizes_that_do_not_fit_are_one_clear_line(shape):
    with pytest.raises(ValueError, match="multiples of 4"):
        tokenizer().grid(*shape)
    if shape[0]:
        with pytest.raises(ValueError, match="multiples of 4"):
            tokenizer().encode(torch.rand(1, shape[0], 3, *shape[1:]))


def test_impossible_sizes_are_refused_when_built():
    with pytest.raises(ValueError, match="level 3, but the last level is 2"):
        tokenizer(attention_levels=[0, 3])
    with pytest.raises(ValueError, match="3 norm groups do not divide 4 channels"):
        tokenizer(norm_groups=3)


def test_codes_give_the_frames_of_the_training_pass_clamped():
    model = tokenizer().eval()
    with torch.no_grad():
        model.decoder.output.weight.mul_(20)  # far out of range
        result = model.reconstruct(clip())
        assert result.video.min() < -0.01
        assert result.video.max() > 1.01
        assert torch.equal(model.encode(clip()), result.codes)
        torch.testing.assert_close(model.decode(result.codes), result.video.clamp(0, 1))


@pytest.mark.parametrize("frames_at_once", [1, 4, 100])
def test_chunks_change_nothing(frames_at_once):
    whole, chunked = tokenizer().eval(), tokenizer(frames_at_once=frames_at_once).eval()
    assert torch.equal(whole.encode(clip()), chunked.encode(clip()))
    codes = drawn_codes(2, 3, 4, 6)
    torch.testing.assert_close(whole.decode(codes), chunked.decode(codes))


def test_frames_do_not_see_each_other():
    model = tokenizer(attention_levels=[2], middle_attention=True).eval()
    changed = clip()
    changed[:, 1] = 1 - changed[:, 1]
    assert torch.equal(model.latents(clip()[:, 0]), model.latents(changed[:, 0]))
    assert torch.equal(model.encode(clip())[:, [0, 2]], model.encode(changed)[:, [0, 2]])
    codes = drawn_codes(1, 2, 4, 6)
    other = torch.cat([codes[:, :1], 19 - codes[:, 1:]], dim=1)
    frames, others = model.decode(codes), model.decode(other)
    torch.testing.assert_close(frames[:, 0], others[:, 0])
    assert (frames[:, 1] - others[:, 1]).abs().max() > 1e-3


def test_encode_never_changes_a_codebook_that_reconstruct_changes():
    model = tokenizer().train()
    before = {name: tensor.clone() for name, tensor in model.quantizer.state_dict().items()}
    assert not model.encode(clip()).is_floating_point()
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.quantizer.state_dict().items())
    assert model.quantizer.training
    model.reconstruct(clip())
    assert not torch.equal(model.quantizer.codebook, before["codebook"])
    model.quantizer.eval()
    model.encode(clip())
    assert not model.quantizer.training


def test_gradients_reach_all_weights_and_the_video():
    quantizer = VectorQuantizer(codebook_size=20, dim=5, update="gradient")
    model = tokenizer(quantizer=quantizer, attention_levels=[1], middle_attention=True)
    video = clip().requires_grad_()
    result = model.reconstruct(video)
    (result.video.square().mean() + result.loss).backward()
    assert video.grad.abs().sum() > 0
    assert all(parameter.grad is not None for parameter in model.parameters())
    assert model.last_layer.grad.abs().sum() > 0
    assert any(parameter is model.last_layer for parameter in model.parameters())


def test_autocast_gives_frames_in_the_weights_precision():
    model = tokenizer().eval()
    with torch.autocast("cpu", torch.bfloat16):
        assert model.decode(drawn_codes(1, 1, 4, 4)).dtype == torch.float32
        assert model.reconstruct(clip()).video.dtype == torch.float32


def test_a_few_steps_of_training_help():
    model = preset("vqgan")
    assert model.grid(16, 32, 32) == (16, 4, 4)
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    video = torch.zeros(1, 4, 3, 32, 32)
    for t in range(4):
        video[:, t, :, 8:20, 4 * t : 4 * t + 12] = torch.tensor([0.9, 0.2, 0.5]).view(3, 1, 1)
    losses = []
    for _ in range(25):
        result = model.reconstruct(video)
        losses.append((result.video - video).abs().mean())
        optimizer.zero_grad()
        (losses[-1] + result.loss).backward()
        optimizer.step()
    assert losses[-1] < 0.5 * losses[0]


@settings(max_examples=15, deadline=None)
@given(n=st.integers(1, 3), height=st.integers(1, 5), width=st.integers(1, 5), channels=st.integers(1, 4))
def test_upsample_is_nearest_and_a_convolution(n, height, width, channels):
    layer = Upsample(channels=channels).double()
    x = torch.randn(n, channels, height, width, dtype=torch.float64)
    expected = layer.conv(F.interpolate(x, scale_factor=2.0, mode="nearest"))
    torch.testing.assert_close(layer(x), expected, rtol=0, atol=1e-12)


def test_attention_is_the_dense_formula():
    torch.manual_seed(0)
    layer = SpatialAttention(channels=6, norm_groups=3).double()
    x = torch.randn(2, 6, 3, 4, dtype=torch.float64)
    pixels = layer.norm(x).flatten(2).mT
    q, k, v = (
        pixels @ w.T + b for w, b in zip(layer.qkv.weight.chunk(3), layer.qkv.bias.chunk(3), strict=True)
    )
    mixed = (q @ k.mT / 6**0.5).softmax(-1) @ v
    expected = x + layer.output(mixed).mT.view(2, 6, 3, 4)
    torch.testing.assert_close(layer(x), expected, rtol=0, atol=1e-12)


def test_a_residual_block_keeps_what_it_adds_to():
    layer = ResidualBlock(in_channels=4, out_channels=4, norm_groups=2)
    torch.nn.init.zeros_(layer.conv2.weight)
    torch.nn.init.zeros_(layer.conv2.bias)
    x = torch.randn(1, 4, 5, 5)
    assert torch.equal(layer(x), x)
    assert ResidualBlock(in_channels=4, out_channels=6, norm_groups=2)(x).shape == (1, 6, 5, 5)
