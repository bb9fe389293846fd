"""Runs the official CDNA, DNA, SNA and SV2P on drawn weights, for test_pushing_official.

    git clone https://github.com/alexlee-gk/video_prediction   # made at commit df43be5
    pip install tensorflow-cpu tf_keras tf_slim                 # made with 2.21 and 1.1
    python -m tests.checkpoints.make_pushing_official CLONE

The code is for TensorFlow 1 with contrib; tf_slim is the part of contrib that it calls. Its DNA does not run:
it hands the side of the kernel to a function that wants both sides, which is put right here.
"""

import os
import sys
import types
import zlib
from pathlib import Path

import numpy as np

from tests.checkpoints.make_savp_official import _load, _module

FIXTURE = Path(__file__).parent / "pushing_official.npz"
BATCH, FRAMES, CONTEXT = 2, 4, 2
EVERY = 3  # pixels; the others are not kept
SHARED = {"context_frames": CONTEXT, "sequence_length": FRAMES, "schedule_sampling_k": -1}
SV2P = {"num_masks": 10, "stochastic_model": True, "latent_channels": 1, "latent_std_min": -5.0}
CASES = {
    "finn_cdna": {"transformation": "cdna", "kernel_size": (9, 9), "num_masks": 10},
    "finn_dna": {"transformation": "dna", "kernel_size": (5, 5), "num_masks": 1},
    "sna": {
        "transformation": "cdna", "kernel_size": (5, 5), "num_masks": 10, "ngf": 16,
        "first_image_background": True, "generate_scratch_image": True,
    },
    "sv2p": SV2P | {"transformation": "cdna", "multi_latent": False},
    "sv2p_per_step": SV2P | {"transformation": "cdna", "multi_latent": True},
}  # fmt: skip


def size(case: str) -> tuple[int, int]:
    return (64, 64) if case == "sna" else (32, 40)  # SNA's code knows one size only


def inputs(case: str) -> dict[str, np.ndarray]:
    """Time first, channels last, as the official code has it."""
    rng = np.random.Generator(np.random.Philox(key=zlib.crc32(case.encode())))
    height, width = size(case)
    drawn = {
        "images": rng.random((FRAMES, BATCH, height, width, 3)),
        "actions": rng.standard_normal((FRAMES - 1, BATCH, 2)),
        "states": rng.standard_normal((FRAMES, BATCH, 3)),
        "latents": rng.standard_normal((FRAMES - 1, BATCH, height // 8, width // 8, 1)),
        "pix_distribs": rng.random((FRAMES, BATCH, height, width, 1)),
    }
    drawn["pix_distribs"] /= drawn["pix_distribs"].sum(axis=(2, 3), keepdims=True)
    return {name: value.astype(np.float32) for name, value in drawn.items()}


def weight(name: str, shape: tuple[int, ...]) -> np.ndarray:
    """Drawn from the variable's name alone, so that the fixture need not hold it."""
    rng = np.random.Generator(np.random.Philox(key=zlib.crc32(name.encode())))
    value = rng.standard_normal(shape)
    kind = name.rsplit("/", 1)[1]
    if kind == "weights":
        value *= 0.8 / np.sqrt(np.prod(shape[:-1]))
    else:
        value = 0.2 * value + (kind == "gamma")
    return value.astype(np.float32)


def official(clone: Path) -> types.ModuleType:
    """TensorFlow in its version 1 mode; the modules of the official code are loaded on top of it."""
    os.environ["TF_USE_LEGACY_KERAS"] = "1"
    import tensorflow
    import tf_slim

    tf = tensorflow.compat.v1
    tf.disable_v2_behavior()
    version_1 = _module("tensorflow", **{name: getattr(tf, name) for name in dir(tf)})
    version_1.__path__ = tensorflow.__path__
    slim = _module("tensorflow.contrib.slim", **{name: getattr(tf_slim, name) for name in dir(tf_slim)})
    version_1.contrib = _module("tensorflow.contrib", slim=slim)
    for name in (".layers", ".layers.python"):
        _module("tensorflow.contrib" + name)
    sys.modules["tensorflow.contrib.layers.python"].layers = tf_slim.layers
    models = _module("video_prediction.models", VideoPredictionModel=object)
    models.__path__ = []
    _module("video_prediction", __path__=[], models=models)
    for name in ("sna_model", "dna_model", "sv2p_model"):
        module = _load(f"video_prediction.models.{name}", clone / f"video_prediction/models/{name}.py")
        setattr(models, name, module)
    one_side = models.dna_model.dna_transformation
    models.dna_model.dna_transformation = lambda image, x, side: one_side(image, x, (side, side))
    models.tensorflow = version_1
    return models


def main(clone: Path) -> None:
    models = official(clone)
    tf = models.tensorflow
    kept: dict[str, np.ndarray] = {}
    for case, settings in CASES.items():
        tf.reset_default_graph()
        hparams = types.SimpleNamespace(**SHARED, **settings)
        drawn = inputs(case)
        given = {name: tf.constant(value) for name, value in drawn.items()}
        latents = given.pop("latents")
        tf.random_normal = lambda shape, *_, latents=latents, **__: latents if len(shape) == 5 else latents[0]
        if case == "sna":
            outputs = models.sna_model.generator_fn(given, "test", hparams)
        elif case.startswith("sv2p"):
            outputs = models.sv2p_model.generator_fn(given, "test", hparams)
            outputs |= models.sv2p_model.encoder_fn(given, hparams)
        else:
            outputs = models.dna_model.generator_fn(given, hparams)[1]
        with tf.Session() as session:
            for variable in tf.trainable_variables():
                name, shape = variable.op.name, tuple(variable.shape.as_list())
                variable.load(weight(name, shape), session)
                kept[f"{case}:{name}"] = np.array(shape)
            values = session.run(outputs)
        for name in ("gen_images", "gen_pix_distribs"):
            if name in values:
                kept[f"{case}={name}"] = values[name][-1][:, ::EVERY, ::EVERY]
        kept[f"{case}=gen_states"] = values["gen_states"][-1]
        for name in ("zs_mu_enc", "zs_log_sigma_sq_enc"):
            if name in values:
                kept[f"{case}={name}"] = values[name]
    np.savez_compressed(FIXTURE, **kept)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
