"""Runs the official SAVP code on drawn weights and keeps what it predicts, for test_savp_tensorflow.

    git clone https://github.com/alexlee-gk/video_prediction   # made at commit df43be5
    pip install tensorflow-cpu tf_keras                         # made with 2.21
    python -m tests.checkpoints.make_savp_official CLONE

The code is for TensorFlow 1 with contrib; the few functions of contrib that it calls are given here, and so
is the smallest epsilon (1.001e-5) that the fused batch norm of TensorFlow 1 allowed.
"""

import importlib.util
import os
import sys
import types
import zlib
from pathlib import Path

import numpy as np

FIXTURE = Path(__file__).parent / "savp_official.npz"
BATCH, FRAMES, CONTEXT = 2, 4, 2
COMMON = {
    **dict.fromkeys(("norm_layer", "conv_rnn_norm_layer"), "instance"),
    **dict.fromkeys(("rnn", "conv_rnn"), "lstm"),
    **dict.fromkeys(("ngf", "nef", "ndf", "num_transformed_images"), 4),
    **dict.fromkeys(
        ("prev_image_background", "first_image_background", "use_tile_concat", "use_rnn_z"), True
    ),
    **dict.fromkeys(("last_image_background", "last_context_image_background"), False),
    **dict.fromkeys(("context_images_background", "learn_initial_state", "use_e_rnn"), False),
    **dict.fromkeys(("ablation_conv_rnn_norm", "ablation_rnn"), False),
    "n_layers": 3,
    "downsample_layer": "conv_pool2d",
    "upsample_layer": "upsample_conv2d",
    "activation_layer": "relu",
    "kernel_size": (5, 5),
    "dilation_rate": (1, 1),
    "where_add": "all",
    "dependent_mask": True,
    "schedule_sampling": "none",
    "context_frames": CONTEXT,
    "sequence_length": FRAMES,
}
CASES = {
    "cdna": {"transformation": "cdna", "last_frames": 1, "generate_scratch_image": True, "nz": 3},
    "dna": {"transformation": "dna", "last_frames": 1, "generate_scratch_image": True, "nz": 3},
    "flow": {"transformation": "flow", "last_frames": 2, "generate_scratch_image": False, "nz": 0},
}


def inputs(case: str) -> dict[str, np.ndarray]:
    """Time first, channels last, as the official code has it."""
    rng = np.random.Generator(np.random.Philox(key=zlib.crc32(case.encode())))
    drawn = {
        "images": rng.random((FRAMES, BATCH, 32, 32, 3)),
        "actions": rng.standard_normal((FRAMES - 1, BATCH, 2)),
        "states": rng.standard_normal((FRAMES, BATCH, 3)),
        "zs": rng.standard_normal((FRAMES - 1, BATCH, 3)),
        "pix_distribs": rng.random((FRAMES, BATCH, 32, 32, 1)),
    }
    drawn["pix_distribs"] /= drawn["pix_distribs"].sum(axis=(2, 3), keepdims=True)
    return {name: value.astype(np.float32) for name, value in drawn.items()}


def weight(name: str, shape: tuple[int, ...]) -> np.ndarray:
    """Drawn from the variable's name alone, so that the fixture need not hold it."""
    rng = np.random.Generator(np.random.Philox(key=zlib.crc32(name.encode())))
    value = rng.standard_normal(shape)
    kind = name.rsplit("/", 1)[1]
    if kind == "kernel":
        value *= 0.8 / np.sqrt(np.prod(shape[:-1]))
    elif kind in ("gamma", "beta", "bias"):
        value = 0.2 * value + (kind == "gamma")
    return value.astype(np.float32)


def _module(name: str, **content: object) -> types.ModuleType:
    module = types.ModuleType(name)
    module.__dict__.update(content)
    sys.modules[name] = module
    return module


