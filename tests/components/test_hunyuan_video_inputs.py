"""A video denoiser's inputs: what must change its output, and what must not."""

from typing import Any

import pytest
import torch
from torch import Tensor

from components.backbones.denoiser import Condition, Segment
from tests.components.test_hunyuan_video import INVERTED, backbone, example, latents


def test_padding_and_neighbours_change_nothing() -> None:
    model = backbone()
    (x, sigma), rest = example(2)
    together = model(x, sigma, **rest)
    condition = rest["condition"]
    noisy = torch.where(condition.mask[..., None], condition.tokens, 1e3)
    changed = rest | {"condition": condition._replace(tokens=noisy)}
    assert torch.equal(model(x, sigma, **changed), together)
    for i in range(2):
        assert (model(x[i : i + 1], sigma[i : i + 1], **one(rest, i)) - together[i]).abs().max() < 1e-10


def one(rest: dict[str, Any], i: int) -> dict[str, Any]:
    """The i-th sample of a batch's other arguments."""
    context = [Segment(s.latents[i : i + 1], s.indices[i : i + 1], s.kernel) for s in rest["context"]]
    condition = Condition(*(None if part is None else part[i : i + 1] for part in rest["condition"]))
    return {"indices": rest["indices"][i : i + 1], "context": context, "condition": condition}


def test_samples_have_times_of_their_own() -> None:
    model = backbone()
    (x, sigma), rest = example(2)
    starts = [Segment(s.latents, s.indices + torch.tensor([[0], [13]]), s.kernel) for s in rest["context"]]
    rest |= {"indices": rest["indices"] + torch.tensor([[0], [40]]), "context": starts}
    together = model(x, sigma, **rest)
    for i in range(2):
        assert (model(x[i : i + 1], sigma[i : i + 1], **one(rest, i)) - together[i]).abs().max() < 1e-10


def test_text_may_be_missing_and_its_padding_may_come_first() -> None:
    model = backbone()
    (x, sigma), rest = example(2)
    condition = rest["condition"]
    before = model(x, sigma, **rest)
    ends = [
        (torch.cat([tokens[~mask], tokens[mask]]), mask.flip(0))
        for tokens, mask in zip(condition.tokens, condition.mask, strict=True)
    ]
    tokens, mask = (torch.stack(column) for column in zip(*ends, strict=True))
    late = condition._replace(tokens=tokens, mask=mask)
    assert (model(x, sigma, **(rest | {"condition": late})) - before).abs().max() < 1e-10
    empty = condition._replace(mask=torch.zeros_like(mask))
    none_at_all = model(x, sigma, **(rest | {"condition": empty}))
    assert none_at_all.isfinite().all()
    half = condition._replace(mask=mask & torch.tensor([[True], [False]]))
    both = model(x, sigma, **(rest | {"condition": half}))
    assert (both[1] - none_at_all[1]).abs().max() < 1e-10
    whole = condition._replace(mask=torch.ones_like(mask))
    unmasked = condition._replace(mask=None)
    made = [model(x, sigma, **(rest | {"condition": each})) for each in (whole, unmasked)]
    assert torch.equal(*made)


def test_frames_beyond_the_structure_are_forgotten_bit_by_bit() -> None:
    model = backbone()
    (x, sigma), rest = example(1)
    history = latents(30, 1, torch.float64, 6)

    def velocity(known: Tensor) -> Tensor:
        packed = INVERTED(latents(1, 1, torch.float64, 2), known, gap=9)
        return model(x, sigma, **(rest | {"indices": packed.indices, "context": packed.segments}))

    before = velocity(history)
    for frame, forgotten in ((19, True), (29, True), (18, False), (0, False)):  # the nearest is frame 0
        changed = history.clone()
        changed[:, frame] += 1
        assert torch.equal(velocity(changed), before) == forgotten


def test_the_order_of_the_context_does_not_matter() -> None:
    model = backbone()
    inputs, rest = example(2)
    shuffled = rest | {"context": rest["context"][::-1]}
    assert (model(*inputs, **rest) - model(*inputs, **shuffled)).abs().max() < 1e-10


