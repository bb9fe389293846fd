"""evaluate.py through its own command line: a checkpoint, folders of videos, mistakes."""

import json

import pytest
import torch

from checkpoints.own import export
from components.media import write_mp4
from launch.evaluate import main
from tests.recipes.conftest import built


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    model, _ = built("savp")
    return export(model, dict(model.hparams), tmp_path_factory.mktemp("export") / "model")


@pytest.mark.parametrize("suite", ["video", "physics", "long"])
def test_a_checkpoint_is_judged_beside_the_baselines(exported, suite, tmp_path, capsys):
    tokens = [f"ckpt={exported}", f"suite={suite}", f"out={tmp_path}", "clips=3", "batch_size=2"]
    assert main([*tokens, "suite.horizon=1.0", *(["suite.samples=2"] if suite == "video" else [])]) == 0
    found = json.loads((tmp_path / f"{suite}.json").read_text())["groups"]
    for by_predictor in found.values():
        assert list(by_predictor) == ["model", "copy last", "constant velocity", "training mean"]
        assert all(report["values"] for report in by_predictor.values())
    assert list((tmp_path / suite).glob("events.out.tfevents.*"))
    assert f"{suite}.json" in capsys.readouterr().out


def test_several_checkpoints_are_columns_of_one_table(exported, tmp_path, capsys):
    import shutil

    other = shutil.copytree(exported, tmp_path / "other" / "model")
    tokens = ["suite=long", f"out={tmp_path / 'out'}", "clips=2", "batch_size=2", "suite.horizon=1.0"]
    assert main([f"ckpt={exported},{other}", *tokens]) == 0
    found = json.loads((tmp_path / "out" / "long.json").read_text())["groups"]["test"]
    names = [f"{exported.parent.name}/model", "other/model"]
    assert next(iter(found)) == names[0]
    assert list(found)[-1] == names[1]
    assert list(found)[1:-1] == ["copy last", "constant velocity", "training mean"]  # of the same clips, once
    assert found[names[0]]["values"]["first_psnr"] == found[names[1]]["values"]["first_psnr"]
    table = (tmp_path / "out" / "long.md").read_text().splitlines()
    assert table[2] == f"|  | {' | '.join(found)} |"
    (other / "model.safetensors").write_text("broken")
    capsys.readouterr()
    assert main([f"ckpt={exported},{other}", *tokens]) == 2
    assert "not a readable safetensors file" in capsys.readouterr().err


def test_of_a_file_of_weights_the_evaluation_lies_beside_it(exported):
    tokens = ["suite=long", "clips=2", "batch_size=2", "suite.horizon=1.0"]
    assert main([f"ckpt={exported / 'model.safetensors'}", *tokens]) == 0
    assert (exported / "evaluation" / "long.json").is_file()


def test_an_interval_stands_beside_its_value():
    from evaluation import Report
    from launch.reports import rows

    report = Report(values={"success": 0.25, "success_low": 0.171, "success_high": 0.3432, "steps": 20.0})
    assert rows({"a": report, "b": Report(values={"steps": 3.0})}) == [
        ["success", "0.25 [0.17, 0.34]", "-"],
        ["steps", "20", "3"],
    ]


def test_a_suite_for_other_clips_says_so_in_a_line(exported, tmp_path, capsys):
    assert main([f"ckpt={exported}", "suite=recall", f"out={tmp_path}", "clips=2"]) == 2
    said = capsys.readouterr().err
    assert "only data=flash_recall tells" in said
    assert "Traceback" not in said


def test_folders_of_videos_are_judged_without_a_checkpoint(tmp_path, capsys):
    generator = torch.Generator().manual_seed(0)
    for folder in ("made", "true"):
        (tmp_path / folder).mkdir()
        for name in ("a", "b"):
            video = torch.randint(0, 255, (16, 3, 32, 32), generator=generator, dtype=torch.uint8)
            write_mp4(tmp_path / folder / f"{name}.mp4", video, fps=10.0)
    tokens = ["suite=video", f"reference={tmp_path / 'true'}", f"out={tmp_path / 'out'}"]
    assert main([f"videos={tmp_path / 'made'}", *tokens]) == 0
    assert main([f"videos={tmp_path / 'true'}", *tokens]) == 0
    values = json.loads((tmp_path / "out" / "video.json").read_text())["groups"]["videos"]["model"]["values"]
    assert values["ssim_mean"] == pytest.approx(1.0)


def test_mistakes_are_named(tmp_path, capsys):
    assert main(["suite=vido", "ckpt=x", "clps=3"]) == 2
    assert "did you mean clips?" in capsys.readouterr().err
    assert main(["suite=vido"]) == 2
    report = capsys.readouterr().err
    assert "did you mean video?" in report
    assert "ckpt=PATH or videos=PATH" in report
    assert main(["suite=video", "ckpt=x", "suite.sample=3"]) == 2
    assert "did you mean samples?" in capsys.readouterr().err
    assert main(["suite=long", "ckpt=x", "suite.horizon=0.0"]) == 2
    assert "horizon" in capsys.readouterr().err
    assert main(["suite=video", f"ckpt={tmp_path}"]) == 2
    assert "no checkpoint" in capsys.readouterr().err
    assert main(["suite=video", f"videos={tmp_path}", f"reference={tmp_path}"]) == 2
    assert "no videos there" in capsys.readouterr().err
