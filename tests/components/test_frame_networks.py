"""Frame networks: one vector a picture, by what is where in it."""

import pytest
import torch

from checkpoints.build import build
from components.frame_networks import FrameNetwork
from components.frame_networks.convolutions import Convolutions
from components.frame_networks.timm_network import TimmNetwork
from launch.presets import kinds


def convolutions() -> Convolutions:
    torch.manual_seed(0)
    return Convolutions(in_channels=6, height=32, width=48, dim=16, widths=[8, 16], norm_groups=4)


def test_a_vector_a_picture_and_a_picture_alone():
    network = convolutions()
    assert isinstance(network, FrameNetwork)
    pictures = torch.rand(3, 6, 32, 48)
    found = network(pictures)
    assert found.shape == (3, network.dim)
    assert torch.allclose(network(pictures[1:2]), found[1:2], atol=1e-6)


def test_where_a_thing_is_counts():
    pictures = torch.zeros(2, 6, 32, 48)
    pictures[0, :, 4:8, 4:8] = pictures[1, :, 4:8, 36:40] = 1.0
    found = convolutions()(pictures)
    assert (found[0] - found[1]).abs().max() > 0.1


def test_any_network_of_timm():
    torch.manual_seed(0)
    network = TimmNetwork(in_channels=6, name="resnet10t").eval()
    assert network(torch.rand(2, 6, 64, 64)).shape == (2, network.dim)
    with pytest.raises(ValueError, match="no model resnt18"):
        TimmNetwork(in_channels=3, name="resnt18")


def test_what_does_not_fit_is_told():
    with pytest.raises(ValueError, match="sides divide by 4"):
        Convolutions(in_channels=3, height=30, width=32, widths=[8, 8])
    with pytest.raises(ValueError, match="the network takes"):
        convolutions()(torch.rand(1, 3, 32, 48))


def test_presets():
    nodes = kinds()["components.frame_networks"].nodes
    assert sorted(nodes) == ["convolutions", "timm"]
    assert build(nodes["timm"]).dim == 512
