import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from components.attention.rope import Rope
from components.backbones.causal_decoder import CausalDecoder
from components.sequences import Example
from components.sequences.packing import Mode, Packed, first_fit, global_count, modality_means, pack
from components.vocabularies.two_tables import TwoTables
from tests.processes import free_port

ROOT = Path(__file__).resolve().parents[2]
LENGTH = 16
TEXT, VISION = 11, 13

# an example as (is_vision, number of tokens, loss) of its parts
Parts = list[tuple[bool, int, float]]
PARTS: list[Parts] = [
    [(False, 1, 0), (False, 3, 0), (True, 5, 1), (False, 1, 1)],  # a question without loss, a video
    [(False, 1, 0), (False, 2, 1)],  # text only, short
    [(True, 4, 1)],  # vision only
    [(False, 1, 0), (True, 3, 0), (False, 5, 1)],  # video without loss, an answer
    [(False, 2, 0), (True, 2, 1), (False, 2, 1), (True, 4, 1), (False, 1, 1)],
    [(False, 1, 0), (False, 16, 1)],  # fills a row alone
    [(False, 3, 0)],  # nothing is predicted: counts as a segment all the same
    [(False, 1, 0), (True, 6, 2), (True, 3, 1), (False, 1, 1)],  # early tokens count twice
]


def example(parts: Parts, generator: torch.Generator) -> Example:
    pieces = [
        torch.randint(VISION if is_vision else TEXT, (size,), generator=generator)
        for is_vision, size, _ in parts
    ]
    sizes = torch.tensor([size for _, size, _ in parts])
    return Example(
        torch.cat(pieces),
        torch.tensor([is_vision for is_vision, _, _ in parts]).repeat_interleave(sizes),
        torch.tensor([float(loss) for _, _, loss in parts]).repeat_interleave(sizes),
    )


def examples(parts: list[Parts] = PARTS) -> list[Example]:
    generator = torch.Generator().manual_seed(0)
    return [example(each, generator) for each in parts]


class Model(nn.Module):
    """A decoder between two tables, with weights large enough to say something."""

    def __init__(self) -> None:
        super().__init__()
        self.decoder = CausalDecoder(dim=16, num_layers=2, num_heads=2, hidden_dim=24, rope=Rope())
        self.vocabulary = TwoTables(dim=16, text_size=TEXT, vision_size=VISION)
        generator = torch.Generator().manual_seed(1)
        for parameter in self.parameters():
            nn.init.normal_(parameter, std=0.4, generator=generator)
        self.double()

    def hidden(self, packed: Packed) -> Tensor:
        x = self.vocabulary.embed(packed.tokens, packed.is_vision)
        return self.decoder(x, positions=packed.positions, segments=packed.segments)

    def forward(self, packed: Packed) -> Tensor:
        targets = packed.targets, packed.target_is_vision, packed.weights
        means = modality_means(self.vocabulary.losses(self.hidden(packed), *targets), packed.counts)
        return 0.5 * (means["text"] + means["vision"])

    def gradients(self, loss: Tensor) -> Tensor:
        return torch.cat([g.flatten() for g in torch.autograd.grad(loss, list(self.parameters()))])


def unpacked(model: Model, batch: list[Example]) -> Tensor:
    """The equation of the paper, an example at a time and with dense logits."""
    total = torch.zeros(())
    for tokens, is_vision, loss in batch:
        x = model.vocabulary.embed(tokens[None, :-1], is_vision[None, :-1])
        hidden = model.decoder(x)[0]
        for vision in (False, True):
            w = loss[1:] * (is_vision[1:] == vision)
            logits = model.vocabulary.logits(hidden, vision=vision)
            ids = torch.where(is_vision[1:] == vision, tokens[1:], 0)
            entropy = F.cross_entropy(logits, ids, reduction="none")
            total = total + 0.5 * (w * entropy).sum() / w.sum().clamp(min=1e-10)
    return total / len(batch)


@pytest.fixture(autouse=True)
def _double() -> Iterator[None]:
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def error(found: Tensor, expected: Tensor) -> float:
    return float(((found - expected).abs().max() / expected.abs().max()).detach())


@pytest.mark.parametrize("mode", ["masked", "padded"])
def test_packed_loss_and_gradients_are_those_of_single_examples(mode: Mode):
    model, batch = Model(), examples()
    packed = pack(batch, LENGTH, mode)
    assert len(packed.tokens) == (len(batch) if mode == "padded" else 5)
    expected, loss = unpacked(model, batch), model(packed)
    assert error(loss, expected) < 1e-12
    assert error(model.gradients(loss), model.gradients(expected)) < 1e-12


def test_a_row_of_one_segment_packs_to_itself():
    model, batch = Model(), examples(PARTS[5:6])
    masked, padded = (pack(batch, LENGTH, mode) for mode in ("masked", "padded"))
    assert masked.useful == 1.0
    for a, b in zip(masked, padded, strict=True):
        assert torch.equal(a, b)
    assert error(model(masked), unpacked(model, batch)) < 1e-12


