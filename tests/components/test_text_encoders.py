"""Text encoders: padding says nothing, pretrained ones equal the pipelines they stand for."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from checkpoints.build import build
from components.frozen_network import FrozenNetwork
from components.text_encoders import TextEncoder, TextFeatures
from components.text_encoders.llama_clip import AFTER, BEFORE, LlamaClipEncoder
from components.text_encoders.t5 import T5Encoder
from components.text_encoders.trained import TrainedTextEncoder
from components.text_tokenizers.bytes import ByteTokenizer
from launch.presets import kinds

TEXTS = ["a red ball moves to the left", "", "blue"]


def trained(length: int = 32) -> TrainedTextEncoder:
    torch.manual_seed(0)
    return TrainedTextEncoder(tokenizer=ByteTokenizer(), dim=16, num_layers=2, num_heads=2, length=length)


@pytest.mark.parametrize("name", kinds()["components.text_encoders"].nodes)
def test_presets_need_no_files(name: str):
    node = kinds()["components.text_encoders"].nodes[name]
    encoder = build(node | ({"path": "nowhere"} if "path" in node else {}))
    assert isinstance(encoder, TextEncoder)
    assert encoder.frozen == ("path" in node)


@torch.no_grad()
def test_trained():
    encoder = trained()
    assert isinstance(encoder, TextEncoder)
    assert not encoder.frozen
    features = encoder(TEXTS)
    assert features.tokens.shape == (3, 1 + len(TEXTS[0]), 16)
    assert features.mask.sum(dim=1).tolist() == [1 + len(text) for text in TEXTS]  # the beginning alone of ""
    assert features.tokens[~features.mask].count_nonzero() == 0
    for i, text in enumerate(TEXTS):
        alone = encoder([text])
        real = features.mask[i]
        torch.testing.assert_close(features.tokens[i][real], alone.tokens[0], atol=1e-6, rtol=1e-5)
        torch.testing.assert_close(features.pooled[i], alone.pooled[0], atol=1e-6, rtol=1e-5)
    assert (features.pooled[0] - features.pooled[2]).abs().max() > 1e-3


def test_trained_learns_and_cuts():
    encoder = trained(length=5)
    features = encoder(["abcdefgh", "abcd"])
    torch.testing.assert_close(features.tokens[0], features.tokens[1])
    (features.tokens.square().sum() + features.pooled.sum()).backward()
    assert all(weight.grad is not None for weight in encoder.parameters())
    with pytest.raises(ValueError, match="num_heads 3"):
        TrainedTextEncoder(tokenizer=ByteTokenizer(), dim=16, num_layers=1, num_heads=3, length=5)


@torch.no_grad()
def test_where_takes_whole_texts():
    encoder = trained()
    features, empty = encoder(TEXTS), encoder([""])
    chosen = features.where(torch.tensor([True, False, False]), empty)
    torch.testing.assert_close(chosen, encoder(["", *TEXTS[1:]]).filled(chosen.tokens.shape[1]))
    swapped = empty.where(torch.tensor([True]), encoder(["abc"]))
    assert swapped.mask.sum() == 4
    everything = features.where(torch.ones(3, dtype=torch.bool), features)
    assert isinstance(everything, TextFeatures)
    torch.testing.assert_close(everything, features)


def save_tokenizer(folder: Path, template: str, specials: list[str], end: str) -> None:
    """A byte-level tokenizer whose texts stand in template."""
    tokenizers = pytest.importorskip("tokenizers")
    transformers = pytest.importorskip("transformers")
    names = ["<pad>", *specials]
    model = tokenizers.Tokenizer(tokenizers.models.BPE())
    model.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    trainer = tokenizers.trainers.BpeTrainer(
        vocab_size=320,
        special_tokens=names,
        initial_alphabet=tokenizers.pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    model.train_from_iterator([BEFORE, *TEXTS], trainer)
    model.post_processor = tokenizers.processors.TemplateProcessing(
        single=template, special_tokens=[(name, names.index(name)) for name in names]
    )
    whole = transformers.PreTrainedTokenizerFast(tokenizer_object=model, pad_token="<pad>", eos_token=end)
    whole.save_pretrained(folder)


@pytest.fixture(scope="module")
def t5_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    transformers = pytest.importorskip("transformers")
    folder = tmp_path_factory.mktemp("t5")
    save_tokenizer(folder / "tokenizer", "$A </s>", ["</s>"], "</s>")
    torch.manual_seed(0)
    config = transformers.UMT5Config(
        vocab_size=320, d_model=16, d_kv=8, d_ff=32, num_layers=2, num_heads=2, dropout_rate=0.0
    )
    transformers.UMT5EncoderModel(config).save_pretrained(folder / "text_encoder")
    return folder


@pytest.fixture(scope="module")
def hunyuan_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    transformers = pytest.importorskip("transformers")
    folder = tmp_path_factory.mktemp("hunyuan")
    headers = ["<|begin|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"]
    save_tokenizer(folder / "tokenizer", "<|begin|> $A", headers, "<|eot_id|>")
    save_tokenizer(folder / "tokenizer_2", "<s> $A </s>", ["<s>", "</s>"], "</s>")
    torch.manual_seed(0)
    sizes: dict[str, Any] = dict(
        vocab_size=320, hidden_size=16, intermediate_size=32, num_attention_heads=2, num_hidden_layers=4
    )
    llama = transformers.LlamaConfig(**sizes, max_position_embeddings=1024, pad_token_id=0)
    clip = transformers.CLIPTextConfig(**sizes | {"hidden_size": 8}, eos_token_id=2, pad_token_id=0)
    transformers.LlamaModel(llama).save_pretrained(folder / "text_encoder")
    transformers.CLIPTextModel(clip).save_pretrained(folder / "text_encoder_2")
    return folder


def t5(folder: Path, **changes: Any) -> T5Encoder:
    return T5Encoder(path=str(folder), dim=16, **{"length": 24, "precision": "float32"} | changes)


def parts(encoder: Any, *names: str, folder: Path) -> SimpleNamespace:
    """What a pipeline's method for prompts reads of the pipeline."""
    transformers = pytest.importorskip("transformers")
    network, tokenizer = names
    loaded = transformers.AutoTokenizer.from_pretrained(folder, subfolder=tokenizer)
    return SimpleNamespace(
        **{network: encoder, tokenizer: loaded},
        _execution_device=torch.device("cpu"),
        transformer=None,
    )


