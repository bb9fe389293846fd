"""Released files of VideoWorld against what the official code made with the same weights."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from checkpoints.own import CheckpointError
from checkpoints.videoworld import (
    calvin_ids,
    decoder_sizes,
    fill_decoder,
    fill_dynamics,
    fill_tokenizer,
    go_ids,
)
from checkpoints.videoworld_names import dynamics_places, tokenizer_places
from components.attention.rope import Rope
from components.backbones.causal_decoder import CausalDecoder
from components.latent_dynamics.magvit import MagvitDynamics
from components.quantizers.fsq import FiniteScalarQuantizer
from components.sequences.union_layout import UnionLayout
from components.tokenizers.vqgan import VQGAN
from components.vocabularies.table import Table
from tests.checkpoints.make_videoworld_official import (
    DECODER,
    DYNAMICS,
    FIXTURE,
    HORIZONS,
    TOKENIZER,
    VOCABULARY,
    inputs,
    state,
)

PUBLISHED = [8, 8, 8, 5, 5, 5]


@pytest.fixture(scope="module")
def official():
    with np.load(FIXTURE) as file:
        kept = dict(file)
    return json.loads(bytes(kept.pop("names"))), {name: torch.from_numpy(kept[name]) for name in kept}


def write(path: Path, tensors) -> Path:
    torch.save({"meta": {"iter": 3}, "state_dict": tensors}, path)
    return path


def tokenizer():
    widths = {name: TOKENIZER[name] for name in ("multipliers", "blocks")}
    latents = TOKENIZER["latents"]
    quantizer = FiniteScalarQuantizer(levels=TOKENIZER["levels"], dim=latents)
    places = dict(attention_levels=[2], middle_attention=True, latent_channels=latents)
    return VQGAN(quantizer=quantizer, channels=TOKENIZER["width"], **places, **widths).eval()


def dynamics(horizon):
    sizes = {name: DYNAMICS[name] for name in ("channels", "multipliers", "blocks")}
    quantizer = FiniteScalarQuantizer(levels=DYNAMICS["levels"], dim=128)
    return MagvitDynamics(horizon=horizon, quantizer=quantizer, **sizes).eval()


def decoder(size=VOCABULARY):
    dim, layers, heads, inner = DECODER.values()
    biases = dict(attention_bias=True, output_bias=True)
    made = CausalDecoder(
        dim=dim, num_layers=layers, num_heads=heads, hidden_dim=inner, rope=Rope(theta=10_000.0), **biases
    )
    return made, Table(size=size, dim=dim)


def logits(made, table, ids):
    with torch.no_grad():
        return table.head(made(table.embed(ids)))


def assert_close(found, kept):
    torch.testing.assert_close(found.float(), kept.float(), atol=1e-5, rtol=0)


def test_the_tokenizer_makes_the_official_codes_and_frames(official, tmp_path):
    names, kept = official
    ours = tokenizer().double()
    fill_tokenizer(path=write(tmp_path / "go_fsq.pth", state(names["tokenizer"])), tokenizer=ours)
    with torch.no_grad():
        latents = ours.latents(inputs()["frames"]).movedim(-1, 1)
        assert_close(latents, kept["tokenizer:latents"])
        codes = ours.encode(inputs()["frames"][:, None])
        assert torch.equal(codes[:, 0], kept["tokenizer:indices"])
        assert len(codes.unique()) > 10
        frames = ours.frames(ours.quantizer.lookup(codes[:, 0]).double())
    assert_close(frames, (kept["tokenizer:frames"] + 1) / 2)


@pytest.mark.parametrize("case", HORIZONS)
@pytest.mark.parametrize("averaged", [False, True])
def test_latent_dynamics_make_the_official_codes_and_frames(official, tmp_path, case, averaged):
    names, kept = official
    ours, drawn = dynamics(HORIZONS[case]).double(), state(names[case])
    if averaged:  # as a training's checkpoint has them, beside weights that are not to be taken
        drawn = {f"generator_ema.module.{name.removeprefix('generator.')}": t for name, t in drawn.items()}
        drawn |= {f"generator.{name[len('generator_ema.module.') :]}": torch.zeros(()) for name in drawn}
        drawn |= {"discriminator.final.1.bias": torch.zeros(1), "generator_ema.steps": torch.tensor(7)}
    fill_dynamics(path=write(tmp_path / "ldm.pth", drawn), dynamics=ours)
    video = inputs()["video"]
    with torch.no_grad():
        assert_close(ours.features(video), kept[f"{case}:features"].flatten(2).transpose(1, 2))
        made = ours.reconstruct(video)
        decoded = ours.decode(video[:, 0], made.codes)
    codes = kept[f"{case}:indices"].flatten(1)
    assert torch.equal(made.codes, codes)
    assert torch.equal(ours.encode(video), codes)
    expected = (kept[f"{case}:frames"].transpose(1, 2) + 1) / 2
    assert_close(made.video, expected)
    assert_close(decoded, expected[:, 1:].clamp(0, 1))


def test_the_decoder_has_the_official_logits(official, tmp_path):
    names, kept = official
    ours = [part.double() for part in decoder()]
    path = write(tmp_path / "go_battle.pth", state(names["decoder"]))
    fill_decoder(path=path, decoder=ours[0], table=ours[1])
    assert_close(logits(*ours, inputs()["ids"]), kept["decoder:logits"])


def test_the_decoders_sizes_are_read_from_its_file(official, tmp_path):
    drawn = state(official[0]["decoder"])
    for name in drawn:
        if name.endswith("inv_freq"):
            drawn[name] = 10_000.0 ** (-torch.arange(0, 8, 2) / 8)
    assert decoder_sizes(write(tmp_path / "go_battle.pth", drawn)) == {
        "dim": 32,
        "num_layers": 2,
        "num_heads": 4,
        "hidden_dim": 40,
        "attention_bias": True,
        "output_bias": True,
        "rope.theta": 10_000,
    }


def test_a_decoders_file_holds_its_tokenizer_too(official, tmp_path):
    names, kept = official
    parts = {"encoder": "vbackbone", "post_encoder": "post_encode", "quantizer": "v_token"}
    parts |= {"pre_decoder": "pre_decode", "decoder": "v_token_decoder"}
    both = state(names["decoder"]) | {"embed_lang.weight": torch.zeros(3), "model_clip.bias": torch.zeros(2)}
    for name, tensor in state(names["tokenizer"]).items():
        part, _, inner = name.removeprefix("generator.").partition(".")
        both[f"{parts[part]}.{inner}"] = tensor
    path = write(tmp_path / "calvin_model.pth", both)
    ours, text = tokenizer().double(), decoder()
    fill_tokenizer(path=path, tokenizer=ours)
    assert torch.equal(ours.encode(inputs()["frames"][:, None])[:, 0], kept["tokenizer:indices"])
    fill_decoder(path=path, decoder=text[0], table=text[1])
    del both["v_token.project_in.bias"]
    with pytest.raises(CheckpointError, match=r"holds no v_token\.project_in\.bias"):
        fill_tokenizer(path=write(path, both), tokenizer=ours)


@pytest.mark.parametrize(
    ("layout", "released", "size"),
    [
        (dict(order=["text", "special", "codes", "image"], text_size=32_000, num_special=5), go_ids, 160_005),
        (dict(order=["image", "special", "codes", "text"], delimit_codes=False), calvin_ids, 128_002),
    ],
)
def test_ids_of_a_layout_are_found_in_the_released_order(layout, released, size):
    layout = UnionLayout(image_size=64_000, codes_size=64_000, **layout)
    ids = released(layout)
    assert len(ids) == layout.size
    assert int(ids.max()) == size - 1
    given, counts = ids[ids >= 0].unique(return_counts=True)
    text = layout.sizes["text"]
    if text:  # <im_start>, <im_end>, <act_start>, <act_end>; codes behind 7 special tokens, images last
        names = ("frame_begin", "frame_end", "codes_begin", "codes_end")
        assert [int(ids[layout.special(name)]) for name in names] == [32_000, 32_001, 32_004, 32_006]
        assert int(ids[layout.starts["codes"]]) == 32_007
        assert int(ids[layout.starts["image"]]) == 160_005 - 64_000
        assert given[counts == 2].tolist() == [96_005, 96_006]  # the last codes, and the first images
    else:
        assert [int(ids[layout.special(name)]) for name in ("frame_begin", "frame_end")] == [64_000, 64_001]
        assert int(ids[layout.starts["codes"]]) == 64_002
        assert bool((counts == 1).all())


def test_a_layouts_table_gives_the_logits_of_the_released_ids(official, tmp_path):
    order = ["text", "special", "codes", "image"]
    layout = UnionLayout(image_size=20, codes_size=18, text_size=18, num_special=5, order=order)
    assert layout.size == VOCABULARY
    names, _ = official
    path = write(tmp_path / "go_battle.pth", state(names["decoder"]))
    theirs, ours = decoder(), decoder()
    fill_decoder(path=path, decoder=theirs[0], table=theirs[1])
    ids = go_ids(layout)
    fill_decoder(path=path, decoder=ours[0], table=ours[1], ids=ids)
    known = (ids >= 0).nonzero().flatten()
    sequence = known[torch.randint(len(known), (2, 9), generator=torch.Generator().manual_seed(0))]
    torch.testing.assert_close(
        logits(*ours, sequence)[..., known], logits(*theirs, ids[sequence])[..., ids[known]]
    )
    smaller = UnionLayout(image_size=20, codes_size=17, text_size=18, num_special=6, order=order)
    with pytest.raises(CheckpointError, match=r"embed_tokens\.weight has 61 ids, where the layout has 60"):
        fill_decoder(path=path, decoder=ours[0], table=ours[1], ids=go_ids(smaller))


def test_every_tensor_of_the_published_sizes_has_its_place(official):
    """The presets' sizes, and the released configs': all names of the official modules, in their shapes."""
    names, _ = official
    with torch.device("meta"):
        quantizer = FiniteScalarQuantizer(levels=PUBLISHED, dim=256)
        multipliers = [1, 1, 1, 2, 2, 4, 4]
        sizes = dict(
            multipliers=multipliers, latent_channels=256, attention_levels=[6], middle_attention=True
        )
        places = {"published tokenizer": (tokenizer_places(VQGAN(quantizer=quantizer, **sizes)), ())}
        for game, horizon in (("go", 1), ("calvin", 9)):
            quantizer = FiniteScalarQuantizer(levels=PUBLISHED, dim=512)
            model = MagvitDynamics(horizon=horizon, quantizer=quantizer)
            places[f"published {game} dynamics"] = dynamics_places(model)
    for case, (ours, never_run) in places.items():
        theirs = {name.removeprefix("generator."): shape for name, shape in names[case].items()}
        unused = {name for name in theirs if name.startswith(never_run)} if never_run else set()
        assert {name: list(place.shape) for name, place in ours.items()} == {
            name: shape for name, shape in theirs.items() if name not in unused
        }
        if never_run:
            closing = (
                "encoder.encoder_layers.10.0",
                "encoder.encoder_layers.10.2",
                "decoder.decoder_layers.14",
            )
            assert unused == {f"{layer}.{kind}" for layer in closing for kind in ("weight", "bias")}
