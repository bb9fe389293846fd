"""LWM: its sequences, its loss, what it makes."""

from copy import deepcopy

import pytest
import torch
from torch import Tensor

from components.clip import ClipSpec
from components.samplers.next_token import NextToken
from components.sequences.packing import pack
from datamodules.batches import collate
from datamodules.moving_shapes import MovingShapes
from recipes.world_model import pixels
from tests.recipes.conftest import built, take_step

SMALL = [
    "model.decoder.dim=32", "model.decoder.num_layers=2", "model.decoder.hidden_dim=48",
    "tokenizer.quantizer.codebook_size=32", "model.longest_answer=6", "clip.num_frames=4",
]  # fmt: skip


def clips(count: int, first: int = 0) -> dict:
    dataset = MovingShapes(num_frames=4, height=16, width=16, seed=0, speed=1.0).split("train")
    return collate([dataset[first + i] for i in range(count)])


@pytest.fixture(scope="module")
def untouched():
    return built("lwm", *SMALL)[0]


@pytest.fixture
def model(untouched):
    return deepcopy(untouched)


@pytest.fixture
def doubles():
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def loss_and_gradients(model, packed) -> list[Tensor]:
    losses = model.losses(packed)
    parts = [*model.decoder.parameters(), *model.vocabulary.parameters()]
    gradients = torch.autograd.grad(0.5 * sum(losses.values()), parts)
    return [*(loss.detach() for loss in losses.values()), *gradients]


def test_packed_training_equals_padded(model, doubles):
    clip = clips(12)
    with torch.no_grad():
        examples = model.sequences.examples(clip, model.encode(pixels(clip["video"]).float()))
    model.double()
    packed, padded = (pack(examples, 512, mode) for mode in ("masked", "padded"))
    assert len(packed.tokens) < len(padded.tokens) == 12
    found, expected = loss_and_gradients(model, packed), loss_and_gradients(model, padded)
    assert all(float((a - b).abs().max()) < 1e-12 for a, b in zip(found, expected, strict=True))
    naive = loss_and_gradients(model, pack(examples, 512, "naive"))
    assert float((naive[0] - expected[0]).abs()) > 1e-6


def kinds_of(model, clip) -> list[tuple[int, int]]:
    """What tells the fields of an example apart: its length, and how many vision tokens are predicted."""
    codes = model.encode(pixels(clip["video"]))
    return [(len(e.tokens), int(e.loss[e.is_vision].sum())) for e in model.sequences.examples(clip, codes)]


def test_the_clips_id_decides_what_is_learned_from_it(model):
    clip = clips(40)
    found = kinds_of(model, clip)
    assert found == kinds_of(model, clip)  # as in every epoch
    assert found == kinds_of(model, clips(15)) + kinds_of(model, clips(25, 15))  # in every batch
    assert len(set(found)) >= len(model.sequences.fields)  # all of the fields come up
    renamed = clip | {"id": [f"other {name}" for name in clip["id"]]}
    assert kinds_of(model, renamed) != found


@pytest.mark.parametrize("kept", [(), ("text",), ("text", "question", "answer")])
def test_fields_are_those_that_a_clip_has_everything_for(model, kept):
    clip = clips(12)
    clip = {key: value for key, value in clip.items() if key not in {"text", "question", "answer"} - {*kept}}
    (usable,) = {
        model.sequences.grammar(record)
        for record in model.sequences.records(clip, torch.zeros(12, 4, 16).long())
    }
    assert len(usable.alternatives) == {0: 1, 1: 4, 3: 5}[len(kept)]
    before = model.vocabulary.vision.tokens.weight.clone()
    take_step(model, clip)
    assert not torch.equal(model.vocabulary.vision.tokens.weight, before)


def test_empty_texts_are_no_texts(model):
    clip = clips(3) | {"text": ["a red disc", "", ""], "question": [""] * 3, "answer": ["red"] * 3}
    records = model.sequences.records(clip, torch.zeros(3, 4, 16).long())
    assert [len(model.sequences.grammar(record).alternatives) for record in records] == [4, 1, 1]


