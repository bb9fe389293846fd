"""The decoder against transformers' LLaMA: `python benchmarks/decoder.py [threads=1] [repeats=5] [PART ...]`.

Both run in one process in turns, on the same weights and tokens; medians and spans. Parts, all unless named:
train    forward, loss, backward, without the optimiser (the same for both); share of the measured matmul peak
memory   peak resident memory of two training steps, a process for each model
packing  segments in dense parts against a dense mask, forward, loss, backward
decode   tokens/s of greedy decoding (cache in fp32), against generate with a static cache
Seconds of CPU stand beside the clock's: where other processes share the cores, they are the fairer pair.
"""

import statistics
import sys
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.comparing import (
    DTYPES,
    autocast,
    in_turns,
    resident,
    run_parts,
    show,
    show_peaks,
    show_ratio,
)
from callbacks.throughput import matmul_peak
from components.attention import Attend
from components.attention.causal import attend_by_mask, segment_mask
from components.attention.rope import Rope
from components.backbones.causal_decoder import CausalDecoder
from components.backbones.small_batch import small_batches
from components.objectives.linear_cross_entropy import linear_cross_entropy
from tests.components.test_causal_decoder import weights_of

DIM, LAYERS, HEADS, INNER, VOCABULARY = 512, 6, 8, 1376, 32_000
ROWS, LENGTH = 2, 1024
DECODE_ROWS, PROMPT, NEW_TOKENS = 8, 32, 256


class Ours(nn.Module):
    """The decoder between a table and a head, with the loss of the next token."""

    def __init__(self) -> None:
        super().__init__()
        sizes = {"dim": DIM, "num_layers": LAYERS, "num_heads": HEADS, "hidden_dim": INNER}
        self.decoder = CausalDecoder(**sizes, rope=Rope())
        self.tokens = nn.Embedding(VOCABULARY, DIM)
        self.head = nn.Linear(DIM, VOCABULARY, bias=False)

    def loss(self, tokens: Tensor, segments: Tensor | None = None) -> Tensor:
        hidden = self.decoder(self.tokens(tokens), segments=segments)[:, :-1].flatten(0, 1)
        weights = torch.full((len(hidden),), 1 / len(hidden))
        return linear_cross_entropy(hidden, self.head.weight, tokens[:, 1:].flatten(), weights)

    @torch.inference_mode()
    def decode(self, prompt: Tensor, num_new: int) -> Tensor:
        made = torch.empty(len(prompt), num_new, dtype=torch.long)
        length = prompt.shape[1] + num_new
        cache = self.decoder.new_cache(len(prompt), length, dtype=torch.float32, device="cpu")
        with small_batches(self, len(prompt)):
            read = prompt
            for i in range(num_new):
                made[:, i] = self.head(self.decoder(self.tokens(read), cache=cache)[:, -1]).argmax(dim=-1)
                read = made[:, i : i + 1]
        return made


def llama() -> Any:
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    sizes = {"vocab_size": VOCABULARY, "hidden_size": DIM, "intermediate_size": INNER, "rms_norm_eps": 1e-6}
    depth = {"num_hidden_layers": LAYERS, "num_attention_heads": HEADS, "tie_word_embeddings": False}
    ends = {"bos_token_id": None, "eos_token_id": None, "pad_token_id": 0}
    return LlamaForCausalLM(LlamaConfig(**sizes, **depth, **ends))


def same_weights(theirs: Any) -> Ours:
    ours = Ours()
    ours.decoder.load_state_dict(weights_of(theirs.model, LAYERS))
    ours.tokens.load_state_dict(theirs.model.embed_tokens.state_dict())
    ours.head.load_state_dict(theirs.lm_head.state_dict())
    return ours


def loss_of(model: nn.Module, tokens: Tensor) -> Tensor:
    return (
        model.loss(tokens) if isinstance(model, Ours) else model(tokens, labels=tokens, use_cache=False).loss
    )


def flops(model: Ours) -> float:
    """Of a training step of either model: 6 a weight and token, attention counted as whole squares."""
    weights = sum(weight.numel() for weight in model.parameters() if weight.ndim == 2)
    weights -= model.tokens.weight.numel()
    return ROWS * LENGTH * (6.0 * weights + 12.0 * LAYERS * LENGTH * DIM)


