import pytest
import torch
from torch import nn

from components.adversarial.hinge import Hinge
from components.discriminators import Discriminator
from components.discriminators.patch import PatchDiscriminator


def discriminator(**changes):
    torch.manual_seed(0)
    sizes = {"height": 32, "width": 48, "num_frames": 3, "channels": 4}
    return PatchDiscriminator(**(sizes | changes))


def clip(b=2, t=3, height=32, width=48):
    return torch.rand(b, t, 3, height, width, generator=torch.Generator().manual_seed(1))


def test_has_the_official_number_of_parameters():
    with torch.device("meta"):
        model = PatchDiscriminator(height=256, width=256)
    assert sum(parameter.numel() for parameter in model.parameters()) == 2_765_633


def test_is_the_official_chain_of_layers():
    model = discriminator()
    a, b, c = model.convolutions
    chain = nn.Sequential(
        model.input, nn.LeakyReLU(0.2),
        a, model.norms[0], nn.LeakyReLU(0.2),
        b, model.norms[1], nn.LeakyReLU(0.2),
        c, model.norms[2], nn.LeakyReLU(0.2),
        model.head,
    )  # fmt: skip
    assert [layer.stride[0] for layer in (model.input, a, b, c, model.head)] == [2, 2, 2, 1, 1]
    expected = chain(2 * clip().flatten(0, 1) - 1)
    assert expected.shape == (6, 1, 2, 4)
    torch.testing.assert_close(model(clip())[0], expected.flatten())


def test_one_logit_a_patch_those_of_a_clip_together():
    model = discriminator().eval()
    assert isinstance(model, Discriminator)
    logits, features = model(clip())
    assert logits.shape == (2 * 3 * 2 * 4,)
    shapes = [(6, 4, 16, 24), (6, 8, 8, 12), (6, 16, 4, 6), (6, 32, 3, 5)]
    assert [tuple(feature.shape) for feature in features] == shapes
    alone = torch.cat([model(clip()[i : i + 1, t : t + 1])[0] for i in range(2) for t in range(3)])
    torch.testing.assert_close(logits, alone)


def test_a_patch_is_seventy_pixels():
    model = discriminator(height=128, width=128, channels=2).eval()
    image = clip(1, 1, 128, 128).requires_grad_()
    logits = model(image)[0].view(14, 14)
    (gradient,) = torch.autograd.grad(logits[7, 7], image)
    rows = gradient.abs().sum(dim=(0, 1, 2, 4)).nonzero().squeeze(1)
    assert rows[-1] - rows[0] + 1 == 70


@pytest.mark.parametrize(("height", "width", "num_layers"), [(24, 25, 3), (12, 40, 2), (6, 6, 1)])
def test_the_least_size_gives_a_logit_and_less_is_refused(height, width, num_layers):
    model = discriminator(height=height, width=width, num_layers=num_layers)
    assert len(model(clip(1, 1, height, width))[0]) >= 1
    with pytest.raises(ValueError, match=f"it needs {height}x{height}"):
        discriminator(height=height - 1, width=width, num_layers=num_layers)


def test_gradients_reach_the_clip_and_all_weights():
    model, fake = discriminator(), clip().requires_grad_()
    Hinge().discriminator(*model(torch.cat([clip(), fake]))[0].chunk(2)).backward()
    assert fake.grad.abs().sum() > 0
    assert all(parameter.grad is not None for parameter in model.parameters())
