"""The training of a tokenizer, which every recipe over tokens begins with."""

import pytest
import torch
from torch import Tensor

from components.clip import ClipSpec
from datamodules.batches import collate
from launch.command import parse
from launch.compose import compose
from launch.run import build_model, open_source, prepare
from recipes.tokenizer_training import TokenizerTraining
from tests.recipes.conftest import take_step

SMALL = [
    "clip.height=32", "clip.width=32", "tokenizer.channels=4", "stages.tokenizer.trainer.max_steps=10",
    "stages.tokenizer.clip.num_frames=6",
]  # fmt: skip
OF = "stages.tokenizer.model."
JUDGES = {
    "none": [],
    "patch": [f"{OF}discriminator=patch", f"{OF}discriminator.num_layers=2"],
    "image": [f"{OF}discriminator=image"],
    "images": [f"{OF}discriminator=images", f"{OF}discriminator.num_frames=3"],
}


def built(*tokens: str, judge: str = "none", begin: int = 0) -> tuple[TokenizerTraining, dict]:
    judged = [*JUDGES[judge], *([f"{OF}discriminator.channels=4"] if judge != "none" else [])]
    stages, problems = compose(
        parse(["recipe=lwm", *SMALL, f"{OF}adversarial_begin={begin}", *judged, *tokens])
    )
    assert problems == []
    source, resolved = open_source(stages["tokenizer"], prepare(stages["tokenizer"]))
    dataset = source.split("train")
    return build_model(resolved, source), collate([dataset[i] for i in range(4)])


def changed(model, step) -> set[str]:
    """Parts of the model whose weights a step moves."""
    before = {name: value.clone() for name, value in model.named_parameters()}
    step()
    assert all(torch.isfinite(value).all() for value in model.state_dict().values())
    return {
        name.split(".")[0] for name, value in model.named_parameters() if not torch.equal(value, before[name])
    }


@pytest.mark.parametrize("judge", ["none", "patch", "image", "images"])
@pytest.mark.parametrize("quantizer", ["vq", "clustering_vq", "fsq", "lfq"])
def test_a_step_moves_all_that_is_trained(quantizer, judge):
    sizes = [] if quantizer == "fsq" else ["tokenizer.quantizer.codebook_size=64"]
    model, clip = built(f"tokenizer.quantizer={quantizer}", *sizes, judge=judge)
    expected = {"tokenizer"} | ({"discriminator"} if judge != "none" else set())
    assert changed(model, lambda: take_step(model, clip, 9)) == expected


def losses_of(model, clip, step: int) -> dict[str, Tensor]:
    """What a step logs."""
    found: dict[str, Tensor] = {}
    take_step_and_log(model, clip, step, found)
    return {name.removeprefix("train/"): value for name, value in found.items()}


def take_step_and_log(model, clip, step: int, found: dict) -> None:
    optimizers = model.configure_optimizers()
    model.optimizers = lambda: optimizers if len(optimizers) > 1 else optimizers[0]
    model.manual_backward = lambda loss: loss.backward()
    model.log = lambda name, value, **rest: found.update({name: value})
    model.log_dict = lambda values, **rest: found.update(values)
    model.training_step(clip, step)


def test_the_discriminator_counts_and_trains_from_its_step_on():
    model, clip = built(judge="image", begin=5)
    assert changed(model, lambda: losses_of(model, clip, 4)) == {"tokenizer"}
    assert "discriminator" not in losses_of(model, clip, 4)
    logged = {}
    assert changed(model, lambda: logged.update(losses_of(model, clip, 5))) == {"tokenizer", "discriminator"}
    assert {"discriminator", "adversarial", "adaptive_weight"} <= logged.keys()
    assert float(logged["adaptive_weight"]) > 0


