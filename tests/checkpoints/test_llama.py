"""Our decoder with weights of transformers' Llama gives its logits, and the way back too."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from checkpoints.llama import Llama, fill, load, save
from checkpoints.own import CheckpointError
from components.attention.rope import Rope
from components.backbones.causal_decoder import CausalDecoder
from components.vocabularies.table import Table

transformers = pytest.importorskip("transformers")

TOKENS = torch.randint(0, 61, (2, 19), generator=torch.Generator().manual_seed(0))


def theirs(**changes):
    settings = dict(vocab_size=61, hidden_size=32, intermediate_size=48, num_hidden_layers=2)
    settings |= dict(num_attention_heads=4, num_key_value_heads=2, rms_norm_eps=1e-6)
    settings |= dict(rope_parameters={"rope_type": "default", "rope_theta": 5e4}, tie_word_embeddings=False)
    torch.manual_seed(0)
    config = transformers.LlamaConfig(attn_implementation="eager", **settings | changes)
    model = transformers.LlamaForCausalLM(config).eval()
    for name, parameter in model.named_parameters():  # first norms are all one, first biases all zero
        if parameter.ndim == 1:
            torch.nn.init.normal_(parameter, mean=float("norm" in name), std=0.3)
        else:
            torch.nn.init.normal_(parameter, std=0.2)
    return model


@torch.no_grad()
def logits(model):
    if isinstance(model, Llama):
        embedded = model.text.tokens(TOKENS)
        return model.text.head(model.decoder(embedded))
    return model(TOKENS).logits


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("llama")
    theirs().save_pretrained(path)
    return path


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"num_key_value_heads": 4},
        {"attention_bias": True},
        {"tie_word_embeddings": True},
        {"rope_parameters": {"rope_type": "default", "rope_theta": 5e7}},
    ],
    ids=["grouped", "plain", "biases", "tied", "long"],
)
def test_logits_are_those_of_transformers_both_ways(changes, tmp_path):
    reference = theirs(**changes)
    reference.save_pretrained(tmp_path / "theirs")
    ours = load(path=tmp_path / "theirs")
    torch.testing.assert_close(logits(ours), logits(reference), atol=1e-5, rtol=0)
    save(decoder=ours.decoder, text=ours.text, folder=tmp_path / "ours")
    back = transformers.LlamaForCausalLM.from_pretrained(
        tmp_path / "ours", attn_implementation="eager"
    ).eval()
    torch.testing.assert_close(logits(back), logits(reference), atol=1e-6, rtol=0)
    assert back.config.rope_parameters["rope_theta"] == reference.config.rope_parameters["rope_theta"]


def test_shards_and_a_single_file_hold_the_same(folder, tmp_path):
    theirs().save_pretrained(tmp_path, max_shard_size="20KB")
    assert len(list(tmp_path.glob("*.safetensors"))) > 2
    whole = logits(load(path=folder))
    assert (logits(load(path=tmp_path)) == whole).all()
    assert (logits(load(path=folder / "model.safetensors")) == whole).all()


def test_either_rotary_layout_is_served(folder, tmp_path):
    plain = load(path=folder)
    rope = Rope(theta=5e4, interleaved=True)
    decoder = CausalDecoder(dim=32, num_layers=2, num_heads=4, num_kv_heads=2, hidden_dim=48, rope=rope)
    interleaved = Llama(decoder, Table(size=61, dim=32, chunk=None))
    fill(path=folder, decoder=interleaved.decoder, text=interleaved.text)
    torch.testing.assert_close(logits(interleaved), logits(plain), atol=1e-5, rtol=0)
    assert (decoder.layers[0].attention.qkv.weight != plain.decoder.layers[0].attention.qkv.weight).any()
    save(decoder=decoder, text=interleaved.text, folder=tmp_path)
    written, original = load_file(tmp_path / "model.safetensors"), load_file(folder / "model.safetensors")
    assert written.keys() == original.keys()
    assert all((written[name] == original[name]).all() for name in written)


def test_weights_come_in_the_dtype_asked_for(folder, tmp_path):
    wide, narrow = load(path=folder, dtype=torch.float64), load(path=folder, dtype=torch.bfloat16)
    for a, b in zip(wide.decoder.parameters(), narrow.decoder.parameters(), strict=True):
        assert (a.dtype, b.dtype) == (torch.float64, torch.bfloat16)
        assert (a.to(torch.bfloat16) == b).all()
    save(decoder=narrow.decoder, text=narrow.text, folder=tmp_path)
    back = transformers.LlamaForCausalLM.from_pretrained(tmp_path, dtype="auto")
    assert {parameter.dtype for parameter in back.parameters()} == {torch.bfloat16}


def test_biases_of_one_kind_become_biases_of_both(tmp_path):
    decoder = CausalDecoder(
        dim=32, num_layers=1, num_heads=4, hidden_dim=48, rope=Rope(theta=1e4), attention_bias=True
    )
    torch.nn.init.normal_(decoder.layers[0].attention.qkv.bias)
    ours = Llama(decoder, Table(size=61, dim=32, chunk=None))
    save(decoder=decoder, text=ours.text, folder=tmp_path)
    back = transformers.LlamaForCausalLM.from_pretrained(tmp_path, attn_implementation="eager").eval()
    torch.testing.assert_close(logits(back), logits(ours), atol=1e-5, rtol=0)


def broken(folder: Path, tmp_path: Path, *, config=None, tensors=None) -> Path:
    """A copy of the folder; config's keys replace its own, tensors changes the tensors in place."""
    settings = json.loads((folder / "config.json").read_text()) | (config or {})
    (tmp_path / "config.json").write_text(json.dumps({k: v for k, v in settings.items() if v is not None}))
    weights = load_file(folder / "model.safetensors")
    if tensors is not None:
        tensors(weights)
    save_file(weights, tmp_path / "model.safetensors")
    return tmp_path


