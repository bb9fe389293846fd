"""Features of the empty text, kept."""

from collections.abc import Callable

import torch

from components.text_encoders import TextFeatures


class RememberedEmpty:
    """Makes features of texts; of the empty text alone, which stands for dropped ones, only once."""

    def __init__(self) -> None:
        self._empty: TextFeatures | None = None

    def __call__(self, texts: list[str], make: Callable[[list[str]], TextFeatures]) -> TextFeatures:
        """make: features of a batch of texts, from an encoder that is frozen."""
        if texts != [""]:
            return make(texts)
        if self._empty is None:
            with torch.inference_mode(False):  # whoever asks first, training may keep it for its gradients
                self._empty = make([""])
        return self._empty