def test_the_loss_is_the_sum_that_it_says():
    model, clip = built(judge="image")
    logged = losses_of(model, clip, 9)
    adversarial = 0.8 * logged["adaptive_weight"] * logged["adversarial"]
    total = logged["reconstruction"] + logged["waist"] + adversarial
    total = total + model.weights["perceptual"] * logged.get("perceptual", 0.0)  # where LPIPS is installed
    torch.testing.assert_close(logged["loss"], total)


def test_perceptual_distance_counts_where_its_weights_are(monkeypatch):
    model, clip = built()
    monkeypatch.setattr("recipes.reconstruction.lpips_available", lambda: True)
    monkeypatch.setattr("recipes.reconstruction.lpips", lambda a, b: (a - b).abs().mean(dim=(2, 3, 4)))
    logged = losses_of(model, clip, 0)
    total = logged["reconstruction"] + logged["perceptual"] + logged["waist"]
    torch.testing.assert_close(logged["loss"], total)
    model.weights = model.weights | {"perceptual": 0.0}
    assert "perceptual" not in losses_of(model, clip, 0)


@pytest.mark.parametrize(("name", "distance"), [("l1", torch.abs), ("l2", torch.square)])
def test_reconstruction_is_the_distance_asked_for(name, distance):
    model, clip = built(f"{OF}reconstruction={name}")
    video = clip["video"] / 255
    with torch.no_grad():
        expected = distance(model.eval().tokenizer.reconstruct(video).video - video).mean()
    torch.testing.assert_close(losses_of(model, clip, 0)["reconstruction"].detach(), expected)


def test_the_loss_falls():
    model, clip = built("optimizer.lr=5e-3")
    optimizers = model.configure_optimizers()
    logged: dict[str, Tensor] = {}
    model.optimizers = lambda: optimizers[0]
    model.manual_backward = lambda loss: loss.backward()
    model.log = lambda *args, **rest: None
    model.log_dict = lambda values, **rest: logged.update(values)
    model.set_learning_rate = lambda factor: None
    found = []
    for _ in range(15):
        model.training_step(clip, 0)
        found.append(float(logged["train/reconstruction"].detach()))
    assert found[-1] < 0.5 * found[0]


def test_validation_tells_what_comes_back_and_how_many_codes_it_took():
    model, clip = built()
    logged: dict[str, Tensor] = {}
    model.log_validation = lambda name, values, **rest: logged.update({f"val/{name}": values})
    model.log_dict = logged.update
    model.eval()
    for _ in range(2):
        model.validation_step(clip, 0)
    model.on_validation_epoch_end()
    assert logged["val/psnr"].shape[0] == 4
    codes = model.tokenizer.encode(clip["video"] / 255)
    assert float(logged["val/code_usage"]) == pytest.approx(len(codes.unique()) / 512)
    shares = torch.bincount(codes.flatten()) / codes.numel()
    perplexity = torch.special.entr(shares).sum().exp()
    torch.testing.assert_close(logged["val/code_perplexity"], perplexity)
    assert not model.usage.counts.any()  # the next validation counts anew
    logged.clear()
    model.validation_step(clip, 0)
    model.on_validation_epoch_end()
    torch.testing.assert_close(logged["val/code_perplexity"], perplexity)


def test_show_gives_the_truth_and_what_comes_back():
    model, clip = built()
    videos = model.show(clip, 1, torch.Generator())
    assert list(videos) == ["truth", "reconstructed"]
    assert videos["reconstructed"].shape == clip["video"].shape


def test_what_does_not_fit_is_told_in_one_line():
    model, _ = built(judge="images")
    model.check_fits(ClipSpec(num_frames=3, height=32, width=32))
    with pytest.raises(ValueError, match=r"^the discriminator judges 3 frames, a clip has 2: set its num"):
        model.check_fits(ClipSpec(num_frames=2, height=32, width=32))
    with pytest.raises(ValueError, match=r"^VQGAN cannot tokenize .* multiples of 4$"):
        model.check_fits(ClipSpec(num_frames=6, height=30, width=32))
