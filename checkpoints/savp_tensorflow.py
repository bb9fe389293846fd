"""Weights of the official SAVP code (TensorFlow 1) for our generator, posterior and video discriminators.

The variables come as a dictionary name -> array; `read_variables` makes one from a checkpoint where
TensorFlow is installed. Every function returns a state dict for `load_state_dict`, after checking that each
variable of its scope is used, each tensor of the module is filled and all shapes agree.
Source: variable names and layouts of alexlee-gk/video_prediction, run at commit df43be5.
"""

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from checkpoints.own import CheckpointError
from components.backbones.recurrent_generator import RecurrentGenerator
from components.discriminators.video import VideoDiscriminator
from components.posteriors.pair_encoder import PairEncoder
from components.transformations.cdna import CDNA
from components.transformations.dna import DNA
from components.transformations.flow import Flow

Variables = Mapping[str, np.ndarray]


def read_variables(prefix: Path) -> dict[str, np.ndarray]:
    """All variables of a TensorFlow checkpoint, by name; prefix is the path up to and with model-<step>.

    Raises CheckpointError where TensorFlow is not installed.
    """
    try:
        import tensorflow
    except ImportError as error:
        message = f"{prefix}: reading a TensorFlow checkpoint needs tensorflow; pip install tensorflow-cpu"
        raise CheckpointError(message) from error
    reader = tensorflow.train.load_checkpoint(str(prefix))
    return {name: reader.get_tensor(name) for name in reader.get_variable_to_shape_map()}


def generator_state(variables: Variables, generator: RecurrentGenerator) -> dict[str, Tensor]:
    """The generator's weights; files older than January 2019 call its cell dna_cell, which is understood."""
    renamed = {name.replace("/dna_cell/", "/savp_cell/"): value for name, value in variables.items()}
    scope = _Scope(renamed, "generator/rnn/savp_cell/")
    if generator.latent_lstm is not None:
        scope.dense("latent_lstm.gates", "lstm_z/basic_lstm_cell")
    stages = [f"encoder.{i}" for i in range(len(generator.unet.encoder))]
    stages += [f"decoder.{i}" for i in range(len(generator.unet.decoder))]
    for i, stage in enumerate(stages):
        resize = "conv_pool2d" if stage.startswith("encoder") else "upsample_conv2d"
        scope.conv(f"unet.{stage}.resize", f"h{i}/{resize}")
        scope.norm(f"unet.{stage}.norm", f"h{i}/InstanceNorm")
        if generator.unet.get_submodule(stage).lstm is not None:
            cell = f"lstm_h{i}/basic_conv2dlstm_cell"
            scope.put(f"unet.{stage}.lstm.gates.weight", f"{cell}/kernel", lambda k: k.permute(3, 2, 0, 1))
            scope.norm(f"unet.{stage}.lstm.gates_norm", f"{cell}/input_transform_forget_output")
            scope.norm(f"unet.{stage}.lstm.cell_norm", f"{cell}/state")
    head = f"h{len(stages)}"
    _transformation(scope, generator, head)
    if generator.scratch is not None:
        scope.conv_norm("scratch.0", f"{head}_scratch")
        scope.conv("scratch.1", "scratch_image/conv2d")
    scope.conv_norm("mask_features", f"{head}_masks")
    scope.conv("masks", "masks/conv2d")
    if generator.state_model is not None:
        scope.dense("state_model", "state_pred/dense")
    return scope.state_for(generator)


def _transformation(scope: "_Scope", generator: RecurrentGenerator, head: str) -> None:
    """The official code numbers taps (or x, y) first and warps last; ours are warps first."""
    transformation = generator.transformation
    if isinstance(transformation, CDNA):
        k, (c, h, w) = len(transformation.identity), generator.unet.bottleneck_shape

        def dense(kernel: Tensor) -> Tensor:
            return kernel.reshape(h, w, c, k * k, -1).permute(4, 3, 2, 0, 1).reshape(-1, c * h * w)

        scope.put("transformation.kernels.weight", "cdna_kernels/dense/kernel", dense)
        scope.put("transformation.kernels.bias", "cdna_kernels/dense/bias", lambda b: _warps_first(b, k * k))
    elif isinstance(transformation, DNA):
        scope.conv_norm("transformation.head", f"{head}_dna_kernel")
        taps, kernels = transformation.identity.numel(), "dna_kernels/conv2d"
        scope.put(
            "transformation.kernels.weight",
            f"{kernels}/kernel",
            lambda k: _warps_first(k.permute(3, 2, 0, 1), taps),
        )
        scope.put("transformation.kernels.bias", f"{kernels}/bias", lambda b: _warps_first(b, taps))
    elif isinstance(transformation, Flow):
        scope.conv_norm("transformation.head", f"{head}_flow")
        scope.put(
            "transformation.vectors.weight",
            "flows/conv2d/kernel",
            lambda k: _warps_first(k.permute(3, 2, 0, 1), 2),
        )
        scope.put("transformation.vectors.bias", "flows/conv2d/bias", lambda b: _warps_first(b, 2))
    else:
        raise CheckpointError(
            f"{type(transformation).__name__}: the official code has no such transformation"
        )


def _warps_first(outputs: Tensor, parts: int) -> Tensor:
    """(parts * warps, ...) -> (warps * parts, ...)."""
    return outputs.reshape(parts, -1, *outputs.shape[1:]).transpose(0, 1).flatten(0, 1)


