"""Public weights, written here by hand at tiny size, come out of the import as the models that they were."""

import pickle
from pathlib import Path

import numpy as np
import pytest
import torch

from checkpoints import diffusers_vq
from checkpoints.llama import Llama
from components.quantizers.vq import VectorQuantizer
from components.tokenizers.vqgan import VQGAN
from launch.import_weights import main
from launch.main import main as train
from launch.sample import main as sample
from recipes.world_model import WorldModel

SMALL = [
    "clip.height=16",
    "clip.width=16",
    "clip.num_frames=3",
    "data.size=0.1",
    "model.layout.num_special=8",
]
SMALL += ["loader.num_workers=0"]
VIDEO = torch.rand(2, 1, 3, 16, 16, generator=torch.Generator().manual_seed(0))


def quantized_autoencoder() -> VQGAN:
    torch.manual_seed(3)
    quantizer = VectorQuantizer(codebook_size=11, dim=5)
    sizes = dict(channels=4, multipliers=[1, 2, 3], blocks=1, latent_channels=6, norm_groups=2)
    tokenizer = VQGAN(quantizer=quantizer, attention_levels=[2], middle_attention=True, **sizes).eval()
    with torch.no_grad():  # codes where features are, so that many are used
        quantizer.codebook.copy_(tokenizer.latents(VIDEO[:, 0]).flatten(0, 2)[:11])
    return tokenizer


def text_tokenizer(folder: Path) -> None:
    """Byte-level, with bos and eos; 259 ids."""
    tokenizers, transformers = pytest.importorskip("tokenizers"), pytest.importorskip("transformers")
    byte_level = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    special = ["<unk>", "<s>", "</s>"]
    ids = {token: i for i, token in enumerate([*special, *sorted(byte_level.alphabet())])}
    model = tokenizers.Tokenizer(tokenizers.models.BPE(vocab=ids, merges=[]))
    model.pre_tokenizer, model.decoder = byte_level, tokenizers.decoders.ByteLevel()
    names = dict(unk_token="<unk>", bos_token="<s>", eos_token="</s>")
    transformers.PreTrainedTokenizerFast(tokenizer_object=model, **names).save_pretrained(folder)


