"""VideoWorld's recipe: what is learned, what is written, and how frames follow."""

from functools import partial

import pytest
import torch
from torch import nn

from components.attention.rope import Rope
from components.backbones.causal_decoder import CausalDecoder
from components.latent_dynamics import Dynamics
from components.quantizers.fsq import FiniteScalarQuantizer
from components.samplers.next_token import NextToken
from components.schedules.constant import Constant
from components.sequences.union_layout import UnionLayout
from components.text_encoders import TextFeatures
from components.tokenizers.vqgan import VQGAN
from recipes.code_caching import CodeCaching
from recipes.videoworld.recipe import VideoWorld

SIDE = 8


class Brightness(nn.Module):
    """A latent dynamics model whose codes are rounded mean brightnesses of the next frames, and not more."""

    horizon, num_codes, codebook_size, dim = 3, 3, 16, 1

    def features(self, video):
        missing = max(0, 1 + self.horizon - video.shape[1])
        video = torch.cat([video, video[:, -1:].expand(-1, missing, -1, -1, -1)], dim=1)
        return video[:, 1 : 1 + self.horizon].mean(dim=(2, 3, 4))[..., None]

    def encode(self, video):
        return (self.features(video)[..., 0] * 15).round().long()

    def lookup(self, codes):
        return codes.float()[..., None] / 15

    def decode(self, frame, codes):
        return (codes.float() / 15)[:, :, None, None, None].expand(-1, -1, *frame.shape[1:])

    def reconstruct(self, video, random):
        codes = self.encode(video)
        return Dynamics(self.decode(video[:, 0], codes), codes, torch.zeros(()))

    autoencode = reconstruct
    last_layer = None


class Words(nn.Module):
    """A frozen text encoder that counts letters."""

    dim = pooled_dim = 4
    frozen, length = True, 3

    def settings(self):
        return {}

    def forward(self, texts):
        pooled = torch.tensor([[float(len(t)), 1.0, 2.0, 3.0] for t in texts])
        return TextFeatures(pooled[:, None], torch.ones(len(texts), 1, dtype=torch.bool), pooled)


def built(**changes) -> VideoWorld:
    torch.manual_seed(0)
    quantizer = FiniteScalarQuantizer(levels=[5, 5], dim=8)
    arguments = {
        "tokenizer": VQGAN(
            quantizer=quantizer, channels=4, multipliers=[1, 1, 1], blocks=1, latent_channels=8, norm_groups=2
        ),
        "dynamics": Brightness(),
        "layout": partial(UnionLayout),
        "decoder": CausalDecoder(dim=16, num_layers=1, num_heads=2, hidden_dim=24, rope=Rope()),
        "targets": "both",
        "window": 2,
        "frame_sampling": NextToken(),
        "code_sampling": NextToken(),
        "optimizer": partial(torch.optim.SGD, lr=0.1),
        "learning_rate": Constant(value=1.0),
        "context_frames": 1,
        "seed": 0,
    }
    return VideoWorld(**arguments | changes).eval()


def clips(frames: int = 5, **more):
    generator = torch.Generator().manual_seed(3)
    video = torch.randint(256, (2, frames, 3, SIDE, SIDE), generator=generator, dtype=torch.uint8)
    return {"video": video, "id": ["a", "b"]} | more


def test_the_loss_is_the_mean_cross_entropy_of_what_is_learned():
    model = built()
    clip = clips()
    losses, counts = model.losses(clip)
    images, codes = model.encoded(clip)
    slots, tokens = model.sequence(images, codes)
    assert len(slots) == 2 * (4 + 2) + 3 + 2
    assert counts == {"frames": 2 * 6, "codes": 2 * 5}
    hidden = model.decoder(model.table.embed(tokens))
    each = nn.functional.cross_entropy(
        model.table.logits(hidden[:, :-1].flatten(0, 1)), tokens[:, 1:].flatten(), reduction="none"
    ).view(2, -1)
    torch.testing.assert_close(losses["codes"], each[:, 5:10].sum())
    torch.testing.assert_close(losses["frames"], each[:, 10:].sum())


def test_codes_are_those_of_each_frame_with_the_last_frame_repeated():
    model = built(window=4)
    _, codes = model.encoded(clips(5))
    video = clips(5)["video"].float().div(255)
    by_hand = Brightness().encode(torch.cat([video[:, 2:], video[:, -1:]], dim=1))
    assert codes.shape == (2, 3, 3)
    assert torch.equal(codes[:, 2], by_hand)


@pytest.mark.parametrize("targets", ["both", "frames", "codes"])
@pytest.mark.parametrize("softmax", ["union", "type"])
def test_each_target_learns_its_own(targets, softmax):
    losses, counts = built(targets=targets, softmax=softmax).losses(clips())
    assert set(counts) == {"both": {"frames", "codes"}}.get(targets, {targets})
    if softmax == "type":  # no delimiters
        assert counts == {name: {"frames": 8, "codes": 6}[name] for name in counts}
    assert all(torch.isfinite(loss) for loss in losses.values())


