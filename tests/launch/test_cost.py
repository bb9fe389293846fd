"""dry=true: what a command would cost, and what is wrong with it."""

import re

import pytest

from launch.main import main

SMALL = ["recipe=framepack", "dry=true", "loader.batch_size=2"]


def said(capsys) -> str:
    return capsys.readouterr().out


def test_every_stage_is_told_of(capsys):
    assert main(SMALL) == 0
    tokenizer, cache, model = said(capsys).split("framepack, size tiny, stage ")[1:]
    assert "every clip passes once; nothing is trained" in cache
    for stage in (tokenizer, model):
        assert re.search(r"FLOPs a step +[1-9]", stage)


def test_under_lora_only_additions_and_patch_layers_train(capsys):
    pytest.importorskip("peft")
    counts = []
    for rank in (0, 4, 8):
        lora = ["model.finetuning=lora", f"model.finetuning.rank={rank}"] if rank else []
        assert main([*SMALL, "stage=model", *lora]) == 0
        told = said(capsys)
        counts.append([int(re.search(rf"{name} +([\d,]+)", told)[1].replace(",", ""))  # type: ignore[index]
                       for name in ("total", "trained parameters")])  # fmt: skip
    (whole, _), (four, trained_four), (eight, trained_eight) = counts
    assert whole < four < eight
    assert eight - four == four - whole == trained_eight - trained_four
    assert trained_four < whole / 2


@pytest.mark.parametrize(
    ("tokens", "told"),
    [
        (["model.order=inverted"], "swap both, packed_inverted goes with inverted"),
        (["model.memory.structure=zzz"], "zzz: needs one section"),
        (["clip.num_frames=24"], "24"),
        (["model.finetuning=lora", "model.finetuning.targets=[to_qq]"], "no Linear layer is called 'to_qq'"),
    ],
)
def test_what_cannot_be_built_is_one_line(capsys, tokens, told):
    if "model.finetuning=lora" in tokens:
        pytest.importorskip("peft")
    assert main([*SMALL, "stage=model", *tokens]) == 2
    first, line = capsys.readouterr().err.strip().splitlines()
    assert first == "train.py: 1 problem, nothing was started"
    assert line.split()[0] == "model"
    assert told in line