def test_one_level_a_frame() -> None:
    model = backbone()
    (x, sigma), rest = example(2)
    shared = model(x, sigma, **rest)
    assert (model(x, sigma[:, None].expand(-1, 9), **rest) - shared).abs().max() < 1e-10
    levels = sigma[:, None] * torch.linspace(0.2, 1, 9)
    changed = model(x, levels, **rest) - shared
    assert (changed.abs().amax(dim=(2, 3, 4)) > 1e-3).all()


def test_context_at_level_zero_is_the_section_of_a_clean_past() -> None:
    model = backbone(history_timestep="zero")
    model.clean_x_embedder.init_from(model.x_embedder.proj)
    (x, sigma), rest = example(2)
    past, times = latents(2, 2, torch.float64, 7), torch.tensor([[3, 5], [4, 6]])
    told = {"condition": rest["condition"]}
    made = model(x, sigma, indices=rest["indices"], context=[Segment(past, times, 1)], **told)
    levels = torch.cat([torch.zeros(2, 2), sigma[:, None].expand(-1, 9)], dim=1)
    indices = torch.cat([times, rest["indices"]], dim=1)
    wanted = model(torch.cat([past, x], dim=1), levels, indices=indices, **told)
    assert (made - wanted[:, 2:]).abs().max() < 1e-10
    shared = backbone(history_timestep="shared")
    assert (shared(x, sigma, **rest) - model(x, sigma, **rest)).abs().max() > 1e-3


def test_odd_sides_are_padded_and_cut() -> None:
    model = backbone()
    (x, sigma), rest = example(1)
    narrow = x[..., :11, :19]
    whole = torch.cat([narrow, narrow[..., -1:]], dim=-1)
    whole = torch.cat([whole, whole[..., -1:, :]], dim=-2)
    made = model(narrow, sigma, **rest)
    assert made.shape == narrow.shape
    assert torch.equal(made, model(whole, sigma, **rest)[..., :11, :19])


def test_recomputed_blocks_have_the_same_gradients() -> None:
    kept, again = backbone(), backbone(checkpoint=True)
    inputs, rest = example(2)
    losses = [model(*inputs, **rest).square().mean() for model in (kept, again)]
    for loss in losses:
        loss.backward()
    assert losses[0] == losses[1]
    for one, other in zip(kept.parameters(), again.parameters(), strict=True):
        assert torch.equal(one.grad, other.grad)


def test_bfloat16_stays_near() -> None:
    model = backbone(dtype=torch.float32)
    inputs, rest = example(2, torch.float32)
    exact = model(*inputs, **rest)
    with torch.autocast("cpu", torch.bfloat16):
        rough = model(*inputs, **rest)
    assert rough.dtype == torch.bfloat16
    rough.sum().backward()
    assert (rough - exact).abs().max() < 0.1 * exact.abs().max()


@pytest.mark.parametrize(
    ("options", "change", "message"),
    [
        ({"guidance": False}, {}, "the backbone has no input for a guidance scale"),
        ({}, {"guidance": None}, "the backbone must be told a guidance scale"),
        ({"image_dim": 0}, {}, "an image was given to a backbone without image input"),
        ({"context_kernels": ()}, {}, "a context was given to a backbone without patch layers"),
        ({"context_kernels": (1, 4)}, {}, "no patch layer for kernel 2, there are 1, 4"),
    ],
)
def test_what_has_no_layer_is_refused(options: dict, change: dict, message: str) -> None:
    inputs, rest = example(1)
    rest |= {"condition": rest["condition"]._replace(**change)}
    with pytest.raises(ValueError, match=message):
        backbone(**options)(*inputs, **rest)


def test_axes_that_do_not_fill_a_head_are_refused() -> None:
    with pytest.raises(ValueError, match=r"rope_axes \[4, 4, 4\] must be even and sum to head_dim 16"):
        backbone(rope_axes=(4, 4, 4))
