"""The U-Net of the robot pushing papers: ConvLSTMs under layer norm, actions enter at the bottleneck."""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from components.backbones.conv_lstm import LSTMState
from components.backbones.convolutions import tile

STRIDE = 8  # of the bottleneck


def xavier_initialised(module: nn.Module) -> None:
    """Start every layer as TensorFlow's slim does: Xavier's uniform kernels, biases of 0."""
    for layer in module.modules():
        if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d | nn.Linear):
            nn.init.xavier_uniform_(layer.weight)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)


def layer_norm(channels: int) -> nn.GroupNorm:
    """Layer norm over channels and space with a gain and a bias a channel; epsilon as in tf.contrib."""
    return nn.GroupNorm(1, channels, eps=1e-12)


class Halve(nn.Conv2d):
    """A convolution of stride 2 padded as TensorFlow does: the odd pixel of padding goes right and below."""

    def __init__(self, in_channels: int, out_channels: int, kernel_size: int, *, bias: bool = True) -> None:
        super().__init__(in_channels, out_channels, kernel_size, stride=2, bias=bias)

    def forward(self, input: Float[Tensor, "b c h w"]) -> Float[Tensor, "b o h2 w2"]:
        before, after = (self.kernel_size[0] - 2) // 2, (self.kernel_size[0] - 1) // 2
        return super().forward(F.pad(input, (before, after, before, after)))


class Double(nn.Module):
    """A transposed 3x3 convolution of stride 2, cropped as TensorFlow does: at the right and below."""

    def __init__(self, channels: int, *, bias: bool = True) -> None:
        super().__init__()
        self.conv = nn.ConvTranspose2d(channels, channels, 3, stride=2, bias=bias)

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h2 w2"]:
        return self.conv(x)[..., :-1, :-1]


class NormedConvLSTM(nn.Module):
    """A 5x5 convolutional LSTM, 1 added to the forget gate, and layer norm of what it gives on.

    Nothing inside is normalised and the hidden state is carried as it was before the norm.
    """

    def __init__(self, *, in_channels: int, channels: int, scale: int) -> None:
        super().__init__()
        self.channels, self.scale = channels, scale
        self.gates = nn.Conv2d(in_channels + channels, 4 * channels, 5, padding=2)
        self.norm = layer_norm(channels)

    def initial_state(self, image: Float[Tensor, "b c h w"]) -> LSTMState:
        height, width = image.shape[-2] // self.scale, image.shape[-1] // self.scale
        zeros = image.new_zeros(len(image), self.channels, height, width)
        return LSTMState(zeros, zeros)

    def forward(
        self, x: Float[Tensor, "b c h w"], state: LSTMState
    ) -> tuple[Float[Tensor, "b f h w"], LSTMState]:
        i, j, f, o = self.gates(torch.cat([x, state.hidden], dim=1)).chunk(4, dim=1)
        cell = state.cell * torch.sigmoid(f + 1) + torch.sigmoid(i) * torch.tanh(j)
        hidden = torch.tanh(cell) * torch.sigmoid(o)
        return self.norm(hidden), LSTMState(cell, hidden)


class PushingUNet(nn.Module):
    """Features at full size and at the bottleneck from a frame, a vector, a latent and the last memories.

    ConvLSTMs have widths n, 2n, 4n, 2n, n over the scales, `lstms_per_scale` of them at the first two and one
    at the others. Vector (laid over space) and latent (whole maps) join at stride 8 by a 1x1 convolution;
    they have `given_channels` in all. Skips join what a scale was given, not what its ConvLSTMs gave.
    Source: construct_model of dna_model and sv2p_model, Prediction_Model of sna_model in SAVP's code.
    """

    def __init__(
        self,
        *,
        in_channels: int,
        channels: int,
        first_channels: int,
        lstms_per_scale: int,
        given_channels: int,
        relu_features: bool,
    ) -> None:
        super().__init__()
        n, self.relu_features = channels, relu_features
        self.out_channels = n + first_channels
        self.read = Halve(in_channels, first_channels, 5, bias=False)
        self.read_norm = layer_norm(first_channels)
        self.fine = _lstms(first_channels, n, count=lstms_per_scale, scale=2)
        self.halve_fine = Halve(n, n, 3)
        self.middle = _lstms(n, 2 * n, count=lstms_per_scale, scale=4)
        self.halve_middle = Halve(2 * n, 2 * n, 3)
        self.join = nn.Conv2d(2 * n + given_channels, 2 * n, 1)
        self.bottleneck = _lstms(2 * n, 4 * n, count=1, scale=STRIDE)
        self.double_bottleneck = Double(4 * n)
        self.up_middle = _lstms(4 * n, 2 * n, count=1, scale=4)
        self.double_middle = Double(3 * n)
        self.up_fine = _lstms(3 * n, n, count=1, scale=2)
        self.double_fine = Double(self.out_channels, bias=False)
        self.features_norm = layer_norm(self.out_channels)

    def initial_state(self, image: Float[Tensor, "b c h w"]) -> tuple[LSTMState, ...]:
        """Zero memories, in the order in which the ConvLSTMs are run."""
        lstms = (module for module in self.modules() if isinstance(module, NormedConvLSTM))
        return tuple(lstm.initial_state(image) for lstm in lstms)

    def forward(
        self,
        frame: Float[Tensor, "b c h w"],
        vector: Float[Tensor, "b v"],
        latent: Float[Tensor, "b z"] | None,
        cells: tuple[LSTMState, ...],
    ) -> tuple[Float[Tensor, "b k i j"], Float[Tensor, "b f h w"], tuple[LSTMState, ...]]:
        """Bottleneck, features at full size and the memories for the next step."""
        before, after = list(cells), []

        def remember(lstms: nn.ModuleList, x: Tensor) -> Tensor:
            for lstm in lstms:
                x, cell = lstm(x, before.pop(0))
                after.append(cell)
            return x

        fine = F.relu(self.read_norm(self.read(frame)))
        middle = F.relu(self.halve_fine(remember(self.fine, fine)))
        coarse = F.relu(self.halve_middle(remember(self.middle, middle)))
        given = [coarse, tile(vector, coarse)]
        if latent is not None:
            given.append(latent.unflatten(1, (-1, *coarse.shape[2:])))
        bottleneck = remember(self.bottleneck, F.relu(self.join(torch.cat(given, dim=1))))
        x = remember(self.up_middle, F.relu(self.double_bottleneck(bottleneck)))
        x = F.relu(self.double_middle(torch.cat([x, middle], dim=1)))
        x = remember(self.up_fine, x)
        features = self.features_norm(self.double_fine(torch.cat([x, fine], dim=1)))
        return bottleneck, F.relu(features) if self.relu_features else features, tuple(after)


def _lstms(in_channels: int, channels: int, *, count: int, scale: int) -> nn.ModuleList:
    widths = [in_channels, *[channels] * (count - 1)]
    return nn.ModuleList(NormedConvLSTM(in_channels=i, channels=channels, scale=scale) for i in widths)
