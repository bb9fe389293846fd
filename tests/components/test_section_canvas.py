"""Latents of a video that is made section by section, against the whole video cut by the same plans."""

import pytest
import torch

from components.memories.full import Full
from components.memories.packed import Packed
from components.orders.endpoint import Endpoint
from components.orders.inverted import Inverted
from components.orders.vanilla import Vanilla
from components.section_canvas import Canvas, Known, with_text_of

CASES = [
    (Vanilla(section=2), Packed(structure="f1k1_x_f2k2f1k1_g2")),
    (Vanilla(section=2), Packed(structure="tc_f2k2f1k1_g2")),
    (Vanilla(section=2), Full(section=2, least=3)),
    (Inverted(section=2), Packed(structure="f1k1_x_g2_f1k1f2k2")),
    (Endpoint(section=2), Packed(structure="f1k1_x_f2k1_g2_x_f1k1")),
    (Endpoint(section=2, chapter=2), Packed(structure="f1k1_x_f2k1_g2_x_f1k1")),
]


@pytest.mark.parametrize("ending", [False, True])
@pytest.mark.parametrize(("order", "memory"), CASES)
def test_what_is_seen_in_sampling_is_what_the_whole_video_shows(order, memory, ending):
    if ending and isinstance(order, Vanilla):
        pytest.skip("it looks at no end")
    z = torch.randn(1, 3 + 2 * 7 + 1, 2, 4, 4, generator=torch.Generator().manual_seed(0))
    last = z.shape[1] - 1
    canvas = Canvas(z[:, :3], memory)
    if ending:
        canvas.put(z[:, last:], last)
    shown = []
    for plan in order.steps(7, 3, ending=ending):
        mine, theirs = canvas.known(plan).seen(memory), Known.of(z, plan).seen(memory)
        assert torch.equal(mine.indices, theirs.indices)
        for a, b in zip(mine.segments, theirs.segments, strict=True):
            assert torch.equal(a.latents, b.latents)
            assert torch.equal(a.indices, b.indices)
        canvas.put(z[:, plan.first : plan.last], plan.first)
        if (ready := canvas.ready(last)) is not None:
            shown.append(ready)
        canvas.forget(plan)
    assert torch.equal(torch.cat(shown, dim=1), z[:, 3:last])
    assert canvas.shown == last


def test_a_long_video_is_held_no_longer_than_it_is_looked_at():
    memory = Packed(structure="f1k1_x_f3k1_g2")
    canvas = Canvas(torch.zeros(1, 1, 1, 2, 2), memory)
    for plan in Vanilla(section=2).steps(200):
        canvas.known(plan)
        canvas.put(torch.zeros(1, 2, 1, 2, 2), plan.first)
        canvas.ready(10_000)
        canvas.forget(plan)
        assert len(canvas._frames) <= 1 + 3 + 2


def test_every_section_is_told_its_own_text_and_the_last_one_stays():
    clip = {"text": ["a"], "text_tokens": torch.zeros(1), "section_texts": [["one", "two"]]}
    assert [with_text_of(clip, n)["text"] for n in range(4)] == [["one"], ["two"], ["two"], ["two"]]
    assert "text_tokens" not in with_text_of(clip, 0)
    assert clip["text"] == ["a"]
    assert with_text_of({"text": ["a"]}, 3) == {"text": ["a"]}