@pytest.fixture(scope="module")
def vq_model(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("vq_model")
    diffusers_vq.save(quantized_autoencoder(), folder)
    return folder


@pytest.fixture(scope="module")
def language(tmp_path_factory) -> Path:
    """A LlamaForCausalLM with its tokenizer, grouped queries, more ids than the tokenizer has."""
    pytest.importorskip("transformers")
    from tests.checkpoints.test_llama import theirs

    folder = tmp_path_factory.mktemp("language")
    theirs(vocab_size=264).save_pretrained(folder)
    text_tokenizer(folder)
    return folder


@pytest.fixture(scope="module")
def imported(language, vq_model, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("imported")
    command = ["family=llama", f"weights={language}", f"vqgan={vq_model}", f"out={out}"]
    assert main([*command, *SMALL]) == 0
    return out


def test_a_llama_keeps_its_logits_and_gets_fresh_vision_tables(imported):
    from tests.checkpoints.test_llama import logits, theirs

    model = WorldModel.load(imported)
    torch.testing.assert_close(
        logits(Llama(model.decoder, model.vocabulary.text)), logits(theirs(vocab_size=264)), atol=1e-5, rtol=0
    )
    for weight in (model.vocabulary.vision.tokens.weight, model.vocabulary.vision.head.weight):
        assert weight.shape == (11 + 8, 32)
        assert 0.015 < weight.std() < 0.025
    assert model.decoder.rope.theta == 5e4


def test_the_tokenizer_of_frames_is_the_one_given(imported, vq_model, language, tmp_path):
    codes = quantized_autoencoder().encode(VIDEO)
    assert len(codes.unique()) > 3
    assert torch.equal(WorldModel.load(imported).tokenizer.encode(VIDEO), codes)
    again = [
        "family=llama",
        f"weights={language}",
        f"vqgan={imported}",
        f"out={tmp_path}",
    ]  # of a run of ours
    assert main([*again, *SMALL]) == 0
    assert torch.equal(WorldModel.load(tmp_path).tokenizer.encode(VIDEO), codes)


def test_the_imported_folder_samples_and_trains(imported, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert sample([f"ckpt={imported}", "text=a red disc", "samples=1", "horizon=2"]) == 0
    assert len(list(Path("samples").iterdir())) == 3
    config = WorldModel.load(imported).hparams
    sizes = ["dim", "num_layers", "num_heads", "num_kv_heads", "hidden_dim", "norm_eps"]
    decoder = [f"model.decoder.{key}={config['model']['decoder'][key]}" for key in sizes]
    tokenizer = ["channels", "multipliers", "blocks", "latent_channels", "norm_groups", "attention_levels"]
    frames = [
        f"stages.model.tokenizer.{key}={config['tokenizer'][key]}" for key in [*tokenizer, "middle_attention"]
    ]
    text = config["model"]["text_tokenizer"]
    words = [f"model.text_tokenizer.{key}={text[key]}" for key in ("path", "vocabulary_size")]
    short = ["trainer.max_steps=1", "loader.batch_size=2", "loader.val_clips=2", "~callbacks.rollouts"]
    quantizer = ["tokenizer.quantizer.codebook_size=11", "tokenizer.quantizer.dim=5"]
    changes = [*decoder, *frames, *quantizer, *SMALL, *words, *short, "model.text_tokenizer=pretrained"]
    stage = ["recipe=lwm", "stage=model", f"weights={imported}", "run_dir=run", "optimizer.lr=0.0"]
    assert train([*stage, *changes]) == 0
    before, after = WorldModel.load(imported).state_dict(), WorldModel.load("run").state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_lwms_own_files_keep_their_logits_and_codes(tmp_path):
    pytest.importorskip("msgpack")
    from tests.checkpoints import test_lwm_jax as jax
    from tests.checkpoints import test_lwm_vqgan as vqgan

    arrays, pictures = jax.parameters(), vqgan.parameters()
    jax.write(tmp_path / "params", arrays)
    (tmp_path / "vqgan").write_bytes(pickle.dumps(pictures))
    sizes = dict(dim=jax.DIM, num_layers=jax.LAYERS, num_heads=jax.HEADS, hidden_dim=jax.INNER)
    changes = [f"model.decoder.{key}={value}" for key, value in sizes.items()]
    changes += [f"model.decoder.rope.theta={jax.THETA}", f"model.text_tokenizer.vocabulary_size={jax.TEXT}"]
    sizes = dict(channels=vqgan.CHANNELS, multipliers=list(vqgan.MULTIPLIERS), blocks=vqgan.BLOCKS)
    sizes |= dict(latent_channels=vqgan.LATENT, norm_groups=vqgan.GROUPS)
    changes += [f"tokenizer.{key}={value}" for key, value in sizes.items()]
    changes += [f"tokenizer.quantizer.codebook_size={vqgan.CODES}", f"tokenizer.quantizer.dim={vqgan.DIM}"]
    files = [f"weights={tmp_path}/params", f"vqgan={tmp_path}/vqgan", f"out={tmp_path}/out"]
    assert main(["family=lwm_jax", *files, *SMALL, *changes]) == 0
    model = WorldModel.load(tmp_path / "out").double()
    assert model.text_tokenizer.path == str(tmp_path)
    jax.assert_same(arrays, model.decoder, model.vocabulary)
    pixels = np.random.default_rng(1).random((2, 16, 12, 3))
    codes = model.tokenizer.encode(torch.from_numpy(pixels).movedim(-1, 1)[:, None])
    assert (codes[:, 0].numpy() == vqgan.encode(pictures, 2 * pixels - 1)).all()


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        (["family=lama"], "family  expected one of llama, lwm_jax, videoworld, got 'lama'"),
        (["famly=llama"], "famly  unknown key; did you mean family?"),
        (["weights=nowhere"], "weights  nowhere: no such file or folder"),
        (["family=lwm_jax"], "is a folder; give the file params in it"),
        (["dynamics=nowhere"], "dynamics  family llama has none: leave it out"),
        (["vqgan=nowhere"], "vqgan  nowhere: no such file or folder"),
        (["model.decodr.dim=3"], "model.decodr.dim  unknown key; did you mean model.decoder"),
        (["model.vocabulary=one_table"], "model.vocabulary  these weights have two tables"),
    ],
)
def test_a_mistake_is_one_line_and_nothing_is_written(
    language, vq_model, tmp_path, monkeypatch, capsys, changed, says
):
    monkeypatch.chdir(tmp_path)
    keys = {token.partition("=")[0] for token in changed}
    good = {"family": "llama", "weights": language, "vqgan": vq_model, "out": "out"}
    command = [f"{key}={value}" for key, value in good.items() if key not in keys]
    assert main([*command, *SMALL, *changed]) == 2
    told = capsys.readouterr().err
    assert says in told
    assert told.count("\n") == 2
    assert not Path("out").exists()


def test_weights_that_do_not_fit_are_named(tmp_path, capsys):
    pytest.importorskip("msgpack")
    from tests.checkpoints import test_lwm_jax as jax

    path = jax.write(tmp_path / "params", jax.parameters())
    small = ["model.decoder.dim=32", "model.decoder.num_layers=2", "model.decoder.num_heads=4"]
    small += ["tokenizer.channels=32", "tokenizer.multipliers=[1]", "model.decoder.hidden_dim=40"]
    assert main(["family=lwm_jax", f"weights={path}", f"out={tmp_path}/out", *small, *SMALL]) == 2
    assert "where the model has 2 layers" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_without_a_command_it_explains_itself(capsys):
    assert main([]) == 0
    assert "family" in capsys.readouterr().out