def test_umt5_equals_wans_pipeline(t5_folder: Path):
    diffusers = pytest.importorskip("diffusers")
    encoder = t5(t5_folder)
    assert isinstance(encoder, TextEncoder)
    features = encoder(TEXTS)
    pipeline = parts(encoder.encoder.network, "text_encoder", "tokenizer", folder=t5_folder)
    expected = diffusers.WanPipeline._get_t5_prompt_embeds(pipeline, TEXTS, max_sequence_length=24)
    torch.testing.assert_close(features.tokens, expected.detach(), atol=1e-5, rtol=1e-5)
    assert features.mask[1].sum() == 1  # the end of the empty text
    assert features.pooled.shape == (3, 0)
    assert not features.tokens.requires_grad


def test_padding_that_is_seen_equals_cogvideox(t5_folder: Path):
    diffusers = pytest.importorskip("diffusers")
    encoder = t5(t5_folder, padding="seen")
    features = encoder(TEXTS)
    pipeline = parts(encoder.encoder.network, "text_encoder", "tokenizer", folder=t5_folder)
    of_prompt = diffusers.CogVideoXPipeline._get_t5_prompt_embeds
    expected = of_prompt(pipeline, TEXTS, max_sequence_length=24, dtype=torch.float32)
    torch.testing.assert_close(features.tokens, expected.detach(), atol=1e-5, rtol=1e-5)
    assert features.mask.all()


def test_llama_and_clip_equal_hunyuans_pipeline(hunyuan_folder: Path):
    diffusers = pytest.importorskip("diffusers")
    encoder = LlamaClipEncoder(path=str(hunyuan_folder), dim=16, pooled_dim=8, length=20, precision="float32")
    assert isinstance(encoder, TextEncoder)
    features = encoder(TEXTS)
    llama = parts(encoder.llama.network, "text_encoder", "tokenizer", folder=hunyuan_folder)
    clip = parts(encoder.clip.network, "text_encoder_2", "tokenizer_2", folder=hunyuan_folder)
    pipeline = diffusers.HunyuanVideoFramepackPipeline
    template = {"template": BEFORE + "{}" + AFTER, "crop_start": len(llama.tokenizer(BEFORE).input_ids)}
    tokens, mask = pipeline._get_llama_prompt_embeds(llama, TEXTS, template, max_sequence_length=20)
    torch.testing.assert_close(features.mask, mask.bool())
    expected = (tokens * mask[..., None]).detach()
    torch.testing.assert_close(features.tokens, expected, atol=1e-5, rtol=1e-5)
    pooled = pipeline._get_clip_prompt_embeds(clip, TEXTS).detach()
    torch.testing.assert_close(features.pooled, pooled, atol=1e-5, rtol=1e-5)
    assert features.mask[1].sum() == 1  # the end of the empty text
    module = __import__(pipeline.__module__, fromlist=["DEFAULT_PROMPT_TEMPLATE"])
    assert module.DEFAULT_PROMPT_TEMPLATE["template"] == template["template"]


