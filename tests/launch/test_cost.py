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
        (["model.order=inverted"], "swap both"),
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


def bytes_told(line: str) -> list[float]:
    units = {"B": 1, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30}
    return [float(number) * units[unit] for number, unit in re.findall(r"([\d.]+) ([KMG]?i?B)\b", line)]


def test_what_devices_share_is_a_part_of_what_one_holds(capsys):
    lwm = ["recipe=lwm", "dry=true", "stage=model"]
    assert main(lwm) == 0
    alone = said(capsys)
    assert "shared" not in alone
    state, kept = (bytes_told(re.search(rf"{name}.*", alone)[0])[0] for name in ("no sharding", "kept for"))  # type: ignore[index]
    assert kept > 16 * 6 * 17 * 128 * 4 * 4  # features of so many tokens in every layer
    four = ["trainer.devices=4", "parallel.context=2", "trainer.strategy=fsdp"]
    assert main([*lwm, *four]) == 0
    line = re.search(r"device, shared.*", said(capsys))[0]  # type: ignore[index]
    frozen = 182_155 * 4
    assert bytes_told(line)[0] == pytest.approx(frozen + (state - frozen) / 4, rel=0.05)
    assert bytes_told(line)[1] == pytest.approx(kept / 2, rel=0.01)
    assert "weights among 4 and rows among 2 devices" in line
    assert main([*lwm, "model.decoder.checkpoint=true"]) == 0
    less = bytes_told(re.search(r"kept for.*", said(capsys))[0])[0]  # type: ignore[index]
    assert less < kept / 2
