"""Codes made once, ahead of a training that only reads them: of frames, and of what changes after each."""

import torch

from components.clip import Clip, ClipSpec, clip_size
from components.frame_codes import frame_codes
from components.latent_dynamics import LatentDynamics
from components.latent_fingerprint import Fingerprint, made_by
from components.text_encoders import TextEncoder
from components.tokenizers import VideoTokenizer
from recipes.latent_caching import Encoded, FrozenTexts
from recipes.stage import Stage
from recipes.world_model import pixels


class CodeCaching(Stage):
    """Turn clips into codes with a tokenizer and a latent dynamics model that are trained.

    Nothing is learned here; callbacks.latent_writer writes what is made, clip by clip, so that any model can
    join codes and clips by the clips' keys.
    num_frames: frames of a clip that are encoded, from the first; all but the last have codes of dynamics.
    keep_features: keep what codes were quantised from too, in half precision, to look at.
    """

    trains = False

    def __init__(
        self,
        *,
        tokenizer: VideoTokenizer,
        dynamics: LatentDynamics | None = None,
        text_encoder: TextEncoder | None = None,
        num_frames: int,
        keep_features: bool = False,
        seed: int,
    ) -> None:
        super().__init__(seed=seed)
        self.tokenizer, self.dynamics, self.text_encoder = tokenizer, dynamics, text_encoder
        self.num_frames, self.keep_features = num_frames, keep_features
        self.features = FrozenTexts(text_encoder, torch.float32)

    def check_fits(self, spec: ClipSpec) -> None:
        if spec.num_frames < self.num_frames:
            told = f"a clip has {spec.num_frames} frames, and {self.num_frames} are to be encoded"
            raise ValueError(f"{told}: set clip.num_frames to more")
        for size in spec.sizes():
            self.tokenizer.grid(*size)

    def fingerprint(self) -> Fingerprint:
        """All that decides what is made of a clip, but for the trainer's precision."""
        parts = {
            "tokenizer": self.tokenizer, "dynamics": self.dynamics, "text encoder": self.text_encoder
        }  # fmt: skip
        return made_by(parts) | {"frames": self.num_frames, "features": self.keep_features}

    def predict_step(self, clip: Clip, batch_index: int) -> Encoded:
        made = frame_codes(clip, self.tokenizer, self.dynamics, self.num_frames)
        kept = {"codes": made.images.int().cpu()}
        if made.codes is not None and self.dynamics is not None:
            kept["dynamics_codes"] = made.codes.int().cpu()
            if self.keep_features:
                video, ahead = pixels(clip["video"]), self.dynamics.horizon + 1
                parts = [video[:, f : f + ahead] for f in range(self.num_frames - 1)]
                found = torch.stack([self.dynamics.features(part) for part in parts], dim=1)
                kept["dynamics_features"] = found.half().cpu()
        return Encoded(kept, self.features(clip["text"] if "text" in clip else [""] * clip_size(clip)))