def test_weights_stay_out_of_checkpoints(t5_folder: Path):
    encoder = t5(t5_folder)
    empty = encoder([""])
    assert encoder.state_dict() == {}
    assert list(encoder.parameters()) == []
    torch.testing.assert_close(encoder([""]), empty)
    torch.testing.assert_close(encoder([""]).tokens[0], encoder(TEXTS).tokens[1], atol=1e-6, rtol=1e-5)
    half = encoder.to(torch.bfloat16)
    assert half([""]).tokens.dtype == half(TEXTS).tokens.dtype == torch.bfloat16
    with torch.autocast("cpu", torch.bfloat16):
        again = t5(t5_folder)(TEXTS).tokens
    torch.testing.assert_close(again, t5(t5_folder)(TEXTS).tokens, atol=0, rtol=0)


def test_what_validation_met_first_serves_training(t5_folder: Path, hunyuan_folder: Path):
    llama = LlamaClipEncoder(path=str(hunyuan_folder), dim=16, pooled_dim=8, length=19, precision="float32")
    for encoder in (t5(t5_folder), llama):
        with torch.inference_mode():
            encoder([""])
        weight = torch.ones(16, requires_grad=True)
        (encoder([""]).tokens * weight).sum().backward()
        assert weight.grad is not None


def test_settings_tell_weights_and_lengths_apart(t5_folder: Path, tmp_path: Path):
    transformers = pytest.importorskip("transformers")
    settings = t5(t5_folder).settings()
    assert settings == t5(t5_folder).settings()
    assert settings != t5(t5_folder, length=23).settings()
    network = transformers.UMT5EncoderModel.from_pretrained(t5_folder / "text_encoder")
    network.encoder.final_layer_norm.weight.data.add_(0.5)
    network.save_pretrained(tmp_path / "changed")
    changed = t5(t5_folder).encoder
    other = FrozenNetwork(
        loader="AutoModelForTextEncoding", path=str(tmp_path), folder="changed", width=16, precision="float32"
    )
    assert other.digest() != changed.digest()


def test_mistakes_are_named(t5_folder: Path):
    pytest.importorskip("transformers")
    encoder = t5(t5_folder / "nothing")  # building needs no files
    with pytest.raises(ValueError, match="nothing/tokenizer: transformers' AutoTokenizer cannot read it"):
        encoder(["a"])
    wide = T5Encoder(path=str(t5_folder), dim=32, precision="float32")
    with pytest.raises(ValueError, match="features have width 16, not 32"):
        wide(["a"])


def test_siglip_equals_transformers(tmp_path: Path):
    transformers = pytest.importorskip("transformers")
    from components.image_encoders import ImageEncoder
    from components.image_encoders.siglip import SiglipEncoder

    torch.manual_seed(0)
    config = transformers.SiglipVisionConfig(
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        image_size=24,
        patch_size=8,
    )
    tower = transformers.SiglipVisionModel(config).eval()
    tower.save_pretrained(tmp_path / "image_encoder")
    encoder = SiglipEncoder(path=str(tmp_path), dim=16, precision="float32")
    assert isinstance(encoder, ImageEncoder)
    images = torch.rand(2, 3, 36, 52)
    tokens = encoder(images)
    assert tokens.shape == (2, 9, 16)
    processor = transformers.SiglipImageProcessor(size={"height": 24, "width": 24})
    pixels: Tensor = processor(images=list(images), do_rescale=False, return_tensors="pt").pixel_values
    with torch.no_grad():
        expected = tower(pixel_values=pixels).last_hidden_state
    torch.testing.assert_close(
        tokens, expected, atol=1e-2, rtol=1e-2
    )  # interpolation may overshoot [0, 1] there
    assert encoder.settings()["precision"] == "float32"
