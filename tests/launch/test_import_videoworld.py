"""VideoWorld's files, written here at tiny size, come out of the import as the model that they were."""

import json

import numpy as np
import pytest
import torch

from checkpoints.videoworld import fill_decoder, fill_dynamics, fill_tokenizer, go_ids
from launch.import_weights import main, published_config
from recipes.world_model import WorldModel
from tests.checkpoints.make_videoworld_official import DYNAMICS, FIXTURE, SIDE, TOKENIZER, inputs, state
from tests.checkpoints.test_videoworld import decoder, dynamics, logits, tokenizer, write

VIDEO = inputs()["video"].float()
TEXT, IMAGES, CODES = 18, 60, 160
SIZE = TEXT + 5 + CODES + IMAGES
TOKENIZER_FILE = [f"tokenizer.{key}={TOKENIZER[key]}" for key in ("multipliers", "blocks")]
TOKENIZER_FILE += [f"tokenizer.channels={TOKENIZER['width']}"]
TOKENIZER_FILE += [f"tokenizer.latent_channels={TOKENIZER['latents']}"]
TOKENIZER_FILE += ["tokenizer.attention_levels=[2]", f"tokenizer.quantizer.levels={TOKENIZER['levels']}"]
SMALL = [f"clip.height={SIDE}", f"clip.width={SIDE}", f"model.layout.text_size={TEXT}"]
INNER = [f"dynamics.dynamics.{key}={DYNAMICS[key]}" for key in ("channels", "blocks")]
INNER += ["dynamics.dynamics.quantizer.dim=128", f"dynamics.dynamics.quantizer.levels={DYNAMICS['levels']}"]
INNER += [f"dynamics.side={SIDE}"]


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """go_battle.pth, with its tokenizer in it; latent dynamics of two frames ahead."""
    folder = tmp_path_factory.mktemp("released")
    with np.load(FIXTURE) as file:
        names = json.loads(bytes(file["names"]))
    resized = {name: [SIZE if n == 61 else n for n in shape] for name, shape in names["decoder"].items()}
    both = state(resized)
    for name in both:
        if name.endswith("inv_freq"):
            both[name] = 10_000.0 ** (-torch.arange(0, 8, 2) / 8)
    parts = {"encoder": "vbackbone", "post_encoder": "post_encode", "quantizer": "v_token"}
    parts |= {"pre_decoder": "pre_decode", "decoder": "v_token_decoder"}
    for name, tensor in state(names["tokenizer"]).items():
        part, _, inner = name.removeprefix("generator.").partition(".")
        both[f"{parts[part]}.{inner}"] = tensor
    write(folder / "go_battle.pth", both)
    write(folder / "go_fsq.pth", state(names["tokenizer"]))
    write(folder / "ldm.pth", state(names["dynamics_2"]))
    return folder


@pytest.fixture(scope="module")
def imported(files, tmp_path_factory):
    out = tmp_path_factory.mktemp("imported")
    command = ["family=videoworld", f"weights={files}/go_battle.pth", f"dynamics={files}/ldm.pth"]
    command.append(f"out={out}")
    assert main([*command, *SMALL, *TOKENIZER_FILE, *INNER]) == 0
    return WorldModel.load(out)


def tokenizer_of(files):
    made = tokenizer()
    fill_tokenizer(path=files / "go_fsq.pth", tokenizer=made)
    return made


def test_the_imported_model_is_the_released_one(files, imported):
    path = files / "go_battle.pth"
    theirs, frames, ahead = decoder(SIZE), tokenizer_of(files), dynamics(2)
    fill_decoder(path=path, decoder=theirs[0], table=theirs[1])
    fill_dynamics(path=files / "ldm.pth", dynamics=ahead)
    assert torch.equal(imported.tokenizer.encode(VIDEO), frames.encode(VIDEO))
    assert torch.equal(imported.dynamics.encode(VIDEO), ahead.encode(VIDEO))
    ids = go_ids(imported.layout)
    known = (ids >= 0).nonzero().flatten()
    sequence = known[torch.randint(len(known), (2, 9), generator=torch.Generator().manual_seed(0))]
    found = logits(imported.decoder, imported.table, sequence)
    torch.testing.assert_close(found[..., known], logits(*theirs, ids[sequence])[..., ids[known]])
    assert bool((found[..., ids < 0] == 0).all())


def test_the_imported_model_writes_codes_and_draws_the_next_frame(imported):
    step = imported.next_frame({"video": VIDEO[:, :1]}, torch.Generator().manual_seed(0), temperature=1.0)
    assert step.frames.shape == (2, 1, 3, SIDE, SIDE)
    assert step.codes.shape == (2, 2)
    assert imported.imagine(step.frames[:, 0], step.codes).shape == (2, 2, 3, SIDE, SIDE)


def test_without_latent_dynamics_it_has_three_codes_and_says_what_is_fresh(files, tmp_path, capsys):
    place = "dynamics.dynamics" if "dynamics" in published_config("videoworld")["dynamics"] else "dynamics"
    command = ["family=videoworld", f"weights={files}/go_battle.pth", f"vqgan={files}/go_fsq.pth"]
    small = {"widths": [8], "channels": 8, "blocks": 1, "quantizer.dim": 8}
    small["quantizer.levels"] = DYNAMICS["levels"]
    changes = [*SMALL, *TOKENIZER_FILE, *(f"{place}.{key}={value}" for key, value in small.items())]
    assert main([*command, *changes, f"out={tmp_path}"]) == 0
    assert "fresh, to be trained: what imagines frames from codes (give dynamics=)" in capsys.readouterr().out
    model = WorldModel.load(tmp_path)
    assert model.num_codes == 3
    assert model.advance == 1
    assert torch.equal(
        model.tokenizer.encode(VIDEO),
        tokenizer_of(files).encode(VIDEO),
    )


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        (["weights=nowhere"], "weights  nowhere: no such file or folder"),
        (["vqgan=nowhere"], "vqgan  nowhere: no such checkpoint"),
        (["dynamics=nowhere"], "dynamics  nowhere: no such checkpoint"),
        (["tokenizer=nowhere"], "tokenizer  family videoworld reads no text: leave it out"),
        (["model.layout.text_size=19"], f"ids, where the layout has {SIZE + 1}"),
        (["tokenizer.channels=64"], "where the model has (64, 3, 3, 3)"),
        (["dynamics.dynamics.blocks=3"], "holds no generator.encoder.encoder_layers.0.2._residual.0.weight"),
    ],
)
def test_a_mistake_is_one_line_and_nothing_is_written(files, tmp_path, capsys, changed, says):
    good = {"family": "videoworld", "weights": files / "go_battle.pth", "dynamics": files / "ldm.pth"}
    good["out"] = tmp_path / "out"
    keys = {token.partition("=")[0] for token in changed}
    command = [f"{key}={value}" for key, value in good.items() if key not in keys]
    assert main([*command, *SMALL, *TOKENIZER_FILE, *INNER, *changed]) == 2
    told = capsys.readouterr().err
    assert says in told
    assert told.count("\n") == 2
    assert not (tmp_path / "out").exists()
