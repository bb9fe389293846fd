"""The autoencoders of diffusers behind the contract: equal to diffusers itself, whole and in parts."""

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from checkpoints.build import build
from components.latent_tokenizers import LatentTokenizer
from components.latent_tokenizers.cogvideox_vae import CogVideoXVAE
from components.latent_tokenizers.hunyuan_video_vae import HunyuanVideoVAE
from components.latent_tokenizers.wan_vae import WanVAE
from components.randomness import ClipRandom
from launch.presets import kinds

diffusers = pytest.importorskip("diffusers")

SMALL = {"latent_channels": 4, "block_out_channels": (8, 8, 8, 8), "layers_per_block": 1}
WAN = {"base_dim": 4, "z_dim": 4, "dim_mult": [1, 1, 1, 1], "num_res_blocks": 1}
WAN |= {"latents_mean": [0.1, -0.2, 0.3, 0.0], "latents_std": [1.0, 2.0, 0.5, 3.0]}
WAN_2_2 = {"is_residual": True, "patch_size": 2, "in_channels": 12, "out_channels": 12}
SIZES = {
    WanVAE: WAN,
    HunyuanVideoVAE: SMALL | {"norm_num_groups": 4, "mid_block_add_attention": False},
    CogVideoXVAE: SMALL | {"norm_num_groups": 2},
}
THEIRS = {
    WanVAE: "AutoencoderKLWan",
    HunyuanVideoVAE: "AutoencoderKLHunyuanVideo",
    CogVideoXVAE: "AutoencoderKLCogVideoX",
}
PUBLISHED = {"wan": 126_892_531, "hunyuan_video": 246_478_803, "cogvideox": 215_583_907}  # parameters

families = pytest.mark.parametrize("family", list(SIZES), ids=lambda family: family.__name__)
in_parts = pytest.mark.parametrize("family", [WanVAE, CogVideoXVAE], ids=lambda family: family.__name__)


def tokenizer(family, **changes):
    torch.manual_seed(0)
    return family(config=SIZES[family], **changes).double().eval()


