"""The decoder against transformers' LLaMA, and against itself: packed, cached, in chunks, recomputed."""

import pytest
import torch
from torch import Tensor, nn

from components.attention.rope import Rope
from components.backbones.causal_decoder import CausalDecoder
from components.backbones.decoder_layers import RMSNorm, swiglu
from components.backbones.small_batch import small_batches

DIM, HEADS, LAYERS, INNER = 32, 4, 3, 48


def decoder(
    *, dtype: torch.dtype = torch.float64, interleaved: bool = False, **options: object
) -> CausalDecoder:
    torch.manual_seed(0)
    rope = Rope(theta=1e4, interleaved=interleaved)
    model = CausalDecoder(
        dim=DIM, num_layers=LAYERS, num_heads=HEADS, hidden_dim=INNER, rope=rope, **options
    ).to(dtype)
    for parameter in model.parameters():  # far from first weights, where a layer is the identity
        nn.init.normal_(parameter, mean=float(parameter.ndim == 1), std=0.2)
    return model


def features(*shape: int, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(*shape, DIM, generator=torch.Generator().manual_seed(1), dtype=dtype)


def weights_of(llama: nn.Module, num_layers: int) -> dict[str, Tensor]:
    """The weights of transformers' LlamaModel under this decoder's names."""
    given = llama.state_dict()
    taken = {"norm.weight": given["norm.weight"]}
    for i in range(num_layers):
        theirs, ours = f"layers.{i}", f"layers.{i}"
        taken[f"{ours}.attention_norm.weight"] = given[f"{theirs}.input_layernorm.weight"]
        taken[f"{ours}.feed_forward_norm.weight"] = given[f"{theirs}.post_attention_layernorm.weight"]
        for kind in ("weight", "bias"):
            if f"{theirs}.self_attn.q_proj.{kind}" in given:
                parts = [given[f"{theirs}.self_attn.{x}_proj.{kind}"] for x in "qkv"]
                taken[f"{ours}.attention.qkv.{kind}"] = torch.cat(parts)
                taken[f"{ours}.attention.output.{kind}"] = given[f"{theirs}.self_attn.o_proj.{kind}"]
        gate_up = [given[f"{theirs}.mlp.{x}_proj.weight"] for x in ("gate", "up")]
        taken[f"{ours}.feed_forward.gate_up.weight"] = torch.cat(gate_up)
        taken[f"{ours}.feed_forward.down.weight"] = given[f"{theirs}.mlp.down_proj.weight"]
    return taken


def llama(*, groups: int, bias: bool, dtype: torch.dtype) -> nn.Module:
    """transformers' causal LLaMA; in float64 its two float32 roundings are taken out."""
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(0)
    config = transformers.LlamaConfig(
        vocab_size=61,
        hidden_size=DIM,
        intermediate_size=INNER,
        num_hidden_layers=LAYERS,
        num_attention_heads=HEADS,
        num_key_value_heads=groups,
        attention_bias=bias,
        rms_norm_eps=1e-6,
        rope_parameters={"rope_type": "default", "rope_theta": 1e4},
        tie_word_embeddings=False,
        attn_implementation="sdpa",  # eager rounds the softmax to float32
        initializer_range=0.2,
        use_cache=False,
    )
    model = transformers.LlamaForCausalLM(config).to(dtype)
    if dtype == torch.float64:
        for module in model.modules():
            if type(module).__name__ == "LlamaRMSNorm":
                module.forward = _norm_in_float64.__get__(module)
        model.model.rotary_emb.forward = _tables_in_float64
    return model


def _norm_in_float64(self: nn.Module, x: Tensor) -> Tensor:
    return self.weight * x * torch.rsqrt(x.square().mean(-1, keepdim=True) + self.variance_epsilon)


def _tables_in_float64(x: Tensor, position_ids: Tensor) -> tuple[Tensor, Tensor]:
    pairs = torch.arange(0, DIM // HEADS, 2, dtype=torch.float64)
    angles = position_ids[..., None].double() / 1e4 ** (pairs / (DIM // HEADS))
    angles = torch.cat((angles, angles), dim=-1)
    return angles.cos(), angles.sin()


@pytest.mark.parametrize(("dtype", "close"), [(torch.float64, 1e-10), (torch.float32, 2e-4)])
@pytest.mark.parametrize(("groups", "bias"), [(4, False), (2, True), (1, False)])
def test_logits_and_gradients_are_those_of_llama(
    dtype: torch.dtype, close: float, groups: int, bias: bool
) -> None:
    theirs = llama(groups=groups, bias=bias, dtype=dtype)
    ours = decoder(dtype=dtype, num_kv_heads=groups, attention_bias=bias, output_bias=bias)
    ours.load_state_dict(weights_of(theirs.model, LAYERS))
    tokens = torch.randint(0, 61, (2, 17), generator=torch.Generator().manual_seed(3))
    expected = theirs(tokens).logits
    hidden = ours(theirs.model.embed_tokens(tokens).detach())
    logits = hidden @ theirs.lm_head.weight.detach().T
    assert (logits - expected).abs().max() < close * expected.abs().max()
    slope = torch.randn(logits.shape, generator=torch.Generator().manual_seed(4), dtype=dtype)
    (expected * slope).sum().backward()
    (logits * slope).sum().backward()
    for name, wanted in gradients_of(theirs.model).items():
        made = ours.get_parameter(name).grad
        assert (made - wanted).abs().max() < close * wanted.abs().max(), name


def gradients_of(model: nn.Module) -> dict[str, Tensor]:
    """The gradients of transformers' model under this decoder's names."""
    for parameter in model.parameters():
        parameter.data = torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
    return weights_of(model, LAYERS)


@pytest.mark.parametrize("interleaved", [False, True])
def test_packed_segments_are_rows_of_their_own(interleaved: bool) -> None:
    model, x = decoder(interleaved=interleaved, num_kv_heads=2), features(2, 12)
    segments = torch.tensor([[0] * 5 + [1] * 4 + [-1] * 3, [2] * 3 + [5] * 9])
    positions = torch.tensor([[*range(5), *range(4), 0, 0, 0], [*range(3), *range(9)]])
    alone = [model(x[row : row + 1, a:b])[0] for row, a, b in ((0, 0, 5), (0, 5, 9), (1, 0, 3), (1, 3, 12))]
    loss = sum(out.square().sum() for out in alone)
    wanted = torch.autograd.grad(loss, list(model.parameters()))
    for given in (None, positions):  # attention reads distances: a reset of the positions changes nothing
        packed = model(x, segments=segments, positions=given)
        real = packed[segments >= 0]
        assert (real - torch.cat(alone)).abs().max() < 1e-12
        made = torch.autograd.grad(real.square().sum(), list(model.parameters()))
        for one, other in zip(made, wanted, strict=True):
            assert (one - other).abs().max() < 1e-12 * other.abs().max().clamp(min=1)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_nothing_leaks_between_segments_or_backward_in_time(dtype: torch.dtype) -> None:
    model, x = decoder(dtype=dtype), features(1, 12, dtype=dtype)
    segments = torch.tensor([[0] * 4 + [1] * 5 + [2] * 3])
    before, changed = model(x, segments=segments), x.clone()
    changed[0, 6] = 9.0
    after = model(changed, segments=segments)
    untouched = [0, 1, 2, 3, 4, 5, 9, 10, 11]
    assert torch.equal(before[0, untouched], after[0, untouched])
    assert (before[0, 6:9] != after[0, 6:9]).any(dim=-1).all()


def test_cached_decoding_is_the_full_pass() -> None:
    model, x = decoder(num_kv_heads=2).eval(), features(2, 11)
    full = model(x)
    cache = model.new_cache(2, 11, dtype=x.dtype, device=x.device)
    with torch.no_grad():
        steps = [model(part, cache=cache) for part in x.split([4, 1, 1, 3, 2], dim=1)]
        assert (torch.cat(steps, dim=1) - full).abs().max() < 1e-12
        cache.length = 6  # forget, and go on otherwise
        assert (model(x[:, 6:9], cache=cache) - full[:, 6:9]).abs().max() < 1e-12


def test_left_padded_prompts_decode_as_alone() -> None:
    model, x = decoder().eval(), features(2, 9)
    start = torch.tensor([0, 3])
    cache = model.new_cache(2, 9, dtype=x.dtype, device=x.device)
    cache.start = start
    noise = x.clone()
    noise[1, :3] = 1e3  # what stands in the padding matters to nobody
    with torch.no_grad():
        steps = torch.cat([model(part, cache=cache) for part in noise.split([5, 1, 2, 1], dim=1)], dim=1)
        for row, first in enumerate(start.tolist()):
            alone = model(x[row : row + 1, first:])
            assert (steps[row, first:] - alone[0]).abs().max() < 1e-12
    assert steps.isfinite().all()


@pytest.mark.parametrize("options", [{"feed_forward_chunk": 5}, {"checkpoint": True}])
def test_what_is_recomputed_changes_nothing(options: dict) -> None:
    plain, other, x = decoder(), decoder(**options), features(2, 9).requires_grad_()
    segments = torch.tensor([[0] * 9, [1] * 4 + [2] * 5])
    expected, made = plain(x, segments=segments), other(x, segments=segments)
    assert (expected - made).abs().max() < 1e-12
    wanted = torch.autograd.grad(expected.square().sum(), [x, *plain.parameters()])
    for one, two in zip(
        torch.autograd.grad(made.square().sum(), [x, *other.parameters()]), wanted, strict=True
    ):
        assert (one - two).abs().max() < 1e-12 * two.abs().max().clamp(min=1)


def test_recomputing_keeps_less() -> None:
    def kept(model: CausalDecoder) -> int:
        sizes = []
        with torch.autograd.graph.saved_tensors_hooks(lambda x: sizes.append(x.numel()) or x, lambda x: x):
            model(features(1, 64))
        return sum(sizes)

    assert kept(decoder(feed_forward_chunk=16)) < 0.75 * kept(decoder())
    assert kept(decoder(checkpoint=True)) < 0.3 * kept(decoder())


def test_norm_and_gate_have_the_gradients_of_their_formulas() -> None:
    norm, x = RMSNorm(6, 1e-6).double(), torch.randn(2, 3, 6, dtype=torch.float64, requires_grad=True)
    nn.init.normal_(norm.weight)
    assert torch.autograd.gradcheck(lambda x, w: norm(x), (x, norm.weight))
    expected = nn.functional.rms_norm(x, (6,), norm.weight, 1e-6)
    assert (norm(x) - expected).abs().max() < 1e-14
    with torch.no_grad():
        assert (norm(x) - expected).abs().max() < 1e-14
    assert torch.autograd.gradcheck(swiglu, x)
    assert torch.equal(swiglu(x), nn.functional.silu(x[..., :3]) * x[..., 3:])


def test_autocast_stays_near() -> None:
    model, x = decoder(dtype=torch.float32), features(2, 9, dtype=torch.float32)
    with torch.autocast("cpu", torch.bfloat16):
        rounded = model(x)
    assert rounded.dtype == torch.float32
    assert (rounded - model(x)).norm() < 0.02 * rounded.norm()
    rounded.sum().backward()
    assert all(parameter.grad.isfinite().all() for parameter in model.parameters())


def test_weights_for_small_batches_are_the_same_weights() -> None:
    model, x = decoder(dtype=torch.float32, attention_bias=True).eval(), features(2, 5, dtype=torch.float32)
    with torch.no_grad():
        expected = model(x)
        with small_batches(model, 2):
            inside = model(x)
        assert torch.equal(model(x), expected)
    torch.testing.assert_close(inside, expected, atol=1e-5, rtol=1e-4)
    assert "forward" not in vars(model.layers[0].attention.qkv)


def test_refusals_name_what_is_wrong() -> None:
    with pytest.raises(ValueError, match="dim 32 must be num_heads 3 heads"):
        CausalDecoder(dim=32, num_layers=1, num_heads=3, hidden_dim=8, rope=Rope())
    model = decoder()
    cache = model.new_cache(1, 4, dtype=torch.float64, device="cpu")
    with pytest.raises(ValueError, match="not segments"):
        model(features(1, 4), segments=torch.zeros(1, 4, dtype=torch.long), cache=cache)