UP = "model.layers.1.mlp.up_proj.weight"


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda w: w.pop(UP), f"holds no {UP}"),
        (lambda w: w.pop("lm_head.weight"), "holds no lm_head.weight"),
        (lambda w: w.update({UP: torch.zeros(3, 32)}), rf"{UP} is \(3, 32\), where the model has \(48, 32\)"),
        (lambda w: w.update({UP: torch.zeros(48, 32, dtype=torch.int8)}), f"{UP} is torch.int8"),
        (lambda w: w.update(adapter=torch.zeros(1)), "adapter has no place in the model"),
    ],
)
def test_a_wrong_tensor_is_named_with_its_file(folder, tmp_path, change, says):
    path = broken(folder, tmp_path, tensors=change)
    with pytest.raises(CheckpointError, match=says) as error:
        load(path=path)
    assert str(error.value).startswith(str(tmp_path))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("config", "says"),
    [
        ({"model_type": "mistral"}, "model_type is 'mistral'; CausalDecoder can only be 'llama'"),
        ({"mlp_bias": True}, "mlp_bias is True"),
        ({"rope_parameters": {"rope_type": "linear", "factor": 2.0}}, "rotary positions of type 'linear'"),
        ({"head_dim": 16}, "head_dim is 16, not 32 / 4"),
        ({"hidden_size": None}, "has no hidden_size"),
        ({"vocab_size": None}, "has no vocab_size"),
        ({"num_attention_heads": 5}, "must be num_heads 5"),
    ],
)
def test_what_a_decoder_cannot_be_is_told(folder, tmp_path, config, says):
    path = broken(folder, tmp_path, config=config | ({"head_dim": None} if "head_dim" not in config else {}))
    with pytest.raises(CheckpointError, match=says) as error:
        load(path=path)
    assert "\n" not in str(error.value)


def test_missing_and_broken_files_are_told(folder, tmp_path):
    with pytest.raises(CheckpointError, match=r"config\.json: no such file"):
        load(path=tmp_path)
    broken(folder, tmp_path)
    weights = tmp_path / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    with pytest.raises(CheckpointError, match=r"model\.safetensors: not a readable .* cut short"):
        load(path=tmp_path)
    weights.unlink()
    with pytest.raises(CheckpointError, match=r"holds no weights; expected model\.safetensors"):
        load(path=tmp_path)
    (tmp_path / "pytorch_model.bin").touch()
    with pytest.raises(CheckpointError, match="holds weights of another format"):
        load(path=tmp_path)
    index = tmp_path / "model.safetensors.index.json"
    index.write_text("[]")
    with pytest.raises(CheckpointError, match="not an index of weights"):
        load(path=tmp_path)
    index.write_text(json.dumps({"weight_map": {UP: "model-00002-of-00002.safetensors"}}))
    with pytest.raises(CheckpointError, match=r"model-00002-of-00002\.safetensors: no such file"):
        load(path=tmp_path)
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(CheckpointError, match="not valid JSON"):
        load(path=tmp_path)


def test_buffers_of_old_files_are_passed_over(folder, tmp_path):
    path = broken(
        folder,
        tmp_path,
        tensors=lambda w: w.update({"model.layers.0.self_attn.rotary_emb.inv_freq": torch.zeros(4)}),
    )
    assert (logits(load(path=path)) == logits(load(path=folder))).all()