def test_a_cut_segment_is_averaged_over_what_is_left():
    model, batch = Model(), examples()
    length = 9
    short = [Example(*(column[: length + 1] for column in each)) for each in batch]
    expected, loss = unpacked(model, short), model(pack(batch, length, "masked", too_long="cut"))
    assert error(loss, expected) < 1e-12
    assert error(model.gradients(loss), model.gradients(expected)) < 1e-12
    with pytest.raises(ValueError, match="example 4 takes 10 positions, a row has 9"):
        pack(batch, length, "masked")


@pytest.mark.parametrize(("mode", "least"), [("masked_token_mean", 1e-2), ("naive", 1e-2)])
def test_baselines_differ_from_the_padded_batch(mode: Mode, least: float):
    model, batch = Model(), examples()
    expected, loss = unpacked(model, batch), model(pack(batch, LENGTH, mode))
    assert error(loss, expected) > least
    assert error(model.gradients(loss), model.gradients(expected)) > least


def test_token_mean_is_the_mean_over_tokens():
    model, batch = Model(), examples()
    packed = pack(batch, LENGTH, "masked_token_mean")
    hidden, expected = model.hidden(packed), torch.zeros(())
    for vision in (False, True):
        chosen = (packed.target_is_vision == vision) & (packed.segments >= 0)
        logits = model.vocabulary.logits(hidden[chosen], vision=vision)
        entropy = F.cross_entropy(logits, packed.targets[chosen], reduction="none")
        w = torch.cat([each.loss[1:][each.is_vision[1:] == vision] for each in batch])
        assert packed.weights[chosen].sum() == w.sum()
        expected = expected + 0.5 * (packed.weights[chosen] * entropy).sum() / w.sum()
    assert error(model(packed), expected) < 1e-12


def test_naive_is_the_mean_over_rows_of_the_rows_means():
    model, batch = Model(), examples()
    rows = first_fit([len(each.tokens) - 1 for each in batch], LENGTH)
    expected = torch.zeros(())
    for row in rows:
        tokens = torch.cat([batch[i].tokens[:-1] for i in row])
        is_vision = torch.cat([batch[i].is_vision[:-1] for i in row])
        hidden = model.decoder(model.vocabulary.embed(tokens[None], is_vision[None]))[0]
        for vision in (False, True):
            kind = torch.cat([batch[i].is_vision[1:] for i in row]) == vision
            w = torch.cat([batch[i].loss[1:] for i in row]) * kind
            ids = torch.cat([batch[i].tokens[1:] for i in row]).where(kind, 0)
            entropy = F.cross_entropy(model.vocabulary.logits(hidden, vision=vision), ids, reduction="none")
            expected = expected + 0.5 * (w * entropy).sum() / w.sum().clamp(min=1e-10)
    assert error(model(pack(batch, LENGTH, "naive")), expected / len(rows)) < 1e-12


def test_a_token_changes_nothing_in_other_segments():
    model, batch = Model(), examples()
    packed = pack(batch, LENGTH, "masked")
    changed = packed._replace(tokens=packed.tokens.clone())
    row, segment = 0, 1
    place = int((packed.segments[row] == segment).nonzero()[0])
    changed.tokens[row, place] = (changed.tokens[row, place] + 1) % TEXT
    before, after = model.hidden(packed), model.hidden(changed)
    same = (before == after).all(dim=-1)
    touched = torch.zeros_like(same)
    touched[row] = packed.segments[row] == segment
    assert torch.equal(same, ~touched)


def test_a_batch_of_one_kind_gives_the_other_kind_gradients_of_zero():
    for kind, other, parts in (("text", "vision", PARTS[1]), ("vision", "text", PARTS[2])):
        model = Model()
        model(pack(examples([parts, parts]), LENGTH, "masked")).backward()
        own, others = getattr(model.vocabulary, kind), getattr(model.vocabulary, other)
        assert others.tokens.weight.grad.count_nonzero() == 0
        assert others.head.weight.grad.count_nonzero() == 0
        assert own.tokens.weight.grad.count_nonzero() > 0
        assert own.head.weight.grad.count_nonzero() > 0


def test_columns_of_a_packed_row():
    tokens = [torch.tensor([5, 1, 2, 6]), torch.tensor([7, 3, 8])]
    vision = [torch.tensor([False, True, True, False]), torch.zeros(3, dtype=torch.bool)]
    loss = [torch.tensor([0.0, 1, 1, 1]), torch.tensor([0.0, 0, 1])]
    packed = pack([Example(*e) for e in zip(tokens, vision, loss, strict=True)], 6, "masked")
    assert packed.tokens.tolist() == [[5, 1, 2, 7, 3, 0]]
    assert packed.targets.tolist() == [[1, 2, 6, 3, 8, 0]]
    assert packed.is_vision.tolist() == [[False, True, True, False, False, False]]
    assert packed.target_is_vision.tolist() == [[True, True, False, False, False, False]]
    assert packed.weights.tolist() == [[0.5, 0.5, 1.0, 0.0, 1.0, 0.0]]
    assert packed.segments.tolist() == [[0, 0, 0, 1, 1, -1]]
    assert packed.positions.tolist() == [[0, 1, 2, 0, 1, 0]]
    assert packed.counts.tolist() == [2, 2]
    assert packed.useful == pytest.approx(5 / 6)


