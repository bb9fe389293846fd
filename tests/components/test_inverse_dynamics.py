"""Inverse dynamics: the mean of what each vector says, or what all say together, of frames, codes or both."""

import pytest
import torch

from components.frame_networks.convolutions import Convolutions
from components.inverse_dynamics import InverseDynamics
from components.inverse_dynamics.frames_and_codes import FramesAndCodes


def built(*, frames: bool = True, num_codes: int = 3, read_out: str = "mean") -> FramesAndCodes:
    torch.manual_seed(0)
    network = Convolutions(in_channels=6, height=8, width=8, dim=12, widths=[8], norm_groups=4)
    code_dim = 5 if num_codes else 0
    made = FramesAndCodes(
        frames=network if frames else None, num_codes=num_codes, code_dim=code_dim, action_dim=7, dim=16,
        read_out=read_out,
    )  # fmt: skip
    with torch.no_grad():
        for parameter in made.parameters():
            parameter += 0.1 * torch.randn_like(parameter)
    return made


FRAMES, CODES = torch.rand(4, 6, 8, 8), torch.randn(4, 3, 5)


def test_the_action_is_the_mean_over_the_frames_and_each_code():
    inverse = built()
    assert isinstance(inverse, InverseDynamics)
    rows = [inverse.of_frames(inverse.frames(FRAMES))]
    rows += [inverse.of_codes(CODES[:, h]) + inverse.horizons[h] for h in range(3)]
    expected = torch.stack([inverse.head(row) for row in rows]).mean(dim=0)
    found = inverse(FRAMES, CODES)
    assert found.shape == (4, 7)
    assert torch.allclose(found, expected, atol=1e-6)


def test_what_a_code_says_depends_on_the_frame_only_where_they_are_read_together():
    others = torch.rand(4, 6, 8, 8, generator=torch.Generator().manual_seed(2))
    for read_out, together in (("mean", False), ("joint", True)):
        inverse = built(read_out=read_out)
        by_codes = [inverse(frames, CODES) - inverse(frames, CODES.flip(0)) for frames in (FRAMES, others)]
        assert torch.allclose(*by_codes, atol=1e-5) != together
    vectors = [inverse.of_frames(inverse.frames(FRAMES))[:, None], inverse.of_codes(CODES) + inverse.horizons]
    assert torch.allclose(inverse(FRAMES, CODES), inverse.head(torch.cat(vectors, dim=1).flatten(1)))


@pytest.mark.parametrize("read_out", ["mean", "joint"])
@pytest.mark.parametrize(("frames", "num_codes"), [(True, 0), (False, 3)])
def test_what_is_not_read_may_be_left_out_and_changes_nothing(frames, num_codes, read_out):
    inverse = built(frames=frames, num_codes=num_codes, read_out=read_out)
    assert (inverse.reads_frames, inverse.reads_codes) == (frames, bool(num_codes))
    alone = inverse(FRAMES if frames else None, CODES if num_codes else None)
    assert torch.equal(alone, inverse(FRAMES, CODES))
    with pytest.raises(ValueError, match="reads what it was not given"):
        inverse(None if frames else FRAMES, None if num_codes else CODES)


def test_nothing_to_read_is_told():
    with pytest.raises(ValueError, match="here it is neither"):
        built(frames=False, num_codes=0)
    network = Convolutions(in_channels=3, height=8, width=8, dim=12, widths=[8], norm_groups=4)
    with pytest.raises(ValueError, match="here it is neither"):
        FramesAndCodes(frames=network, next_frame=False, num_codes=0, code_dim=0, action_dim=7)