def test_what_is_cached_trains_alike():
    model = built(window=3)
    clip = clips()
    caching = CodeCaching(
        tokenizer=model.tokenizer, dynamics=model.dynamics, num_frames=3, keep_features=True, seed=0
    )
    made = caching.predict_step(clip, 0).clips
    assert made["dynamics_features"].shape == (2, 2, 3, 1)
    online, cached = model.losses(clip)[0], model.losses(made | {"id": clip["id"]})[0]
    assert all(torch.equal(online[name], cached[name]) for name in online)
    with pytest.raises(ValueError, match="run the stage that caches codes again"):
        built(window=2).losses(made)


def test_a_second_camera_and_an_instruction_are_in_the_sequence():
    model = built(text_encoder=Words())
    clip = clips(text=["push", "pull it"])
    clip["second_video"] = clip["video"].flip(0)
    images, codes = model.encoded(clip)
    assert images.shape == (2, 2, 2, 4)
    assert torch.equal(images[:, :, 0], images.flip(0)[:, :, 1])
    slots, tokens = model.sequence(images, codes)
    x = model.embed(tokens, slots, model.instruction(clip))
    assert int(slots.is_language.sum()) == 2
    pooled = nn.functional.normalize(Words()(clip["text"]).pooled, dim=-1)
    torch.testing.assert_close(x[:, slots.is_language][:, 1], model.language(pooled))
    frames = model.predict(model.split(clip)[0], 3, generator=torch.Generator().manual_seed(0))
    assert frames.shape == (2, 3, 3, SIDE, SIDE)


def test_a_rollout_is_step_after_step_with_the_codes_it_has_written():
    """Of a window of three frames the first one's codes are those written before, not written anew."""
    model = built(window=3)
    context = model.split(clips())[0]
    frames = model.predict(context, 3, generator=torch.Generator().manual_seed(1))
    generator = torch.Generator().manual_seed(1)
    images = model.tokenizer.encode(context["video"].float().div(255)).flatten(2)[:, :, None]
    codes = [None]
    for number in range(3):
        made, written = model.step(images[:, -2:], codes[-2:], None, generator, (NextToken(), NextToken()))
        assert all(torch.equal(a, b) for a, b in zip(codes[-2:-1], written[:-1], strict=True))
        images, codes = torch.cat([images, made[:, None]], dim=1), [*codes[:-1], written[-1], None]
        assert torch.equal(frames[:, number], model.decode(made[:, 0], context["video"].shape))


def test_later_frames_of_an_advance_are_decoded_from_the_codes():
    model = built(advance=3)
    context = model.split(clips())[0]
    frames = model.predict(context, 4, generator=torch.Generator().manual_seed(1))
    step = model.next_frame(context, torch.Generator().manual_seed(1))
    assert torch.equal(frames[:, :1], step.frames)
    assert torch.equal(frames[:, 1:3], model.imagine(step.frames[:, 0], step.codes)[:, 1:])
    alone = model.next_frame(context, torch.Generator().manual_seed(1), draw=False)
    assert alone.frames is None
    assert torch.equal(alone.codes, step.codes)


@pytest.mark.parametrize("advance", [1, 3])
def test_what_was_not_learned_to_be_drawn_is_decoded_from_the_codes(advance):
    model = built(targets="codes", advance=advance)
    context = model.split(clips())[0]
    frames = model.predict(context, 4, generator=torch.Generator().manual_seed(1))
    codes = model.next_frame(context, torch.Generator().manual_seed(1), draw=False).codes
    first = context["video"][:, -1].float().div(255)
    assert frames.shape[1] == 4
    assert torch.equal(frames[:, :advance], model.imagine(first, codes)[:, :advance])


def test_codes_of_the_next_frame_alone_lead_no_further():
    dynamics = Brightness()
    dynamics.horizon = dynamics.num_codes = 1
    model = built(dynamics=dynamics, advance=2)
    frames = model.predict(model.split(clips())[0], 3, generator=torch.Generator().manual_seed(1))
    assert frames.shape[1] == 3


def test_replaced_codes_are_random_and_what_follows_goes_on_from_them():
    model = built()
    context = {"video": clips()["video"][:, :1].repeat(20, 1, 1, 1, 1)}
    plain = model.next_frame(context, torch.Generator().manual_seed(1), temperature=0.0)
    changed = model.next_frame(context, torch.Generator().manual_seed(1), temperature=0.0, replaced=(1,))
    assert torch.equal(plain.codes[:, 0], changed.codes[:, 0])
    assert len(changed.codes[:, 1].unique()) > 8


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"dynamics": None}, "targets=both needs codes"),
        ({"window": 1}, "at least 2 frames"),
        ({"advance": 0}, "goes on by at least 1"),
    ],
)
def test_what_does_not_fit_is_told(changes, told):
    with pytest.raises(ValueError, match=told):
        built(**changes)


def test_frames_alone_need_no_dynamics_model():
    model = built(dynamics=None, targets="frames")
    frames = model.predict(model.split(clips())[0], 2, generator=torch.Generator())
    assert frames.shape[1] == 2
