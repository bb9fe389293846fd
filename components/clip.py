"""Clip, the only batch; ClipSpec, what a source promises about its clips."""

from dataclasses import dataclass
from typing import Any, TypedDict

from jaxtyping import Bool, Float, Int, UInt8
from torch import Tensor


class Clip(TypedDict, total=False):
    """A batch of clips, straight from a source; a recipe turns uint8 into floats on the device.

    A source yields the same dictionary for one clip, without the batch axis. A clip has a video, latents or
    codes that were made of it before, or both; of a source of texts alone it has none of these.
    """

    video: UInt8[Tensor, "b t 3 h w"]
    second_video: UInt8[Tensor, "b t 3 h w"]  # the same time, from another camera
    latents: Float[Tensor, "b l c i j"]  # of a latent tokenizer, normalised
    codes: Int[Tensor, "b f v n"]  # of a tokenizer: n a frame in each of v views, of the first f frames
    dynamics_codes: Int[Tensor, "b g m"]  # of a latent dynamics model: m a frame, on what follows it
    dynamics_features: Float[Tensor, "b g m d"]  # what they were quantised from
    actions: Float[Tensor, "b t-1 a"]  # actions[:, i] leads from frame i to frame i + 1
    state: Float[Tensor, "b t s"]  # simulator truth or proprioception; columns are ClipSpec.state_names
    text: list[str]
    text_tokens: Float[Tensor, "b n d"]  # features of `text`, of a frozen text encoder
    text_mask: Bool[Tensor, "b n"]
    text_pooled: Float[Tensor, "b p"]
    image_tokens: Float[Tensor, "b m e"]  # features of the first frame, of a frozen image encoder
    section_texts: list[list[str]]  # of each video a text a section; the last one for all that follow
    end_image: UInt8[Tensor, "b 3 h w"]  # a frame that the video is to arrive at
    question: list[str]  # about what the video shows; what makes it needs no question
    answer: list[str]  # what is right to say to the question
    camera: dict[str, Tensor]  # poses (b, t, 4, 4) camera to world, intrinsics (b, t, 3, 3) in pixels
    fps: Float[Tensor, " b"]  # frames per second of the clip as given, after resampling
    id: list[str]  # names the clip for good: source video and time, or seed and index


@dataclass(frozen=True)
class ClipSpec:
    """Shapes that a model may need before it sees a batch.

    num_frames, height, width: of every clip; where clips come in buckets, of the largest ones.
    buckets: (t, h, w) of each bucket; none where all clips are alike.
    cameras: 2 where clips have a second video.
    """

    num_frames: int
    height: int
    width: int
    action_dim: int = 0
    state_dim: int = 0
    action_names: tuple[str, ...] = ()
    state_names: tuple[str, ...] = ()
    buckets: tuple[tuple[int, int, int], ...] = ()
    cameras: int = 1

    def sizes(self) -> tuple[tuple[int, int, int], ...]:
        """Every (t, h, w) that clips come in."""
        return self.buckets or ((self.num_frames, self.height, self.width),)

    def zeros(self, batch_size: int, device: Any = "cpu") -> Clip:
        """A black clip of these shapes, for cost estimates and shape tests."""
        import torch

        b, t = batch_size, self.num_frames
        clip = Clip(
            video=torch.zeros(b, t, 3, self.height, self.width, dtype=torch.uint8, device=device),
            fps=torch.full((b,), 10.0, device=device),
            text=[""] * b,
            id=[f"zeros/{i}" for i in range(b)],
        )
        if self.cameras == 2:
            clip["second_video"] = torch.zeros_like(clip["video"])
        if self.action_dim:
            clip["actions"] = torch.zeros(b, t - 1, self.action_dim, device=device)
        if self.state_dim:
            clip["state"] = torch.zeros(b, t, self.state_dim, device=device)
        return clip


def clip_size(clip: Clip) -> int:
    """How many clips a batch holds."""
    return len(next(clip[key] for key in ("video", "latents", "codes", "id") if key in clip))
