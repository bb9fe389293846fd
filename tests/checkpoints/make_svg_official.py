"""Runs the official SVG code on drawn weights and keeps what it makes, for test_svg_official.

    git clone https://github.com/edenton/svg              # made at commit 3f19f0b
    python -m tests.checkpoints.make_svg_official CLONE

Its networks run as they are, and so do its two loops, taken out of their scripts: `train`, a step's losses
and gradients, and `make_gifs`, a rollout. Noise is given; `.cuda()` stays on the CPU.
"""

import ast
import sys
import types
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

FIXTURE = Path(__file__).parent / "svg_official.npz"
BATCH, CONTEXT, FUTURE = 3, 3, 2
FRAMES = CONTEXT + FUTURE
CODE, LATENT, HIDDEN = 12, 5, 16
BETA = 0.01
EVERY = 5  # pixels; the others are not kept
CODERS = {  # module of the official code: size, image channels, modes (train: statistics of the batch)
    "vgg_64": (64, 3, ("train", "eval")),
    "vgg_128": (128, 1, ("train",)),
    "dcgan_64": (64, 3, ("train", "eval")),
    "dcgan_128": (128, 1, ("train",)),
}
LOOPS = {  # case: which of the scripts, last_frame_skip
    "lp": ("lp", False),
    "lp_last_frame_skip": ("lp", True),
    "fp": ("fp", False),
}


def drawn(name: str, *shape: int) -> np.ndarray:
    """Standard normal numbers from the name alone, so that the fixture need not hold them."""
    return np.random.Generator(np.random.Philox(key=zlib.crc32(name.encode()))).standard_normal(shape)


def frames(name: str, count: int, channels: int, size: int) -> Tensor:
    """(count, BATCH, channels, size, size) in [0, 1]: smooth, so that pooling has no ties to speak of."""
    coarse = torch.from_numpy(drawn(name, count * BATCH, channels, 5, 5)).float()
    fine = nn.functional.interpolate(coarse, size=(size, size), mode="bicubic")
    return fine.sigmoid().unflatten(0, (count, BATCH))


def noise(case: str) -> Tensor:
    """(FRAMES - 1, BATCH, LATENT): what latents are sampled with, step by step."""
    return torch.from_numpy(drawn(f"{case}/noise", FRAMES - 1, BATCH, LATENT)).float()


@torch.no_grad()
def draw_weights(module: nn.Module, name: str) -> None:
    """Fill in the order of the state, which both codes share where their modules are named otherwise."""
    for index, tensor in enumerate(module.state_dict().values()):
        if tensor.is_floating_point():
            fan = max(tensor[0].numel(), 4) if tensor.ndim > 1 else 25
            tensor.copy_(torch.from_numpy(drawn(f"{name}/{index}", *tensor.shape)) * (2 / fan) ** 0.5)
    for part in module.modules():
        if isinstance(part, nn.BatchNorm2d):
            part.weight.add_(1)
            part.running_var.abs_().add_(0.5)


def _official(clone: Path, name: str) -> types.ModuleType:
    module = types.ModuleType(name)
    exec(compile((clone / f"{name}.py").read_text(), name, "exec"), module.__dict__)
    return module


def _functions(script: Path, names: set[str], scope: dict) -> None:
    """Define functions of a script in a scope of our own, without running the script."""
    tree = ast.parse(script.read_text())
    tree.body = [node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name in names]
    exec(compile(tree, str(script), "exec"), scope)


def _given(latents: Iterator[Tensor]) -> Callable[..., Tensor]:
    return lambda self, mean, log_variance: mean + (0.5 * log_variance).exp() * next(latents)


def run_coders(clone: Path) -> dict[str, np.ndarray]:
    kept = {}
    for name, (size, channels, modes) in CODERS.items():
        model = _official(clone / "models", name)
        encoder, decoder = model.encoder(CODE, channels), model.decoder(CODE, channels)
        draw_weights(encoder, f"{name}/encoder")
        draw_weights(decoder, f"{name}/decoder")
        kept[f"{name}=parameters"] = np.array(
            [sum(p.numel() for p in m.parameters()) for m in (encoder, decoder)]
        )
        for mode in modes:
            encoder.train(mode == "train")
            decoder.train(mode == "train")
            with torch.no_grad():
                code, skips = encoder(frames(name, 1, channels, size)[0])
                painted = decoder([code.flip(0), skips])
            kept[f"{name}={mode}=code"] = code.numpy()
            kept[f"{name}={mode}=frame"] = painted[..., ::EVERY, ::EVERY].numpy()
    return kept


