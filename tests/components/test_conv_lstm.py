import pytest
import torch
import torch.nn.functional as F
from torch import nn

from components.backbones.conv_lstm import ConvLSTMCell, LSTMCell, LSTMState
from components.backbones.convolutions import NORM_EPSILON, ConvPool, UpsampleConv, conv, instance_norm, tile


def drawn(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize("kernel_size", [3, 5])
@pytest.mark.parametrize("size", [(8, 8), (6, 14)])
def test_conv_pool_is_convolution_then_pooling(kernel_size, size):
    layer = ConvPool(in_channels=5, out_channels=7, kernel_size=kernel_size).double()
    layer.bias.data = drawn(7)
    x = drawn(2, 5, *size)
    unfused = F.avg_pool2d(F.conv2d(x, layer.weight, layer.bias, padding=kernel_size // 2), 2)
    torch.testing.assert_close(layer(x), unfused, rtol=0, atol=1e-12)


def bilinear_then_conv(x, weight, bias):
    """The official form, step by step: transposed without cropping, then without padding."""
    row = torch.tensor([0.25, 0.75, 0.75, 0.25], dtype=x.dtype)
    kernel = torch.outer(row, row).expand(x.shape[1], 1, 4, 4)
    return F.conv2d(F.conv_transpose2d(x, kernel, stride=2, groups=x.shape[1]), weight, bias)


@pytest.mark.parametrize("size", [(4, 4), (3, 7)])
def test_upsample_conv_is_bilinear_upsampling_then_convolution(size):
    layer = UpsampleConv(in_channels=5, out_channels=6).double()
    layer.bias.data = drawn(6)
    x = drawn(2, 5, *size)
    torch.testing.assert_close(layer(x), bilinear_then_conv(x, layer.weight, layer.bias), rtol=0, atol=1e-12)


def test_upsample_conv_is_interpolate_inside_but_not_at_the_border():
    layer = UpsampleConv(in_channels=5, out_channels=6).double()
    x = drawn(2, 5, 8, 8)
    usual = F.conv2d(F.interpolate(x, scale_factor=2, mode="bilinear"), layer.weight, layer.bias, padding=1)
    inside = (..., slice(2, -2), slice(2, -2))
    torch.testing.assert_close(layer(x)[inside], usual[inside], rtol=0, atol=1e-12)
    assert (layer(x) - usual).abs().max() > 1e-3


def test_instance_norm_normalises_each_clip_and_channel():
    norm = instance_norm(4).double()
    norm.weight.data, norm.bias.data = drawn(4), drawn(4, seed=1)
    x = 3 * drawn(2, 4, 6, 5, seed=2) + 1
    expected = F.instance_norm(x, weight=norm.weight, bias=norm.bias, eps=NORM_EPSILON)
    torch.testing.assert_close(norm(x), expected, rtol=0, atol=1e-12)


def test_conv_lstm_step_written_out():
    cell = ConvLSTMCell(in_channels=3, channels=4, vector_dim=2).double()
    for norm in (cell.gates_norm, cell.cell_norm):
        norm.weight.data, norm.bias.data = 1 + 0.3 * drawn(len(norm.weight)), drawn(len(norm.weight), seed=1)
    x, vector = drawn(2, 3, 8, 6), drawn(2, 2, seed=3)
    state = LSTMState(drawn(2, 4, 8, 6, seed=4), drawn(2, 4, 8, 6, seed=5))
    hidden, after = cell(x, vector, state)

    everywhere = torch.ones(2, 2, 8, 6, dtype=torch.float64) * vector[:, :, None, None]
    gates = F.conv2d(torch.cat([x, everywhere, state.hidden], dim=1), cell.gates.weight, padding=2)
    parts = []
    for n in range(4):  # normalising each gate alone is normalising all four together
        own = slice(4 * n, 4 * n + 4)
        weight, bias = cell.gates_norm.weight[own], cell.gates_norm.bias[own]
        parts.append(F.instance_norm(gates[:, own], weight=weight, bias=bias, eps=NORM_EPSILON))
    i, j, f, o = parts
    new = state.cell * torch.sigmoid(f + 1) + torch.sigmoid(i) * torch.tanh(j)
    new = F.instance_norm(new, weight=cell.cell_norm.weight, bias=cell.cell_norm.bias, eps=NORM_EPSILON)
    torch.testing.assert_close(after.cell, new, rtol=0, atol=1e-12)
    torch.testing.assert_close(hidden, torch.tanh(new) * torch.sigmoid(o), rtol=0, atol=1e-12)
    assert after.hidden is hidden


def test_a_tiled_vector_shows_only_at_the_border_once_normalised():
    layer, norm = conv(3, 4, 5).double(), instance_norm(4).double()
    vector = drawn(2, 3)
    image = tile(vector, drawn(2, 1, 12, 12))
    response = layer(image)
    assert torch.allclose(response[..., 2:-2, 2:-2], response[..., 2:3, 2:3])
    assert not torch.allclose(response[..., 0, :], response[..., 2:3, 2])
    assert norm(response).std() > 0.5  # not lost, as a constant would be


def test_lstm_cell_is_torchs_with_other_gate_order_and_forget_bias():
    ours = LSTMCell(in_features=3, features=5).double()
    ours.gates.bias.data = drawn(20)
    theirs = nn.LSTMCell(3, 5).double()
    order = [0, 2, 1, 3]  # torch wants input, forget, candidate, output
    weight = ours.gates.weight.data.unflatten(0, (4, 5))[order].flatten(0, 1)
    bias = ours.gates.bias.data.unflatten(0, (4, 5))[order]
    bias[1] += 1
    theirs.weight_ih.data, theirs.weight_hh.data = weight[:, :3], weight[:, 3:]
    theirs.bias_ih.data, theirs.bias_hh.data = bias.flatten(), torch.zeros(20, dtype=torch.float64)
    x, state = drawn(2, 3), LSTMState(drawn(2, 5, seed=1), drawn(2, 5, seed=2))
    hidden, after = ours(x, state)
    expected, cell = theirs(x, (state.hidden, state.cell))
    torch.testing.assert_close(hidden, expected, rtol=0, atol=1e-12)
    torch.testing.assert_close(after.cell, cell, rtol=0, atol=1e-12)


def test_kernels_start_small_and_cut_off():
    weight = ConvPool(in_channels=64, out_channels=64, kernel_size=3).weight
    assert weight.abs().max() <= 0.04
    assert weight.std().item() == pytest.approx(
        0.0176, rel=0.02
    )  # a normal cut at two std has 0.88 of its std
