"""Low-rank additions to the Linear layers of a frozen denoiser."""

from difflib import get_close_matches
from typing import Any

from torch import Tensor, nn

INSTALL = "LoRA needs peft: pip install peft"
BASE, ADAPTER = ".base_layer.", "default"  # in names that peft gives to weights


class Lora:
    """Train B A alpha / rank beside named Linear layers, B zero at first; everything else is frozen.

    Layers that the public base lacks (`patch_layers()`) begin as guesses and so train in full.

    targets: names of Linear layers, or their ends: `to_q` is that of every attention, `to_out.0` as well.
    matched: how many layers have additions, after `prepare`.
    Source: LoRA (arXiv 2106.09685); layers of peft, so that diffusers and others read the result.
    """

    def __init__(self, *, rank: int = 16, alpha: float = 16.0, targets: list[str]) -> None:
        self.rank, self.alpha, self.targets = rank, alpha, targets
        self.matched = 0

    def prepare(self, denoiser: nn.Module) -> None:
        """Raises ValueError for a target that no Linear layer is called, and where peft is missing."""
        try:
            from peft import LoraConfig, inject_adapter_in_model
        except ImportError as error:
            raise ValueError(INSTALL) from error
        linear = [name for name, module in denoiser.named_modules() if isinstance(module, nn.Linear)]
        matches = {target: [name for name in linear if _ends(name, target)] for target in self.targets}
        for target, names in matches.items():
            if not names:
                raise ValueError(f"no Linear layer is called {target!r}{_nearest(target, linear)}")
        denoiser.requires_grad_(False)
        found = sorted({name for names in matches.values() for name in names})
        scale: Any = self.alpha  # declared a whole number, used as any
        config = LoraConfig(r=self.rank, lora_alpha=scale, target_modules=found)
        inject_adapter_in_model(config, denoiser)
        self.matched = len(found)
        new: Any = denoiser
        for layer in new.patch_layers():
            for name, weight in layer.named_parameters():
                weight.requires_grad_(BASE not in f".{name}")

    def merged(self, denoiser: nn.Module) -> dict[str, Tensor]:
        state = denoiser.state_dict()
        weights = {plain(name): tensor for name, tensor in state.items() if ".lora_" not in name}
        for name, layer in lora_layers(denoiser).items():
            weight = weights[f"{name}.weight"]
            weights[f"{name}.weight"] = weight + layer.get_delta_weight(ADAPTER).to(weight.dtype)
        return weights

    def additions(self, denoiser: nn.Module) -> dict[str, Tensor]:
        """The additions alone: `<layer>.lora_A.weight` (rank, in), `<layer>.lora_B.weight` (out, rank).

        alpha / rank is in B already: not all that reads such weights knows of alpha.
        """
        scale = self.alpha / self.rank
        return {
            name.replace(f".{ADAPTER}.", "."): tensor * scale if ".lora_B." in name else tensor
            for name, tensor in denoiser.state_dict().items()
            if ".lora_" in name
        }


def lora_layers(module: nn.Module) -> dict[str, Any]:
    from peft.tuners.lora import LoraLayer

    return {name: layer for name, layer in module.named_modules() if isinstance(layer, LoraLayer)}


def plain(name: str) -> str:
    """What a weight is called without additions beside it."""
    return name.replace(BASE, ".")


def under_additions(weights: dict[str, Tensor], own: dict[str, Tensor]) -> dict[str, Tensor]:
    """Weights of a module without additions, by the names they have in `own`, whose additions stay."""
    renamed = {plain(name): name for name in own if BASE in name}
    if any(BASE in name for name in weights):
        return weights
    parts = {name.partition(".")[0] for name in weights}
    stay = {name: x for name, x in own.items() if ".lora_" in name and name.partition(".")[0] in parts}
    return stay | {renamed.get(name, name): tensor for name, tensor in weights.items()}


def _ends(name: str, target: str) -> bool:
    return name == target or name.endswith(f".{target}")


def _nearest(target: str, names: list[str]) -> str:
    ends = {".".join(name.split(".")[-count:]) for name in names for count in (1, 2)}
    near = get_close_matches(target, sorted(ends), 3, 0.5) or sorted(ends)[:8]
    return f"; there are {', '.join(near)}" if near else ""
