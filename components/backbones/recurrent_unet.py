"""A U-Net with a memory: convolutional LSTMs at every scale but the largest."""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from components.backbones.conv_lstm import ConvLSTMCell, LSTMState
from components.backbones.convolutions import ConvPool, UpsampleConv, instance_norm, tile


def stages(height: int, width: int, channels: int) -> tuple[list[tuple[int, bool]], list[tuple[int, bool]]]:
    """Encoder and decoder stages as (channels, has a ConvLSTM), by the shorter side (official SAVPCell).

    Raises ValueError for frames under 32 pixels and for sides that the total stride does not divide.
    """
    n, size = channels, min(height, width)
    if size >= 256:
        encoder = [(n, False), (2 * n, False), (4 * n, True), (8 * n, True), (8 * n, True)]
        decoder = [(8 * n, True), (4 * n, True), (2 * n, False), (n, False), (n, False)]
    elif size >= 128:
        encoder = [(n, False), (2 * n, True), (4 * n, True), (8 * n, True)]
        decoder = [(8 * n, True), (4 * n, True), (2 * n, False), (n, False)]
    elif size >= 64:
        encoder = [(n, True), (2 * n, True), (4 * n, True)]
        decoder = [(2 * n, True), (n, True), (n, False)]
    elif size >= 32:
        encoder = [(n, True), (2 * n, True)]
        decoder = [(n, True), (n, False)]
    else:
        raise ValueError(
            f"frames of {height}x{width} are too small for RecurrentGenerator; use 32x32 or more"
        )
    stride = 2 ** len(encoder)
    if height % stride or width % stride:
        raise ValueError(
            f"frames of {height}x{width} do not fit RecurrentGenerator; make both sides multiples of {stride}"
        )
    return encoder, decoder


class Stage(nn.Module):
    """Halve or double, instance norm, ReLU, and a ConvLSTM if the stage has one; the vector enters both."""

    def __init__(self, *, resize: nn.Module, channels: int, vector_dim: int, recurrent: bool) -> None:
        super().__init__()
        self.resize = resize
        self.norm = instance_norm(channels)
        self.lstm = (
            ConvLSTMCell(in_channels=channels, channels=channels, vector_dim=vector_dim)
            if recurrent
            else None
        )

    def forward(
        self, x: Float[Tensor, "b c h w"], vector: Float[Tensor, "b v"], state: LSTMState | None
    ) -> tuple[Float[Tensor, "b o h2 w2"], LSTMState | None]:
        x = self.norm(self.resize(torch.cat([x, tile(vector, x)], dim=1))).relu_()
        if self.lstm is None or state is None:
            return x, None
        return self.lstm(x, vector, state)


class RecurrentUNet(nn.Module):
    """Features at full resolution and at the bottleneck from an image, a vector and the last step's memories.

    The vector is laid over the input of every convolution and ConvLSTM. Skips join an encoder stage's output
    to the input of the decoder stage of its scale; the smallest and the largest scale have none.
    Raises ValueError for sizes that do not fit (see `stages`).
    Source: SAVP's official code, class SAVPCell.
    """

    def __init__(self, *, height: int, width: int, in_channels: int, channels: int, vector_dim: int) -> None:
        super().__init__()
        encoder, decoder = stages(height, width, channels)
        self.encoder, self.decoder = nn.ModuleList(), nn.ModuleList()
        inputs = in_channels
        for i, (outputs, recurrent) in enumerate(encoder):
            pool = ConvPool(in_channels=inputs + vector_dim, out_channels=outputs, kernel_size=3 if i else 5)
            self.encoder.append(
                Stage(resize=pool, channels=outputs, vector_dim=vector_dim, recurrent=recurrent)
            )
            inputs = outputs
        self.bottleneck_shape = (inputs, height // 2 ** len(encoder), width // 2 ** len(encoder))
        skips = [0, *(outputs for outputs, _ in encoder[-2::-1])]
        for (outputs, recurrent), skip in zip(decoder, skips, strict=True):
            upsample = UpsampleConv(in_channels=inputs + skip + vector_dim, out_channels=outputs)
            self.decoder.append(
                Stage(resize=upsample, channels=outputs, vector_dim=vector_dim, recurrent=recurrent)
            )
            inputs = outputs
        self.out_channels = inputs

    def initial_state(self, image: Float[Tensor, "b c h w"]) -> tuple[LSTMState | None, ...]:
        """Zero memories, one entry a stage, None where the stage has no ConvLSTM."""
        height, width = image.shape[-2:]
        cells: list[LSTMState | None] = []
        for i, stage in enumerate([*self.encoder, *self.decoder]):
            scale = 2 ** min(i + 1, 2 * len(self.encoder) - 1 - i)
            zeros = stage.lstm and image.new_zeros(
                len(image), stage.lstm.channels, height // scale, width // scale
            )
            cells.append(None if zeros is None else LSTMState(zeros, zeros))
        return tuple(cells)

    def forward(
        self,
        x: Float[Tensor, "b c h w"],
        vector: Float[Tensor, "b v"],
        cells: tuple[LSTMState | None, ...],
    ) -> tuple[Float[Tensor, "b k i j"], Float[Tensor, "b f h w"], tuple[LSTMState | None, ...]]:
        """Bottleneck, features and the memories for the next step."""
        outputs, after = [], []
        for stage, cell in zip(self.encoder, cells[: len(self.encoder)], strict=True):
            x, cell = stage(x, vector, cell)
            outputs.append(x)
            after.append(cell)
        bottleneck = outputs.pop()
        for stage, cell in zip(self.decoder, cells[len(self.encoder) :], strict=True):
            x, cell = stage(x, vector, cell)
            after.append(cell)
            x = torch.cat([x, outputs.pop()], dim=1) if outputs else x
        return bottleneck, x, tuple(after)
