"""Our VQGAN against diffusers.VQModel on the same random weights."""

import json

import pytest
import torch
from safetensors.torch import load_file, save_file

from checkpoints import diffusers_vq
from checkpoints.own import CheckpointError
from components.quantizers.fsq import FiniteScalarQuantizer
from components.quantizers.vq import VectorQuantizer
from components.tokenizers.vqgan import VQGAN

VQModel = pytest.importorskip("diffusers").VQModel

WIDTHS = (8, 16, 16, 24, 40)
PLAIN = {
    "down_block_types": ("DownEncoderBlock2D",) * 5,
    "up_block_types": ("UpDecoderBlock2D",) * 5,
    "mid_block_add_attention": False,
}
ATTENDING = {
    "down_block_types": ("DownEncoderBlock2D",) * 3 + ("AttnDownEncoderBlock2D",) * 2,
    "up_block_types": ("AttnUpDecoderBlock2D",) * 2 + ("UpDecoderBlock2D",) * 3,
    "mid_block_add_attention": True,
}


def reference(blocks=PLAIN, **changes):
    torch.manual_seed(0)
    sizes = {
        "block_out_channels": WIDTHS,
        "layers_per_block": 2,
        "latent_channels": 12,
        "vq_embed_dim": 6,
        "num_vq_embeddings": 50,
        "norm_num_groups": 8,
        "lookup_from_codebook": True,
    }
    model = VQModel(**(sizes | blocks | changes))
    with torch.no_grad():  # gains of 1, biases of 0 and a tiny codebook would hide a wrong place
        for name, parameter in model.named_parameters():
            if "norm" in name or name.endswith("bias"):
                parameter.add_(0.1 * torch.randn_like(parameter))
        torch.nn.init.normal_(model.quantize.embedding.weight, std=0.3)
    return model.eval()


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    root = tmp_path_factory.mktemp("vq")
    for name, blocks in {"plain": PLAIN, "attending": ATTENDING}.items():
        reference(blocks).save_pretrained(root / name)
    return root


@pytest.fixture(params=["plain", "attending"])
def pair(request, folders):
    """Both in float64: float32 alone makes 2e-5 of difference."""
    folder = folders / request.param
    theirs = VQModel.from_pretrained(folder, low_cpu_mem_usage=False)
    return theirs.double(), diffusers_vq.load(folder=folder).double().eval()


def clip(b=2, t=2, width=48):
    generator = torch.Generator().manual_seed(1)
    return torch.rand(b, t, 3, 32, width, generator=generator, dtype=torch.float64)


@torch.no_grad()
def test_latents_and_codes_are_those_of_diffusers(pair):
    theirs, ours = pair
    frames = clip().flatten(0, 1)
    latents = theirs.encode(2 * frames - 1).latents
    torch.testing.assert_close(ours.latents(frames).movedim(-1, 1), latents, rtol=0, atol=1e-9)
    codes = theirs.quantize(latents)[2][2].view(2, 2, 2, 3)
    assert torch.equal(ours.encode(clip()), codes)
    assert len(codes.unique()) > 3


@torch.no_grad()
def test_frames_from_codes_are_those_of_diffusers(pair):
    theirs, ours = pair
    codes = torch.randint(0, 50, (2, 2, 2, 3), generator=torch.Generator().manual_seed(2))
    expected = theirs.decode(codes.flatten(), force_not_quantize=True, shape=(4, 2, 3, 6)).sample
    frames = ours.frames(ours.quantizer.lookup(codes.flatten(0, 1)))
    torch.testing.assert_close(2 * frames - 1, expected, rtol=0, atol=1e-9)
    torch.testing.assert_close(ours.decode(codes).flatten(0, 1), ((expected + 1) / 2).clamp(0, 1))


def test_gradients_are_those_of_diffusers(pair):
    """All but the codebook's, which follows running means here and a loss there."""
    theirs, ours = pair
    video = clip(1, 1, 32)
    ours.reconstruct(video).video.square().sum().backward()
    sample = theirs(2 * video.flatten(0, 1) - 1).sample
    ((sample + 1) / 2).square().sum().backward()
    gradients, places = dict(theirs.named_parameters()), diffusers_vq._places(ours)
    for name, parameter in ours.named_parameters():
        expected = torch.cat([gradients[place].grad for place in places[name][0]])
        torch.testing.assert_close(parameter.grad, expected, rtol=1e-8, atol=1e-9, msg=name)