@pytest.mark.parametrize("source", ["fork", "bouncing_balls"])
def test_clips_of_sources_without_questions_train(source):
    model, clip = built("lwm", *SMALL, f"data={source}")
    assert "question" not in clip
    before = model.vocabulary.vision.head.weight.clone()
    take_step(model, clip)
    assert not torch.equal(model.vocabulary.vision.head.weight, before)


@pytest.mark.parametrize("name", ["caption", "answer"])
def test_prompts_begin_what_was_learned(model, name, monkeypatch):
    """What is asked for text is the very beginning of a sequence of training, cut where the text begins."""
    clip = clips(1)
    codes = model.encode(pixels(clip["video"]))
    fields = {"caption": "[describe],[vision],caption", "answer": "[question],[vision],answer"}[name]
    model.sequences.fields, model.sequences.needs = [fields], {fields: set()}
    (example,) = model.sequences.examples(clip, codes)
    asked = []
    monkeypatch.setattr(
        "recipes.lwm.recipe.generate_text", lambda d, v, prompts, *rest: asked.extend(prompts) or [[]]
    )
    video, generator = pixels(clip["video"]), torch.Generator()
    if name == "caption":
        model.describe(video, generator=generator)
    else:
        model.answer(video, clip["question"], generator=generator)
    length = len(asked[0].tokens)
    assert torch.equal(asked[0].tokens, example.tokens[:length])
    assert torch.equal(asked[0].is_vision, example.is_vision[:length])
    assert float(example.loss[:length].sum()) == 0
    assert model.text_tokenizer.decode(example.tokens[length:].tolist()) in (clip["text"] + clip["answer"])


@pytest.mark.parametrize("known", [0, 1, 3])
def test_a_video_goes_on_from_what_was_learned(model, known):
    clip = clips(1)
    codes = model.encode(pixels(clip["video"]))
    fields = "[make_video+caption],vision"
    model.sequences.fields, model.sequences.needs = [fields], {fields: set()}
    (example,) = model.sequences.examples(clip, codes)
    begun = model.sequences.begun(model.prompts["video"], {"caption": clip["text"][0]}, codes[0, :known])
    length = len(begun.tokens)
    assert torch.equal(begun.tokens, example.tokens[:length])
    assert torch.equal(begun.is_vision, example.is_vision[:length])
    assert int(begun.is_vision.sum()) == known * 17


def test_a_rollout_knows_the_context_alone(model):
    clip, other = clips(2), clips(2, 7)
    futures = []
    for told in (
        clip,
        clip | {"text": other["text"], "video": torch.cat([clip["video"][:, :2], other["video"][:, 2:]], 1)},
    ):
        context, _ = model.split(told)
        futures.append(model.eval().predict(context, 2, generator=torch.Generator().manual_seed(0)))
    assert torch.equal(*futures)
    changed, _ = model.split(clip | {"video": other["video"]})
    assert not torch.equal(model.predict(changed, 2, generator=torch.Generator().manual_seed(0)), futures[0])


@pytest.mark.parametrize("num_frames", [1, 2])
def test_videos_of_texts(model, num_frames):
    captions = ["a red disc moves left", "", "zwölf Boxkämpfer"]

    def imagine(seed: int) -> Tensor:
        generator = torch.Generator().manual_seed(seed)
        return model.eval().imagine(captions, num_frames, size=(8, 16), generator=generator)

    made = imagine(0)
    assert made.shape == (3, num_frames, 3, 8, 16)
    assert made.dtype == torch.float32
    assert 0 <= made.min() <= made.max() <= 1
    assert torch.equal(made, imagine(0))
    assert not torch.equal(made, imagine(1))


def test_guidance_takes_the_text_into_account(model):
    """Without it the unconditional prompt decides: any text makes the same first frame."""
    model.eval().image_sampling = NextToken(temperature=0.0, guidance=0.0)
    frames = [
        model.imagine([text], 1, size=(16, 16), generator=torch.Generator()) for text in ("a red disc", "b")
    ]
    assert torch.equal(*frames)