def clip(b=1, t=9, side=16):
    return torch.rand(b, t, 3, side, side, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


def normalised(model, mean):
    if isinstance(model, WanVAE):
        shape = (1, -1, 1, 1, 1)
        return (mean - torch.tensor(WAN["latents_mean"]).view(shape)) / torch.tensor(WAN["latents_std"]).view(
            shape
        )
    return mean * model.vae.config.scaling_factor


@families
def test_equals_diffusers(family):
    model = tokenizer(family)
    assert isinstance(model, LatentTokenizer)
    video = clip()
    latents = model.encode(video)
    assert latents.shape == (1, *model.grid(9, 16, 16)[:1], 4, 2, 2)
    assert latents.is_contiguous()
    assert not latents.requires_grad
    with torch.no_grad():
        mean = model.vae.encode(video.movedim(2, 1) * 2 - 1).latent_dist.mode()
        frames = model.vae.decode(mean).sample.movedim(1, 2)
        torch.testing.assert_close(latents, normalised(model, mean).movedim(1, 2), rtol=0, atol=1e-6)
        expected = ((frames + 1) / 2).clamp(0, 1)
        torch.testing.assert_close(model.decode(latents), expected, rtol=0, atol=1e-6)


def test_equals_diffusers_with_the_layout_of_wan_2_2():
    torch.manual_seed(0)
    model = WanVAE(config=WAN | WAN_2_2).double().eval()
    assert model.space_factor == 16
    video = clip(side=32)
    latents = model.encode(video)
    mean = model.vae.encode(video.movedim(2, 1) * 2 - 1).latent_dist.mode()
    torch.testing.assert_close(latents, normalised(model, mean).movedim(1, 2), rtol=0, atol=1e-6)
    frames = model.vae.decode(mean).sample.movedim(1, 2)
    torch.testing.assert_close(model.decode(latents), ((frames + 1) / 2).clamp(0, 1), rtol=0, atol=1e-6)
    decode = model.decoding()
    parts = torch.cat([decode(latents[:, :2]), decode(latents[:, 2:])], dim=1)
    torch.testing.assert_close(parts, model.decode(latents), rtol=0, atol=1e-12)


@families
def test_weights_come_from_a_folder(family, tmp_path):
    model = tokenizer(family).float()
    model.vae.save_pretrained(tmp_path / "vae")
    read = family(path=str(tmp_path), subfolder="vae").eval()
    assert torch.equal(read.encode(clip().float()), model.encode(clip().float()))
    assert read.settings() == model.settings()
    with torch.device("meta"):
        counted = family(path=str(tmp_path / "vae"))
    assert {p.shape for p in counted.parameters()} == {p.shape for p in model.parameters()}


@in_parts
def test_parts_equal_the_whole(family):
    model = tokenizer(family)
    video = clip(t=25)
    latents = model.encode(video)
    encode, decode = model.encoding(), model.decoding()
    made = torch.cat([encode(video[:, :9]), encode(video[:, 9:])], dim=1)
    torch.testing.assert_close(made, latents, rtol=0, atol=1e-12)
    frames = torch.cat([decode(latents[:, :3]), decode(latents[:, 3:5]), decode(latents[:, 5:])], dim=1)
    torch.testing.assert_close(frames, model.decode(latents), rtol=0, atol=1e-12)


def test_wan_takes_parts_of_any_length_and_never_looks_ahead():
    model = tokenizer(WanVAE)
    assert model.causal
    latents = model.encode(clip())
    encode, decode = model.encoding(), model.decoding()
    made = [encode(part) for part in clip().split([1, 4, 4], dim=1)]
    torch.testing.assert_close(torch.cat(made, dim=1), latents, rtol=0, atol=1e-12)
    frames = torch.cat([decode(part) for part in latents.split(1, dim=1)], dim=1)
    torch.testing.assert_close(frames, model.decode(latents), rtol=0, atol=1e-12)
    torch.testing.assert_close(model.encode(clip()[:, :5]), latents[:, :2], rtol=0, atol=1e-12)


def test_cogvideox_sees_eight_frames_at_once():
    model = tokenizer(CogVideoXVAE)
    assert not model.causal
    latents = model.encode(clip(t=17))
    torch.testing.assert_close(model.encode(clip(t=17)[:, :9]), latents[:, :3], rtol=0, atol=1e-12)
    changed = clip(t=17)
    changed[:, 8] = 0
    assert not torch.allclose(model.encode(changed)[:, 1], latents[:, 1])  # of frames 1 to 4
    assert not torch.allclose(model.encode(clip(t=17)[:, :1])[:, 0], latents[:, 0])
    encode = model.encoding()
    encode(clip())
    with pytest.raises(ValueError, match=r"next part of this video needs k \* 8 frames, not 4"):
        encode(clip(t=4))
    with pytest.raises(ValueError, match="set tiling=false"):
        tokenizer(CogVideoXVAE, tiling=True).decoding()


def test_hunyuan_video_is_not_causal():
    """Its norms span time: what a clip's latents are depends on where it ends."""
    model = tokenizer(HunyuanVideoVAE)
    assert not model.causal
    difference = (model.encode(clip()[:, :5]) - model.encode(clip())[:, :2]).abs().max()
    assert difference > 1e-3
    with pytest.raises(ValueError, match="encode the clip at once"):
        model.encoding()


def test_hunyuan_video_decodes_a_part_with_the_latents_before_it():
    model = tokenizer(HunyuanVideoVAE, overlap=2)
    latents = model.encode(clip(t=13))
    decode = model.decoding()
    frames = [decode(part) for part in latents.split([1, 2, 1], dim=1)]
    assert [part.shape[1] for part in frames] == [1, 8, 4]
    torch.testing.assert_close(frames[1], model.decode(latents[:, :3])[:, 1:])
    torch.testing.assert_close(frames[2], model.decode(latents[:, 1:])[:, -4:])
    with pytest.raises(ValueError, match="overlap is 0"):
        tokenizer(HunyuanVideoVAE, overlap=0)


@families
def test_the_training_pass(family):
    model = tokenizer(family)
    video = 3 * clip(b=2) - 1  # frames far out of range come back so
    made = model.reconstruct(video, ClipRandom(0, 0, first=0, size=2))
    assert made.video.shape == video.shape
    torch.testing.assert_close(made.latents, model.encode(video))
    ((made.video - video).square().mean() + made.loss).backward()
    assert all(p.grad is not None for p in model.parameters())
    assert model.last_layer.grad.abs().sum() > 0
    again = model.reconstruct(video[1:], ClipRandom(0, 0, first=1, size=1))
    torch.testing.assert_close(made.video[1:], again.video)


def test_wan_does_not_clamp_the_training_pass():
    model = tokenizer(WanVAE)
    with torch.no_grad():
        model.last_layer.mul_(100)
        made = model.reconstruct(clip(), ClipRandom(0, 0, first=0, size=1))
    assert made.video.max() > 1.01


@families
def test_sizes_that_do_not_fit_are_one_clear_line(family):
    model = tokenizer(family)
    for shape in [(0, 16, 16), (4, 16, 16), (9, 12, 16), (9, 16, 0)]:
        with pytest.raises(ValueError, match=r"1 \+ k \* . frames with sides in multiples of 8") as error:
            model.grid(*shape)
        assert "\n" not in str(error.value)
    with pytest.raises(ValueError, match="multiples of 8"):
        model.encode(clip(side=12))


@families
def test_what_cannot_be_made_is_one_clear_line(family, tmp_path):
    with pytest.raises(ValueError, match=r"needs either path .* or config"):
        family()
    for wrong in ({"path": str(tmp_path)}, {"config": {"no_such_size": 1}}):
        with pytest.raises(ValueError, match=f"diffusers makes no {THEIRS[family]} of it") as error:
            family(**wrong)
        assert "\n" not in str(error.value)


@families
def test_settings_are_plain_and_tell_of_tiles(family):
    told = tokenizer(family).settings()
    assert all(isinstance(value, str | int | float | bool) for value in told.values())
    if family is not WanVAE:
        assert tokenizer(family, tiling=True).settings() != told


@pytest.mark.parametrize("name", list(PUBLISHED))
def test_published_sizes_are_counted_without_files(name):
    node = kinds()["components.latent_tokenizers"].nodes[name]
    with torch.device("meta"):
        model = build(node)
    assert sum(p.numel() for p in model.parameters()) == PUBLISHED[name]
    assert (model.channels, model.time_factor, model.space_factor) == (16, 4, 8)
    with FakeTensorMode(allow_non_fake_inputs=True):
        assert sum(p.numel() for p in build(node).parameters()) == PUBLISHED[name]