def test_packing_refuses_what_holds_nothing():
    with pytest.raises(ValueError, match="nothing to pack"):
        pack([], 8, "masked")
    with pytest.raises(ValueError, match="example 1 has less than two tokens"):
        pack(examples([PARTS[1], [(False, 1, 1)]]), 8, "masked")


@given(st.lists(st.integers(1, 20), max_size=60), st.data())
def test_first_fit(sizes: list[int], data: st.DataObject):
    rows = first_fit(sizes, 20)
    assert sorted(index for row in rows for index in row) == list(range(len(sizes)))
    loads = [sum(sizes[index] for index in row) for row in rows]
    assert all(load <= 20 for load in loads)
    assert sum(load <= 10 for load in loads) <= 1  # no two rows would fit into one
    if rows:  # some of the rows, listed one after the other, are packed the same again
        some = data.draw(st.lists(st.integers(0, len(rows) - 1), unique=True).map(sorted))
        again = first_fit([sizes[index] for row in some for index in rows[row]], 20)
        assert [len(row) for row in again] == [len(rows[row]) for row in some]


def test_packing_is_quick_and_fills_its_rows():
    torch.set_default_dtype(torch.float32)
    generator = torch.Generator().manual_seed(2)
    sizes = torch.randint(40, 360, (10_000,), generator=generator).tolist()
    batch = [example([(False, 20, 0), (True, size, 1)], generator) for size in sizes]
    started = time.perf_counter()
    packed = pack(batch, 2048, "masked")
    seconds = time.perf_counter() - started
    print(f"{len(packed.tokens)} rows in {seconds:.2f} s, useful {packed.useful:.3f}")
    assert packed.useful > 0.97
    assert pack(batch, 2048, "padded").useful < 0.12
    started = time.perf_counter()
    pack(batch[:75], 2048, "masked")  # 8 rows
    assert time.perf_counter() - started < 0.5


def test_counts_without_ranks_are_the_counts():
    assert torch.equal(global_count(torch.tensor([3.0, 2.0])), torch.tensor([3.0, 2.0]))


RANK_ROWS = ([0, 1, 2, 4], [3])  # rows of each rank: seven segments and one, which is of text only


def ranked(rank: int) -> list[Example]:
    batch = examples()
    rows = first_fit([len(each.tokens) - 1 for each in batch], LENGTH)
    return [batch[index] for row in RANK_ROWS[rank] for index in rows[row]]


WORKER = """
import sys
import torch
import torch.distributed as dist
from tests.components.test_packing import rank_gradients

torch.set_num_threads(1)
torch.set_default_dtype(torch.float64)
rank, port, folder = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
dist.init_process_group("gloo", init_method=f"tcp://127.0.0.1:{port}", rank=rank, world_size=2)
torch.save(rank_gradients(rank), f"{folder}/{rank}.pt")
dist.barrier()  # a process that ends while the other still talks to it aborts
dist.destroy_process_group()
"""

MODES: list[Mode] = ["masked", "masked_token_mean", "naive", "padded"]


def rank_gradients(rank: int) -> dict[str, tuple[Tensor, Tensor]]:
    """Mean of the loss over ranks, and the gradients that DDP has averaged."""
    found = {}
    for mode in MODES:
        model = Model()
        parallel = nn.parallel.DistributedDataParallel(model)
        loss = parallel(pack(ranked(rank), LENGTH, mode))
        loss.backward()
        value = loss.detach().clone()
        dist.all_reduce(value)
        gradients = torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])
        found[mode] = value / 2, gradients
    return found


def test_two_processes_average_to_one(tmp_path: Path):
    port = str(free_port())
    workers = [
        subprocess.Popen([sys.executable, "-c", WORKER, str(rank), port, str(tmp_path)], cwd=ROOT)
        for rank in range(2)
    ]
    assert [worker.wait(timeout=120) for worker in workers] == [0, 0]
    ranks = [torch.load(tmp_path / f"{rank}.pt") for rank in range(2)]
    for mode in MODES:
        model = Model()
        expected = model(pack([*ranked(0), *ranked(1)], LENGTH, mode))
        gradients = model.gradients(expected)
        for value, averaged in (rank[mode] for rank in ranks):
            assert error(value, expected.detach()) < 1e-12
            assert error(averaged, gradients) < 1e-12
