"""Our modules against what the official code itself predicted with the same weights (make_savp_official)."""

import sys
from functools import partial

import numpy as np
import pytest
import torch

from checkpoints.savp_tensorflow import (
    CheckpointError,
    discriminator_state,
    generator_state,
    posterior_state,
    read_variables,
)
from components.backbones.recurrent_generator import RecurrentGenerator
from components.discriminators.video import VideoDiscriminator
from components.posteriors.pair_encoder import PairEncoder
from components.transformations.cdna import CDNA
from components.transformations.dna import DNA
from components.transformations.flow import Flow
from tests.checkpoints.make_savp_official import CONTEXT, FIXTURE, FRAMES, inputs, weight

GENERATORS = {
    "cdna": {"transformation": partial(CDNA), "latent_dim": 3},
    "dna": {"transformation": partial(DNA), "latent_dim": 3},
    "flow": {"transformation": partial(Flow), "latent_dim": 0, "last_frames": 2, "scratch_image": False},
}


@pytest.fixture(scope="module")
def official():
    with np.load(FIXTURE) as file:
        return dict(file)


def variables(official, case):
    shapes = {name.split(":", 1)[1]: shape for name, shape in official.items() if name.startswith(f"{case}:")}
    return {name: weight(name, tuple(shape)) for name, shape in shapes.items()}


def generator(case):
    return RecurrentGenerator(height=32, width=32, channels=4, action_dim=2, state_dim=3, **GENERATORS[case])


def first(array):
    """Time first, channels last -> time first, channels first."""
    return torch.from_numpy(array).movedim(-1, 2)


@pytest.mark.parametrize("case", GENERATORS)
def test_generator_predicts_what_the_official_code_predicts(official, case):
    model = generator(case)
    model.load_state_dict(generator_state(variables(official, case), model))
    given = inputs(case)
    frames, pixels = first(given["images"]), first(given["pix_distribs"])
    actions, states, latents = (torch.from_numpy(given[name]) for name in ("actions", "states", "zs"))
    state, prediction = model.initial_state(frames[0], pixels[0]), None
    with torch.no_grad():
        for t in range(FRAMES - 1):
            known = t < CONTEXT
            prediction, state = model.step(
                frames[t] if known else prediction.frame,
                state,
                latent=latents[t] if model.latent_dim else None,
                action=actions[t],
                proprioception=states[t] if known else prediction.proprioception,
                pixels=pixels[t] if known else prediction.pixels,
            )
    found = {
        "gen_images": prediction.frame.movedim(1, -1),
        "gen_pix_distribs": 1000 * prediction.pixels.movedim(1, -1),
        "gen_states": prediction.proprioception,
    }
    for name, value in found.items():
        scale = 1000 if name == "gen_pix_distribs" else 1
        expected = scale * torch.from_numpy(official[f"{case}={name}"])
        torch.testing.assert_close(value, expected, rtol=0, atol=2e-5)


@pytest.mark.parametrize("case", ["cdna", "dna"])
def test_posterior_reads_what_the_official_code_reads(official, case):
    posterior = PairEncoder(action_dim=2, latent_dim=3, channels=4)
    posterior.load_state_dict(posterior_state(variables(official, case), posterior))
    given = inputs(case)
    video, actions = (
        first(given["images"]).transpose(0, 1),
        torch.from_numpy(given["actions"]).transpose(0, 1),
    )
    with torch.no_grad():
        read = posterior(video, actions)
    for name, value in (("zs_mu", read.mean), ("zs_log_sigma_sq", read.log_variance)):
        expected = torch.from_numpy(official[f"{case}={name}"]).transpose(0, 1)
        torch.testing.assert_close(value, expected, rtol=0, atol=1e-5)


def video_discriminator():
    return VideoDiscriminator(height=32, width=32, num_frames=FRAMES, channels=4)


def test_discriminator_judges_as_the_official_code_judges(official):
    discriminator = video_discriminator()
    given = variables(official, "cdna")
    discriminator.load_state_dict(discriminator_state(given, discriminator, of_posterior_samples=False))
    discriminator.eval()
    with torch.no_grad():
        logits, _ = discriminator(first(inputs("cdna")["images"]).transpose(0, 1))
    torch.testing.assert_close(logits, torch.from_numpy(official["cdna=logits"]).flatten(), rtol=0, atol=1e-5)

    other = {name.replace("discriminator/", "discriminator/encoder/"): value for name, value in given.items()}
    again = discriminator_state(other, discriminator, of_posterior_samples=True)
    assert all(torch.equal(value, again[name]) for name, value in discriminator.state_dict().items())


def test_older_cell_names_and_optimiser_slots_are_understood(official):
    model = generator("cdna")
    expected = generator_state(variables(official, "cdna"), model)
    older = {name.replace("savp_cell", "dna_cell"): x for name, x in variables(official, "cdna").items()}
    older |= {f"{name}/Adam{moment}": x for name, x in list(older.items()) for moment in ("", "_1")}
    older["global_step"] = np.array(300_000)
    found = generator_state(older, model)
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[key], expected[key]) for key in expected)


@pytest.mark.parametrize("case", ["missing", "left over", "small", "other width"])
def test_a_mismatch_is_one_line_naming_the_variable(official, case):
    given, model = variables(official, "cdna"), generator("cdna")
    name = "generator/rnn/savp_cell/h1/conv_pool2d/kernel"
    if case == "missing":
        del given[name]
    elif case == "left over":
        name = "generator/rnn/savp_cell/lstm_h3/basic_conv2dlstm_cell/kernel"
        given[name] = np.zeros((5, 5, 4, 16), np.float32)
    elif case == "small":
        given[name] = given[name][..., :4]
    else:
        name = "generator/rnn/savp_cell/cdna_kernels/dense/kernel"
        given[name] = given[name][:-1]
    with pytest.raises(CheckpointError, match=name) as error:
        generator_state(given, model)
    assert "\n" not in str(error.value)


def test_reading_without_tensorflow_says_what_to_install(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "tensorflow", None)
    with pytest.raises(CheckpointError, match="pip install tensorflow"):
        read_variables(tmp_path / "model-300000")
