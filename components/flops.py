"""Counting the floating-point operations of what runs."""

from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode, sdpa_backward_flop_count, sdpa_flop_count

aten = torch.ops.aten
Shape = tuple[int, ...]


def flop_counter() -> FlopCounterMode:
    """Counts matrix products, convolutions and attention, as dispatched, within a `with`.

    Attention counts as torch counts it: all of a row with all of it, without regard to a causal mask. torch's
    own counter passes over the kernel that attends on CPUs, and so for fake tensors.
    """
    kernel = aten._scaled_dot_product_flash_attention_for_cpu
    backward = aten._scaled_dot_product_flash_attention_for_cpu_backward
    return FlopCounterMode(display=False, custom_mapping={kernel: _forward, backward: _backward})


def _forward(query: Shape, key: Shape, value: Shape, *args: Any, **kwargs: Any) -> int:
    return sdpa_flop_count(query, key, value)


def _backward(grad: Shape, query: Shape, key: Shape, value: Shape, *args: Any, **kwargs: Any) -> int:
    return sdpa_backward_flop_count(grad, query, key, value)