def _load(name: str, path: Path) -> types.ModuleType:
    spec = importlib.util.spec_from_file_location(name, path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


def official(clone: Path) -> tuple[types.ModuleType, types.ModuleType, types.ModuleType]:
    """TensorFlow in its version 1 mode, and the official generator and networks on top of it."""
    os.environ["TF_USE_LEGACY_KERAS"] = "1"
    import tensorflow
    import tensorflow.python.ops as tensorflow_ops

    tf = tensorflow.compat.v1
    tf.disable_v2_behavior()
    cells = tf.nn.rnn_cell

    def fused_batch_norm(x, scale, offset, *, epsilon, data_format, name):
        raised = max(epsilon, 1.001e-5)
        return tf.nn.fused_batch_norm(
            x, scale, offset, epsilon=raised, data_format=data_format, is_training=True, name=name
        )

    def model_variable(name, *, shape, dtype, initializer, collections, trainable):
        return tf.get_variable(name, shape, dtype, initializer, trainable=trainable)

    def unroll_rnn(cell, sequences):
        outputs, state = [], cell.zero_state(BATCH, tf.float32)
        with tf.variable_scope("rnn") as scope:
            for t in range(FRAMES - 1):
                if t:
                    scope.reuse_variables()
                output, state = cell({name: value[t] for name, value in sequences.items()}, state)
                outputs.append(output)
        return {name: tf.stack([output[name] for output in outputs]) for name in outputs[0]}, state

    def with_flat_batch(function, ndims=4):
        def flat(x, *args, **kwargs):
            y = function(tf.reshape(x, [-1, *x.shape[1 - ndims :]]), *args, **kwargs)
            return tf.reshape(y, [*x.shape[: 1 - ndims], *y.shape[1:]])

        return flat

    def transpose_batch_time(x):
        return tf.transpose(x, [1, 0, *range(2, x.shape.ndims)])

    nn = _module("tensorflow.python.ops.nn", fused_batch_norm=fused_batch_norm)
    rnn_cell_impl = _module(
        "tensorflow.python.ops.rnn_cell_impl", RNNCell=cells.RNNCell, LSTMStateTuple=cells.LSTMStateTuple
    )
    tensorflow_ops.nn, tensorflow_ops.rnn_cell_impl = nn, rnn_cell_impl
    contrib = "tensorflow.contrib"
    for name in ("", ".framework", ".framework.python", ".layers", ".layers.python"):
        _module(contrib + name)
    variables = types.SimpleNamespace(model_variable=model_variable)
    _module(f"{contrib}.framework.python.ops", variables=variables)
    collections = types.SimpleNamespace(
        get_variable_collections=lambda *_: None,
        collect_named_outputs=lambda _collections, _name, output: output,
    )
    _module(f"{contrib}.layers.python.layers", utils=collections)
    version_1 = _module("tensorflow", **{name: getattr(tf, name) for name in dir(tf)})
    version_1.__path__ = tensorflow.__path__

    root = clone / "video_prediction"
    package = _module("video_prediction", __path__=[])
    tools = _module(
        "video_prediction.utils.tf_utils",
        unroll_rnn=unroll_rnn,
        with_flat_batch=with_flat_batch,
        transpose_batch_time=transpose_batch_time,
        maybe_pad_or_slice=lambda tensor, length: tensor[:length],
        flow_to_rgb=lambda flow: flow,
    )
    _module("video_prediction.utils", tf_utils=tools)
    norm = _load("video_prediction.layers.normalization", root / "layers/normalization.py")
    _module("video_prediction.layers", fused_instance_norm=norm.fused_instance_norm)
    for name in ("ops", "rnn_ops", "flow_ops"):
        setattr(package, name, _load(f"video_prediction.{name}", root / f"{name}.py"))
    models = _module("video_prediction.models", VideoPredictionModel=object)
    models.networks = networks = _load("video_prediction.models.networks", root / "models/networks.py")
    return tf, _load("video_prediction.models.savp_model", root / "models/savp_model.py"), networks


def main(clone: Path) -> None:
    tf, savp, networks = official(clone)
    kept: dict[str, np.ndarray] = {}
    for case, settings in CASES.items():
        tf.reset_default_graph()
        hparams = types.SimpleNamespace(**COMMON, **settings)
        given = {name: tf.constant(value) for name, value in inputs(case).items()}
        latents = {"zs": given.pop("zs")} if hparams.nz else {}
        given.pop("zs", None)
        outputs = {}
        with tf.variable_scope("generator"):
            if hparams.nz:
                with tf.variable_scope("encoder"):
                    outputs |= savp.posterior_fn(given, hparams)
            outputs |= savp.generator_given_z_fn(given | latents, "test", hparams)
        with tf.variable_scope("discriminator/video"):
            outputs["logits"] = networks.video_sn_discriminator(given["images"], ndf=hparams.ndf)[-1]
        with tf.Session() as session:
            for variable in tf.global_variables():
                name, shape = variable.op.name, tuple(variable.shape.as_list())
                variable.load(weight(name, shape), session)
                kept[f"{case}:{name}"] = np.array(shape)
            values = session.run(outputs)
        for name in ("gen_images", "gen_pix_distribs", "gen_states"):
            kept[f"{case}={name}"] = values[name][-1]
        for name in ("zs_mu", "zs_log_sigma_sq", "logits"):
            if name in values:
                kept[f"{case}={name}"] = values[name]
    np.savez_compressed(FIXTURE, **kept)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