def run_loop(clone: Path, case: str) -> dict[str, np.ndarray]:
    prior, last_frame_skip = LOOPS[case]
    lstms, coder = _official(clone / "models", "lstm"), _official(clone / "models", "dcgan_64")
    parts = {
        "encoder": coder.encoder(CODE, 1),
        "decoder": coder.decoder(CODE, 1),
        "frame_predictor": lstms.lstm(CODE + LATENT, CODE, HIDDEN, 2, BATCH),
        "posterior": lstms.gaussian_lstm(CODE, LATENT, HIDDEN, 1, BATCH),
        "prior": lstms.gaussian_lstm(CODE, LATENT, HIDDEN, 1, BATCH),
    }
    options = types.SimpleNamespace(
        n_past=CONTEXT, n_future=FUTURE, n_eval=FRAMES, batch_size=BATCH, z_dim=LATENT, beta=BETA, nsample=1,
        last_frame_skip=last_frame_skip,
    )  # fmt: skip
    scope = parts | {"torch": torch, "np": np, "opt": options, "mse_criterion": nn.MSELoss()}
    scope |= {f"{name}_optimizer": types.SimpleNamespace(step=lambda: None) for name in parts}
    bar = types.SimpleNamespace(start=lambda: types.SimpleNamespace(update=lambda _: None))
    scope["progressbar"] = types.SimpleNamespace(ProgressBar=lambda max_value: bar)
    scope["utils"] = types.SimpleNamespace(eval_seq=_stop)
    _functions(clone / f"train_svg_{prior}.py", {"kl_criterion", "train"}, scope)
    _functions(clone / f"generate_svg_{prior}.py", {"make_gifs"}, scope)
    video, given, learned = frames(case, FRAMES, 1, 64), noise(case), prior == "lp"

    for name, module in parts.items():
        draw_weights(module, name)
    lstms.gaussian_lstm.reparameterize = _given(_repeated(given, 2 if learned else 1))
    mse, kl = scope["train"](video)
    kept = {"mse": mse * FRAMES, "kl": kl * FRAMES}  # undo what the script divides for its log
    for name, module in parts.items():
        norms = [0.0 if p.grad is None else float(p.grad.norm()) for p in module.parameters()]
        kept[f"gradients_{name}"] = np.array(norms, np.float32)

    for name, module in parts.items():  # the step has moved the running statistics
        draw_weights(module, name)
        module.train(learned)  # as both scripts have it, each in its way
    inside, after = given[: CONTEXT - 1], given[CONTEXT - 1 :]
    once = _repeated(given, 1)  # the scripts begin with a rollout on posterior latents
    asked = [*once, *_repeated(inside, 2 if learned else 1), *after]
    lstms.gaussian_lstm.reparameterize = _given(iter(asked))
    torch.cuda.FloatTensor = _normals(iter(after))  # SVG-FP draws so
    try:
        with torch.no_grad():
            scope["make_gifs"](video, 0, "")
    except _Rollout as rollout:
        kept["rollout"] = np.stack(rollout.args[0])[..., ::EVERY, ::EVERY]
    return {f"{case}={name}": np.asarray(value, np.float32) for name, value in kept.items()}


class _Rollout(Exception):
    """Carries the frames out of a function that would go on to draw them."""


def _stop(truth: list[np.ndarray], made: list[np.ndarray]) -> None:
    raise _Rollout(made)


def _repeated(given: Tensor, times: int) -> Iterator[Tensor]:
    return (step for step in given for _ in range(times))


def _normals(given: Iterator[Tensor]) -> Callable[..., types.SimpleNamespace]:
    return lambda *shape: types.SimpleNamespace(normal_=lambda: next(given))


if __name__ == "__main__":
    Tensor.cuda = lambda self: self
    clone = Path(sys.argv[1])
    kept = run_coders(clone)
    for case in LOOPS:
        kept |= run_loop(clone, case)
    np.savez_compressed(FIXTURE, **kept)
    print(f"{FIXTURE}: {FIXTURE.stat().st_size / 1024:.0f} KiB")
