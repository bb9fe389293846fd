"""Keys and values of past tokens, in buffers made once."""

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from components.attention import Attend
from components.attention.causal import attend_by_mask, attend_to_all, causal_attention


class KVCache:
    """A static cache: every row holds `length` tokens of which those from slot `start` on are real.

    Rows of different prompt length are left-padded, so that all rows append at the same slot. start is set
    before the prompt is read; length may be set back to forget the newest tokens. New tokens attend in the
    cache's dtype: for a bfloat16 model on a CPU a float32 cache is both exacter and faster.
    """

    def __init__(
        self,
        *,
        num_layers: int,
        batch_size: int,
        num_kv_heads: int,
        capacity: int,
        head_dim: int,
        dtype: torch.dtype,
        device: torch.device | str,
    ) -> None:
        shape = (num_layers, batch_size, num_kv_heads, capacity, head_dim)
        self.keys = torch.empty(shape, dtype=dtype, device=device)  # a slot is written before it is read
        self.values = torch.empty(shape, dtype=dtype, device=device)
        self.start = torch.zeros(batch_size, dtype=torch.long, device=device)
        self.length = 0
        self.capacity = capacity
        self._padded = False

    def positions(self, num_tokens: int) -> Int[Tensor, "b s"]:
        """Positions of the tokens that come next, counted from each row's first real token."""
        slots = torch.arange(self.length, self.length + num_tokens, device=self.start.device)
        return (slots - self.start[:, None]).clamp(min=0)

    def plan(self, num_tokens: int) -> list[Attend]:
        """Reserve the next slots; one attention a layer, which stores the layer's keys and values there.

        Raises ValueError where the cache is full.
        """
        first, last = self.length, self.length + num_tokens
        if last > self.capacity:
            raise ValueError(f"the cache holds {self.capacity} tokens, {last} are asked for: make it longer")
        if first == 0:  # once a generation: a look at start, which may wait for the device
            self._padded = bool((self.start > 0).any())
        self.length = last
        if first == 0:
            segments = -(torch.arange(last, device=self.start.device) < self.start[:, None]).long()
            attend = causal_attention(segments=segments if self._padded else None, positions=None)
            return [self._store_then(layer, attend) for layer in range(len(self.keys))]
        mask = self._mask(first, last)
        return [self._store_and_read(layer, first, last, mask) for layer in range(len(self.keys))]

    def _mask(self, first: int, last: int) -> Bool[Tensor, "b 1 s t"] | None:
        """None: every query sees every slot, as one new token does where no row is padded."""
        if last - first == 1 and not self._padded:
            return None
        slots = torch.arange(last, device=self.start.device)
        causal = slots <= slots[first:, None]
        return (causal & (slots >= self.start[:, None, None]))[:, None]

    def _store_then(self, layer: int, attend: Attend) -> Attend:
        def store(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
            self._write(layer, 0, k, v)
            return attend(q, k, v)

        return store

    def _store_and_read(self, layer: int, first: int, last: int, mask: Tensor | None) -> Attend:
        # only filled slots are read: over the whole buffer the first token would cost as much as the last
        keys, values = (buffer[layer, :, :, :last].transpose(1, 2) for buffer in (self.keys, self.values))
        attend = attend_by_mask(mask) if mask is not None else attend_to_all

        def store(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
            self._write(layer, first, k, v)
            return attend(q.to(keys.dtype), keys, values).to(q.dtype)

        return store

    def _write(self, layer: int, first: int, k: Tensor, v: Tensor) -> None:
        last = first + k.shape[1]
        self.keys[layer, :, :, first:last] = k.transpose(1, 2)
        self.values[layer, :, :, first:last] = v.transpose(1, 2)