def test_a_folder_comes_back_as_it_was(pair, folders, tmp_path):
    theirs, ours = pair
    diffusers_vq.save(ours, tmp_path / "back")
    back = VQModel.from_pretrained(tmp_path / "back", low_cpu_mem_usage=False)
    assert {k: v for k, v in back.config.items() if k[0] != "_"} == {
        k: v for k, v in theirs.config.items() if k[0] != "_"
    }
    for name, tensor in theirs.state_dict().items():
        assert torch.equal(back.state_dict()[name].to(tensor.dtype), tensor), name


def test_the_papers_size_has_as_many_parameters():
    sizes = {"block_out_channels": (128, 256, 256, 512, 768), "latent_channels": 64, "vq_embed_dim": 64}
    with torch.device("meta"):
        theirs = VQModel(**PLAIN, **sizes, layers_per_block=2, num_vq_embeddings=8192, norm_num_groups=32)
        ours = VQGAN(quantizer=VectorQuantizer(codebook_size=8192, dim=64, update="gradient"))
    numbers = [sum(parameter.numel() for parameter in model.parameters()) for model in (theirs, ours)]
    assert numbers == [146_244_675, 146_244_675]


def test_a_codebook_survives_the_first_steps_of_training(folders):
    tokenizer = diffusers_vq.load(folder=folders / "plain", frames_at_once=2)
    before = tokenizer.quantizer.codebook.clone()
    tokenizer.train().reconstruct(clip().float())
    assert (tokenizer.quantizer.codebook - before).norm(dim=1).max() < 0.5 * before.norm(dim=1).mean()


@pytest.mark.parametrize(
    ("broken", "told"),
    [
        (lambda state: state.pop("encoder.conv_in.bias"), "holds no encoder.conv_in.bias"),
        (lambda state: state.update(extra=torch.zeros(1)), "no place for extra"),
        (
            lambda state: state.update({"quant_conv.bias": torch.zeros(7)}),
            r"quant_conv.bias is \(7,\), where the tokenizer has \(6,\)",
        ),
        (
            lambda state: state.update({"quantize.embedding.weight": torch.zeros(9, 6)}),
            r"quantize.embedding.weight is \(9, 6\), where the tokenizer has \(50, 6\)",
        ),
    ],
)
def test_a_mismatched_file_is_one_line_naming_the_tensor(folders, tmp_path, broken, told):
    (tmp_path / "config.json").write_text((folders / "plain" / "config.json").read_text())
    state = load_file(folders / "plain" / diffusers_vq.WEIGHTS)
    broken(state)
    save_file(state, tmp_path / diffusers_vq.WEIGHTS)
    with pytest.raises(CheckpointError, match=told) as raised:
        diffusers_vq.load(folder=tmp_path)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"act_fn": "relu"}, "act_fn is 'relu'"),
        ({"norm_type": "spatial"}, "norm_type is 'spatial'"),
        ({"_class_name": "AutoencoderKL"}, "_class_name is 'AutoencoderKL'"),
        ({"up_block_types": ["AttnUpDecoderBlock2D"] * 5}, "mirror each other"),
    ],
)
def test_what_a_vqgan_cannot_be_is_one_line(folders, tmp_path, changes, told):
    config = json.loads((folders / "plain" / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(config | changes))
    with pytest.raises(CheckpointError, match=told):
        diffusers_vq.load(folder=tmp_path)


def test_missing_and_truncated_files_are_one_line(folders, tmp_path):
    with pytest.raises(CheckpointError, match=r"config.json: no such file"):
        diffusers_vq.load(folder=tmp_path)
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(CheckpointError, match="not valid JSON"):
        diffusers_vq.load(folder=tmp_path)
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(CheckpointError, match="has no block_out_channels"):
        diffusers_vq.load(folder=tmp_path)
    (tmp_path / "config.json").write_text((folders / "plain" / "config.json").read_text())
    with pytest.raises(CheckpointError, match="0 other"):
        diffusers_vq.load(folder=tmp_path)
    whole = (folders / "plain" / diffusers_vq.WEIGHTS).read_bytes()
    (tmp_path / diffusers_vq.WEIGHTS).write_bytes(whole[: len(whole) // 2])
    with pytest.raises(CheckpointError, match="cut short"):
        diffusers_vq.load(folder=tmp_path)


def test_only_a_plain_codebook_can_be_saved(tmp_path):
    quantizer = FiniteScalarQuantizer(levels=[3, 3], dim=4)
    tokenizer = VQGAN(quantizer=quantizer, channels=4, multipliers=(1, 1), blocks=1, norm_groups=2)
    with pytest.raises(CheckpointError, match="FiniteScalarQuantizer"):
        diffusers_vq.save(tokenizer, tmp_path)
