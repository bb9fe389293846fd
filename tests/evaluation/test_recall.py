"""Recall of a flashed colour, judged on predictions made by hand."""

import pytest
import torch

from datamodules.batches import collate
from datamodules.flash_recall import FlashRecall
from evaluation import Suite
from evaluation.judged import Judged
from evaluation.recall import RecallSuite


def clips(count=64, num_frames=23):
    source = FlashRecall(num_frames=num_frames, height=8, width=8, seed=0, farthest=18).split("test")
    clip = collate([source[i] for i in range(count)])
    return clip, clip["video"][:, -4:].float() / 255


def found(predicted):
    clip, truth = clips()
    suite = RecallSuite()
    assert isinstance(suite, Suite)
    for half in (slice(0, 40), slice(40, None)):
        part = {"state": clip["state"][half]}
        suite.update(predicted[half, None], truth[half], part)
    return suite.compute().values


def test_right_colours_grey_and_any_colour():
    _, truth = clips()
    assert found(truth)["recall_error"] == 0
    grey, other = torch.full_like(truth, 0.5), truth.flip(0)
    assert found(grey)["recall_error"] == pytest.approx(1.0, abs=0.15)
    assert found(other)["recall_error"] == pytest.approx(2.0, abs=0.4)


def test_groups_by_how_long_ago_it_was():
    clip, truth = clips()
    predicted = truth.clone()
    far = clip["state"][:, 0, 0] >= 14
    predicted[far] = 0.5
    values = found(predicted)
    assert [name for name in values if name != "recall_error"] == [
        "recall_error_1", "recall_error_2_3", "recall_error_4_8", "recall_error_9_13", "recall_error_14_18"
    ]  # fmt: skip
    assert values["recall_error_9_13"] == 0
    assert values["recall_error_14_18"] > 0.5


def test_what_the_first_frame_shows_does_not_count():
    _, truth = clips()
    predicted = truth.clone()
    predicted[:, 0] = 0.0
    assert found(predicted)["recall_error"] == 0


def test_a_prediction_that_is_no_number_is_not_hidden():
    _, truth = clips()
    predicted = truth.clone()
    predicted[0] = float("nan")
    assert found(predicted)["recall_error"] != found(predicted)["recall_error"]


def test_other_clips_are_refused_in_a_line():
    with pytest.raises(ValueError, match="data=flash_recall"):
        RecallSuite().update(torch.zeros(1, 1, 4, 3, 8, 8), torch.zeros(1, 4, 3, 8, 8), {})


@pytest.mark.parametrize("frames", [22, 5, 3, 1])
def test_frames_that_are_no_section_are_refused_in_a_line(frames):
    """Grey frames among those to predict would pass for recall, colours given beforehand too."""
    clip, _ = clips(8)
    truth = clip["video"][:, -frames:].float() / 255
    with pytest.raises(ValueError, match=f"the {frames} frames to predict are no section") as error:
        RecallSuite().update(truth[:, None], truth, clip)
    assert "\n" not in str(error.value)


class Recalls:
    """Predicts the flash where it is in reach."""

    context_frames = 19
    reach = 18
    device = torch.device("cpu")
    hparams = {  # noqa: RUF012
        "clip": {"num_frames": 23},
        "data": {
            "_component_": "datamodules.flash_recall.FlashRecall",
            "num_frames": 23, "height": 8, "width": 8, "seed": 0,
        },
    }  # fmt: skip

    def split(self, clip):
        video = clip["video"].float() / 255
        return {"video": video[:, :19], "state": clip["state"]}, video[:, 19:]

    def predict(self, context, horizon, *, generator):
        made = torch.full((len(context["video"]), horizon, 3, 8, 8), 0.5)
        for i, ago in enumerate(context["state"][:, 0, 0].int().tolist()):
            if ago <= self.reach:
                made[i] = context["video"][i, 19 - ago]
        return made


def test_a_suite_is_the_measurement_of_a_claim():
    judge = Judged(suite=RecallSuite(), metrics=["recall_error_1", "recall_error_14_18"], clips=48)
    assert judge.metrics == ("recall_error_1", "recall_error_14_18")
    assert judge(Recalls()) == {"recall_error_1": 0.0, "recall_error_14_18": 0.0}
    near = Judged(
        suite=RecallSuite(), metrics=["recall_error_1", "recall_error_14_18"], name="near_", clips=48,
        use={"reach": 5},
    )  # fmt: skip
    values = near(Recalls())
    assert values["near_recall_error_1"] == 0.0
    assert values["near_recall_error_14_18"] > 0.4
    with pytest.raises(AttributeError):
        Judged(suite=RecallSuite(), metrics=[], use={"history_noise.test": 1})(Recalls())