def posterior_state(variables: Variables, posterior: PairEncoder) -> dict[str, Tensor]:
    """The posterior's weights (the official encoder E)."""
    scope = _Scope(variables, "generator/encoder/")
    for i in range(len(posterior.trunk.convolutions)):
        scope.conv(f"trunk.convolutions.{i}", f"layer_{i + 1}/conv2d")
        if i > 0:
            scope.norm(f"trunk.norms.{i}", f"layer_{i + 1}/InstanceNorm")
    scope.dense("mean", "z_mu/dense")
    scope.dense("log_variance", "z_log_sigma_sq/dense")
    return scope.state_for(posterior)


def discriminator_state(
    variables: Variables, discriminator: VideoDiscriminator, *, of_posterior_samples: bool
) -> dict[str, Tensor]:
    """Weights and spectral norms of the discriminator of prior samples, or of that of posterior samples.

    The official graph runs one power iteration from the stored u before it divides; the vectors returned are
    those after that iteration, so that eval mode gives the official logits.
    """
    scope = _Scope(
        variables, "discriminator/encoder/video/" if of_posterior_samples else "discriminator/video/"
    )
    c, t, h, w = discriminator.last_shape

    def head(kernel: Tensor) -> Tensor:
        return kernel.reshape(t, h, w, c).permute(3, 0, 1, 2).reshape(1, -1)

    names = ["conv0_0", "conv0_1", "conv1_0", "conv1_1", "conv2_0", "conv2_1", "conv3_0"]
    for i, name in enumerate(names):
        scope.spectral(f"convolutions.{i}", f"sn_{name}/conv3d", lambda kernel: kernel.permute(4, 3, 0, 1, 2))
        scope.put(f"convolutions.{i}.bias", f"sn_{name}/bias")  # outside the conv3d scope, unlike all others
    scope.spectral("head", "sn_fc4/dense", head)
    scope.put("head.bias", "sn_fc4/dense/bias")
    return scope.state_for(discriminator)


class _Scope:
    """The variables under one prefix, taken one by one, and the state dict they make."""

    def __init__(self, variables: Variables, prefix: str) -> None:
        slots = ("/Adam", "/Adam_1")  # the optimiser's moments lie beside the weights
        self.prefix = prefix
        self.left = {k: v for k, v in variables.items() if k.startswith(prefix) and not k.endswith(slots)}
        self.state: dict[str, Tensor] = {}
        self.sources: dict[str, str] = {}

    def take(self, name: str) -> Tensor:
        if self.prefix + name not in self.left:
            raise CheckpointError(f"{self.prefix}{name}: not in the checkpoint")
        return torch.from_numpy(np.array(self.left.pop(self.prefix + name)))

    def put(self, key: str, name: str, convert: Callable[[Tensor], Tensor] = lambda tensor: tensor) -> None:
        tensor = self.take(name)
        try:
            self.state[key] = convert(tensor).contiguous()
        except RuntimeError as error:
            message = f"{self.prefix}{name}: shape {tuple(tensor.shape)} does not fit the module"
            raise CheckpointError(message) from error
        self.sources[key] = self.prefix + name

    def conv(self, key: str, name: str) -> None:
        self.put(f"{key}.weight", f"{name}/kernel", lambda kernel: kernel.permute(3, 2, 0, 1))
        self.put(f"{key}.bias", f"{name}/bias")

    def dense(self, key: str, name: str) -> None:
        self.put(f"{key}.weight", f"{name}/kernel", lambda kernel: kernel.T)
        self.put(f"{key}.bias", f"{name}/bias")

    def norm(self, key: str, name: str) -> None:
        self.put(f"{key}.weight", f"{name}/gamma")
        self.put(f"{key}.bias", f"{name}/beta")

    def conv_norm(self, key: str, name: str) -> None:
        self.conv(f"{key}.0", f"{name}/conv2d")
        self.norm(f"{key}.1", f"{name}/InstanceNorm")

    def spectral(self, key: str, name: str, convert: Callable[[Tensor], Tensor]) -> None:
        weight = f"{key}.parametrizations.weight"
        self.put(f"{weight}.original", f"{name}/kernel", convert)
        matrix = self.state[f"{weight}.original"].flatten(1)
        v = F.normalize(matrix.T @ self.take(f"{name}/u").flatten(), dim=0)
        self.state[f"{weight}.0._u"], self.state[f"{weight}.0._v"] = F.normalize(matrix @ v, dim=0), v

    def state_for(self, module: nn.Module) -> dict[str, Tensor]:
        """The finished state dict, checked against the module."""
        for name in self.left:
            raise CheckpointError(
                f"{name}: in the checkpoint, but {type(module).__name__} has no place for it"
            )
        wanted = module.state_dict()
        for key, tensor in self.state.items():
            if key not in wanted or wanted[key].shape != tensor.shape:
                here = tuple(wanted[key].shape) if key in wanted else "nothing"
                source = self.sources.get(key, key)
                raise CheckpointError(
                    f"{source}: {tuple(tensor.shape)} as {key}, where the module has {here}"
                )
        for key in wanted.keys() - self.state.keys():
            raise CheckpointError(f"{key}: filled by no variable under {self.prefix}")
        found = sum(self.state[key].numel() for key in self.sources)
        expected = sum(parameter.numel() for parameter in module.parameters())
        assert found == expected, f"{self.prefix}: {found:,} numbers for {expected:,} parameters"
        return self.state