def train(repeats: int) -> None:
    theirs = llama()
    ours = same_weights(theirs)
    tokens = torch.randint(0, VOCABULARY, (ROWS, LENGTH), generator=torch.Generator().manual_seed(0))
    for precision, dtype in DTYPES.items():

        def step(model: nn.Module, precision: str = precision) -> None:
            model.zero_grad()
            with autocast(precision):
                loss = loss_of(model, tokens)
            loss.backward()

        peak = matmul_peak(torch.device("cpu"), dtype)
        times = in_turns(repeats, partial(step, ours), partial(step, theirs))
        peak = max(peak, matmul_peak(torch.device("cpu"), dtype))
        for name, taken in zip(("ours", "transformers"), times, strict=True):
            speed = flops(ours) / statistics.median(taken[0])
            show(
                f"train {precision}, {name}", taken, f"{speed / 1e9:.0f} GFLOP/s, {speed / peak:.0%} of peak"
            )
        show_ratio(*times)


def peak_memory(name: str, precision: str, optimizer: str) -> None:
    """Two training steps in this process; prints MiB held before the model was made and at the peak."""
    if name == "theirs":
        import transformers  # noqa: F401
    before = resident("VmRSS")
    model = Ours() if name == "ours" else llama()
    steps = torch.optim.AdamW(model.parameters(), fused=True) if optimizer == "adamw" else None
    tokens = torch.randint(0, VOCABULARY, (ROWS, LENGTH))
    for _ in range(2):
        model.zero_grad()
        with autocast(precision):
            loss = loss_of(model, tokens)
        loss.backward()
        if steps is not None:
            steps.step()
    print(before, resident("VmHWM"))


def memory(_: int) -> None:
    for precision in DTYPES:
        for optimizer in ("plain", "adamw"):
            show_peaks(f"memory {precision}, {optimizer}", __file__, "theirs", precision, optimizer)


def masked(*, segments: Tensor, positions: Tensor | None) -> Attend:
    return attend_by_mask(segment_mask(segments))


def packing(repeats: int) -> None:
    parts = Ours()
    dense = Ours()
    dense.load_state_dict(parts.state_dict())
    dense.decoder.attention = masked
    tokens = torch.randint(0, VOCABULARY, (ROWS, LENGTH))
    for count in (1, 8):
        segments = (torch.arange(LENGTH) * count // LENGTH).expand(ROWS, -1)
        rows = [partial(model.loss, tokens, segments) for model in (parts, dense)]
        times = in_turns(repeats, *(lambda loss=loss: loss().backward() for loss in rows))
        show(f"{count} segments a row, in parts", times[0])
        show(f"{count} segments a row, dense mask", times[1])
        show_ratio(*times)


def decode(repeats: int) -> None:
    prompt = torch.randint(1, VOCABULARY, (DECODE_ROWS, PROMPT), generator=torch.Generator().manual_seed(0))
    for precision, dtype in DTYPES.items():
        theirs = llama().to(dtype).eval()
        ours = same_weights(theirs.float()).to(dtype)
        theirs.to(dtype)
        made: dict[str, Tensor] = {}

        def run_ours(ours: Ours = ours, made: dict = made) -> None:
            made["ours"] = ours.decode(prompt, NEW_TOKENS)

        def run_theirs(theirs: Any = theirs, made: dict = made) -> None:
            options = {"do_sample": False, "cache_implementation": "static", "max_new_tokens": NEW_TOKENS}
            mask = torch.ones_like(prompt)
            made["theirs"] = theirs.generate(prompt, attention_mask=mask, **options)[:, PROMPT:]

        times = in_turns(repeats, run_ours, run_theirs)
        for name, taken in zip(("ours", "generate"), times, strict=True):
            rate = DECODE_ROWS * NEW_TOKENS / statistics.median(taken[0])
            show(f"decode {precision}, {name}", taken, f"{rate:.0f} tokens/s")
        show_ratio(*times)
        print(f"{'same tokens':34} {(made['ours'] == made['theirs']).float().mean():8.1%}")


if __name__ == "__main__":
    parts = {"train": train, "memory": memory, "packing": packing, "decode": decode}
    run_parts(__file__, parts, sys.argv[1:], child=peak_memory)