def test_texts_about_videos(model):
    video = pixels(clips(3)["video"])
    generator = torch.Generator().manual_seed(0)
    told = model.eval().describe(video, generator=generator)
    answers = model.answer(video, ["what?", "", "what color is it?"], generator=generator)
    for texts in (told, answers):
        assert len(texts) == 3
        assert all(isinstance(text, str) for text in texts)
    with pytest.raises(ValueError, match="zip"):
        model.answer(video, ["what?"], generator=generator)


def test_the_tokenizer_is_frozen(model):
    assert not any(module.training for module in model.tokenizer.modules())
    model.train()
    assert model.decoder.training
    assert not any(module.training for module in model.tokenizer.modules())
    assert not any(weight.requires_grad for weight in model.tokenizer.parameters())
    (optimizer,) = model.configure_optimizers()
    learned = {id(weight) for group in optimizer.param_groups for weight in group["params"]}
    assert not learned & {id(weight) for weight in model.tokenizer.parameters()}
    before = {name: value.clone() for name, value in model.state_dict().items()}
    model.tokenizer.train()  # whoever does this
    take_step(model, clips(4))
    after = model.state_dict()
    changed = {name.split(".")[0] for name in before if not torch.equal(before[name], after[name])}
    assert changed == {"decoder", "vocabulary"}


@pytest.mark.parametrize("packing", ["masked_token_mean", "naive", "padded"])
def test_every_packing_trains(packing):
    model, clip = built("lwm", *SMALL, f"model.packing={packing}", "model.row_length=128")
    before = model.decoder.norm.weight.clone()
    take_step(model, clip)
    assert not torch.equal(model.decoder.norm.weight, before)
    assert torch.isfinite(model.decoder.norm.weight).all()


def spec(num_frames: int = 4, side: int = 16) -> ClipSpec:
    return ClipSpec(num_frames=num_frames, height=side, width=side)


def test_what_does_not_fit_is_told_in_one_line(model, monkeypatch):
    model.check_fits(spec())
    with pytest.raises(ValueError, match=r"^clips have 2 frames, 2 of them context"):
        model.check_fits(spec(num_frames=2))
    with pytest.raises(ValueError, match=r"^VQGAN cannot tokenize .* multiples of 4$"):
        model.check_fits(spec(side=18))
    with pytest.raises(ValueError, match=r"^a clip is 680 vision tokens, a row 512: set model.row_length"):
        model.check_fits(spec(num_frames=40))
    monkeypatch.setattr(model.tokenizer, "grid", lambda *sizes: (2, 4, 4))
    with pytest.raises(ValueError, match=r"^this tokenizer joins frames, .* use vqgan$"):
        model.check_fits(spec())


@pytest.mark.parametrize("key", ["model.fields", "model.prompts.video"])
def test_a_field_that_nothing_knows_is_refused(key):
    from launch.problems import CommandError

    line = "make_vido+caption"
    with pytest.raises(CommandError, match=r"'make_vido.caption' names make_vido; a clip has"):
        built("lwm", *SMALL, f'{key}=["{line}"]' if key == "model.fields" else f"{key}={line}")


def test_typical_step_reads_rows_of_full_length(model):
    clip = ClipSpec(num_frames=4, height=16, width=16).zeros(16)
    assert torch.isfinite(model.typical_step(clip))


def test_texts_alone_train_and_are_asked_about():
    model, clip = built("lwm", "variant=text", "stage=model", *SMALL[:-1], "model.decoder.num_heads=2")
    assert "video" not in clip
    before = model.vocabulary.text.tokens.weight.clone()
    take_step(model, clip)
    assert not torch.equal(model.vocabulary.text.tokens.weight, before)
    said = model.complete(clip["text"], clip["question"], generator=torch.Generator())
    assert len(said) == len(clip["text"])
    rows = model.converse(clip, torch.Generator())
    assert [row[2] for row in rows] == clip["answer"]
    assert model.converse({"text": clip["text"], "id": clip["id"]}, torch.Generator()) == []
    packed = model.pack(clip)
    learned = packed.targets[packed.weights > 0].tolist()
    assert model.text_tokenizer.decode([i for i in learned if i < 256]).startswith(clip["answer"][0][:3])
