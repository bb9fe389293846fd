"""A context that does not look ahead, against who sees whom written out."""

import torch

from components.backbones.causal_mask import causal_mask
from components.backbones.denoiser import Condition, Segment
from components.backbones.hunyuan_video import HunyuanVideo

SIZES = {
    "latent_channels": 2, "num_heads": 2, "head_dim": 12, "num_layers": 2, "num_single_layers": 2,
    "num_refiner_layers": 1, "text_dim": 8, "rope_axes": (4, 4, 4), "context_kernels": (1, 2),
}  # fmt: skip


def normal(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def inputs():
    """Six known frames, four of them in patches of two, and a section of two."""
    context = [
        Segment(normal(1, 4, 2, 4, 4, seed=1), torch.arange(4)[None], 2),
        Segment(normal(1, 2, 2, 4, 4, seed=2), torch.tensor([[4, 5]]), 1),
    ]
    return {
        "x": normal(1, 2, 2, 4, 4), "sigma": torch.tensor([0.6]), "indices": torch.tensor([[6, 7]]),
        "context": context, "condition": Condition(normal(1, 3, 8, seed=3), None),
    }  # fmt: skip


def model(attention):
    torch.manual_seed(0)
    made = HunyuanVideo(**SIZES, attention=attention).eval()
    for parameter in made.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    return made


def test_who_sees_whom():
    given = inputs()
    mask = causal_mask(given["context"], 8, 3, 2, 2)[0, 0]
    # tokens: 2 of kernel 2 (times 1 and 3), 4 and 4 of kernel 1 (times 4 and 5), 8 noised, 3 of the text
    times = [1, 3, *[4] * 4, *[5] * 4, *[99] * 8, *[-1] * 3]
    for query, own in enumerate(times):
        assert mask[query].tolist() == [key <= own for key in times]


def test_a_patch_that_is_padded_has_the_time_of_its_newest_frame():
    segment = Segment(torch.zeros(1, 3, 2, 4, 4), torch.tensor([[7, 8, 9]]), 2)
    mask = causal_mask([segment], 1, 0, 2, 2)[0, 0]
    assert mask.tolist() == [[True, False, False], [True, True, False], [True, True, True]]


def features(network, given):
    """What the last dual block gives of the known frames and of the text."""
    kept = []
    hook = network.transformer_blocks[-1].register_forward_hook(lambda *call: kept.append(call[-1]))
    with torch.no_grad():
        velocity = network(**given)
    hook.remove()
    video, text = kept[0]
    return video[:, :10], text, velocity


def test_nothing_of_the_section_or_of_newer_frames_reaches_what_is_known():
    network, given = model("causal"), inputs()
    known, text, velocity = features(network, given)
    other_section, other_text, moved = features(network, given | {"x": given["x"] + 1})
    torch.testing.assert_close(other_section, known, rtol=0, atol=0)
    torch.testing.assert_close(other_text, text, rtol=0, atol=0)
    assert not torch.equal(moved, velocity)
    newest = given["context"][1].latents.clone()
    newest[:, 1] += 1
    changed = [given["context"][0], given["context"][1]._replace(latents=newest)]
    later, other_text, moved = features(network, given | {"context": changed})
    torch.testing.assert_close(later[:, :6], known[:, :6], rtol=0, atol=0)
    torch.testing.assert_close(other_text, text, rtol=0, atol=0)
    assert not torch.equal(later[:, 6:], known[:, 6:])
    assert not torch.equal(moved, velocity)


def test_full_attention_lets_all_see_all():
    network, given = model("full"), inputs()
    known, _, _ = features(network, given)
    other, _, _ = features(network, given | {"x": given["x"] + 1})
    assert not torch.equal(other, known)


def test_padding_of_the_text_is_still_not_seen():
    network, given = model("causal"), inputs()
    tokens = torch.cat([given["condition"].tokens, normal(1, 2, 8, seed=9)], dim=1)
    real = torch.tensor([[True, True, True, False, False]])
    b = {name: torch.cat([value, value]) for name, value in given.items() if isinstance(value, torch.Tensor)}
    context = [
        s._replace(latents=s.latents.repeat(2, 1, 1, 1, 1), indices=s.indices.repeat(2, 1))
        for s in given["context"]
    ]
    both = Condition(tokens.repeat(2, 1, 1), torch.cat([real, torch.ones_like(real)]))
    with torch.no_grad():
        alone = network(**given)
        padded = network(**b, context=context, condition=both)[:1]
    torch.testing.assert_close(padded, alone, rtol=0, atol=1e-5)
