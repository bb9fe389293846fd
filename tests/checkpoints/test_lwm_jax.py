"""Files as LWM's JAX code writes them, made here by hand, against its forward pass in float64."""

import pickle
from pathlib import Path

import numpy as np
import pytest
import torch

from checkpoints.flax_stream import read_stream
from checkpoints.lwm_jax import fill
from checkpoints.own import CheckpointError
from components.attention.rope import Rope
from components.backbones.causal_decoder import CausalDecoder
from components.vocabularies.two_tables import TwoTables

msgpack = pytest.importorskip("msgpack")

DIM, INNER, LAYERS, HEADS, TEXT, VISION, THETA = 32, 40, 3, 4, 23, 19, 1e6
SCAN = "transformer/h/scan_decoder"


def parameters():
    """Names and arrays of a small LWM, its layers stacked."""
    rng = np.random.default_rng(0)
    shapes = {f"{SCAN}/attention/w{x}/kernel": (LAYERS, DIM, DIM) for x in "qkvo"}
    shapes |= {f"{SCAN}/feed_forward/w{n}/kernel": (LAYERS, DIM, INNER) for n in (1, 3)}
    shapes |= {f"{SCAN}/feed_forward/w2/kernel": (LAYERS, INNER, DIM)}
    shapes |= {"transformer/wte/embedding": (TEXT, DIM), "transformer/vte/embedding": (VISION, DIM)}
    shapes |= {"lm_head/kernel": (DIM, TEXT), "vision_head/kernel": (DIM, VISION)}
    arrays = {name: 0.2 * rng.standard_normal(shape, dtype=np.float32) for name, shape in shapes.items()}
    for name in (f"{SCAN}/attention_norm/kernel", f"{SCAN}/ffn_norm/kernel", "transformer/ln_f/kernel"):
        shape = (LAYERS, DIM) if name.startswith(SCAN) else (DIM,)
        arrays[name] = 1 + 0.3 * rng.standard_normal(shape, dtype=np.float32)
    return arrays


def unscanned(arrays):
    """Every layer under its own name."""
    single = {name: array for name, array in arrays.items() if not name.startswith(SCAN)}
    for name, array in arrays.items():
        if name.startswith(SCAN):
            single |= {name.replace("scan_decoder", str(i)): array[i] for i in range(LAYERS)}
    return single


def rounded(arrays):
    return {name: torch.tensor(array).bfloat16().float().numpy() for name, array in arrays.items()}


def extension(array, dtype):
    data = array.tobytes()
    if dtype == "bfloat16":
        data = torch.from_numpy(array).bfloat16().view(torch.int16).numpy().tobytes()
    return msgpack.ExtType(1, msgpack.packb((array.shape, dtype, data), use_bin_type=True))


def blob(array, dtype, limit):
    """As flax writes an array; flat pieces of `limit` numbers where it has more."""
    array = array.copy(order="C")
    if array.size <= limit:
        return msgpack.packb(extension(array, dtype))
    flat = array.reshape(-1)
    pieces = {
        str(i): extension(flat[at : at + limit], dtype) for i, at in enumerate(range(0, flat.size, limit))
    }
    shape = {str(i): n for i, n in enumerate(array.shape)}
    return msgpack.packb({"__msgpack_chunked_array__": (), "shape": shape, "chunks": pieces})


def write(path: Path, arrays, dtype="float32", limit=2**30, prefix=()) -> Path:
    packer = msgpack.Packer()
    with path.open("wb") as file:
        for name, array in arrays.items():
            file.write(packer.pack(((*prefix, *name.split("/")), blob(array, dtype, limit))))
    return path


def original(arrays, tokens, is_vision):
    """LWM's forward pass with its own matrices and complex rotary pairs; logits of text and vision."""
    weight = {name: torch.from_numpy(array).double() for name, array in arrays.items()}
    text, vision = weight["transformer/wte/embedding"], weight["transformer/vte/embedding"]
    x = torch.where(is_vision[..., None], vision[tokens * is_vision], text[tokens * ~is_vision])
    length, size = tokens.shape[1], DIM // HEADS
    frequencies = THETA ** (-torch.arange(0, size, 2).double() / size)
    angles = torch.outer(torch.arange(length).double(), frequencies)
    turn = torch.polar(torch.ones_like(angles), angles)[:, None]

    def norm(x, scale):
        return x / (x.square().mean(-1, keepdim=True) + 1e-6).sqrt() * scale

    def rotated(x):
        pairs = torch.view_as_complex(x.unflatten(-1, (-1, 2)).contiguous())
        return torch.view_as_real(pairs * turn).flatten(-2)

    hidden = torch.ones(length, length).triu(1).bool()
    for i in range(LAYERS):
        layer = {name.removeprefix(f"{SCAN}/"): value[i] for name, value in weight.items() if SCAN in name}
        y = norm(x, layer["attention_norm/kernel"])
        q, k, v = ((y @ layer[f"attention/w{n}/kernel"]).unflatten(-1, (HEADS, size)) for n in "qkv")
        scores = torch.einsum("bqhd,bkhd->bhqk", rotated(q), rotated(k)) / size**0.5
        mixed = torch.einsum("bhqk,bkhd->bqhd", scores.masked_fill(hidden, -torch.inf).softmax(-1), v)
        x = x + mixed.flatten(2) @ layer["attention/wo/kernel"]
        y = norm(x, layer["ffn_norm/kernel"])
        gate, up = (y @ layer[f"feed_forward/w{n}/kernel"] for n in (1, 3))
        x = x + (torch.nn.functional.silu(gate) * up) @ layer["feed_forward/w2/kernel"]
    x = norm(x, weight["transformer/ln_f/kernel"])
    return x @ weight["lm_head/kernel"], x @ weight["vision_head/kernel"]


def modules(interleaved=False, **changes):
    sizes = dict(dim=DIM, num_layers=LAYERS, num_heads=HEADS, hidden_dim=INNER) | changes
    decoder = CausalDecoder(rope=Rope(theta=THETA, interleaved=interleaved), **sizes).double()
    return decoder, TwoTables(dim=DIM, text_size=TEXT, vision_size=VISION).double()


def load(path, decoder, tables):
    fill(path=path, decoder=decoder, text=tables.text, vision=tables.vision)


@torch.no_grad()
def assert_same(arrays, decoder, tables):
    draw = np.random.default_rng(1)
    tokens, is_vision = (
        torch.from_numpy(draw.integers(VISION, size=(2, 17))),
        torch.from_numpy(draw.random((2, 17)) < 0.5),
    )
    hidden = decoder(tables.embed(tokens, is_vision))
    ours = tables.logits(hidden, vision=False), tables.logits(hidden, vision=True)
    for found, wanted in zip(ours, original(arrays, tokens, is_vision), strict=True):
        torch.testing.assert_close(found, wanted, atol=1e-10, rtol=0)


@pytest.mark.parametrize("interleaved", [False, True], ids=["half_split", "interleaved"])
@pytest.mark.parametrize("scanned", [True, False], ids=["scanned", "unscanned"])
@pytest.mark.parametrize(("dtype", "limit"), [("float32", 2**30), ("float32", 1000), ("bfloat16", 777)])
def test_logits_are_those_of_the_original(interleaved, scanned, dtype, limit, tmp_path):
    arrays = rounded(parameters()) if dtype == "bfloat16" else parameters()
    path = write(tmp_path / "params", arrays if scanned else unscanned(arrays), dtype, limit)
    decoder, tables = modules(interleaved)
    load(path, decoder, tables)
    assert_same(arrays, decoder, tables)


def test_a_training_state_serves_and_its_optimizer_is_passed_over(tmp_path):
    arrays = parameters()
    path = write(tmp_path / "state", arrays, prefix=("params", "params"))
    moments = write(tmp_path / "moments", arrays, prefix=("opt_state", "0", "mu"))
    step = msgpack.packb((("step",), msgpack.packb(7)))
    path.write_bytes(step + moments.read_bytes() + path.read_bytes())
    decoder, tables = modules()
    load(path, decoder, tables)
    assert_same(arrays, decoder, tables)


def test_a_model_of_text_needs_no_vision_table(tmp_path):
    arrays = {
        name: array for name, array in parameters().items() if "vte" not in name and "vision" not in name
    }
    path = write(tmp_path / "params", arrays)
    decoder, tables = modules()
    fill(path=path, decoder=decoder, text=tables.text, vision=None)
    with pytest.raises(CheckpointError, match="holds no transformer/vte/embedding"):
        load(path, decoder, tables)


def test_one_layer_is_read_at_a_time(tmp_path):
    arrays = parameters()
    path = write(tmp_path / "params", arrays, limit=1000)
    for record in read_stream(path):
        array, wanted = record.array(), torch.from_numpy(arrays[record.name])
        assert (array.whole() == wanted).all()
        assert all((array.entry(i) == wanted[i]).all() for i in range(len(wanted)))


WQ = f"{SCAN}/attention/wq/kernel"


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({WQ: None}, f"holds no transformer/h/0/attention/wq/kernel, nor {WQ}"),
        ({"lm_head/kernel": None}, "holds no lm_head/kernel"),
        ({WQ: (LAYERS, DIM, 7)}, rf"{WQ}, layer 0, is \(7, 32\), where the model has \(32, 32\)"),
        ({WQ: (LAYERS - 1, DIM, DIM)}, rf"{WQ} is \(2, 32, 32\), where the model has 3 layers"),
        ({WQ: ()}, rf"{WQ} is \(\), where the model has 3 layers"),
        ({"transformer/wte/embedding": (TEXT, 5)}, r"wte/embedding is \(23, 5\), where .* \(23, 32\)"),
        ({"transformer/h/3/ffn_norm/kernel": (DIM,)}, "h/3/ffn_norm/kernel, layer 3, has no place"),
        ({"transformer/h/x/ffn_norm/kernel": (DIM,)}, "transformer/h/x/ffn_norm/kernel has no place"),
        ({"transformer/other": (DIM,)}, "transformer/other has no place"),
    ],
)
def test_a_wrong_array_is_named(tmp_path, change, says):
    arrays = parameters() | {name: np.zeros(shape or (), np.float32) for name, shape in change.items()}
    arrays = {name: array for name, array in arrays.items() if change.get(name, ()) is not None}
    with pytest.raises(CheckpointError, match=says) as error:
        load(write(tmp_path / "params", arrays), *modules())
    assert str(error.value).startswith(str(tmp_path))
    assert "\n" not in str(error.value)


def test_a_stream_cut_anywhere_is_told(tmp_path):
    arrays = {name: array for name, array in parameters().items() if not name.startswith(SCAN)}
    path = write(tmp_path / "params", arrays)
    whole = path.read_bytes()
    for at in range(0, len(whole), 61):
        path.write_bytes(whole[:at])
        with pytest.raises(CheckpointError, match=r"is empty|cut short in|holds no") as error:
            load(path, *modules())
        assert "\n" not in str(error.value)
    start = len(write(tmp_path / "first", dict(list(arrays.items())[:1])).read_bytes())
    path.write_bytes(whole[: start + 200])
    with pytest.raises(CheckpointError, match=f"cut short in {list(arrays)[1]}"):
        load(path, *modules())


def record(value) -> bytes:
    return msgpack.packb((("lm_head", "kernel"), value))


def array_of(shape, dtype, data) -> bytes:
    return msgpack.packb(msgpack.ExtType(1, msgpack.packb((shape, dtype, data))))


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (pickle.dumps({"a": 1}), "not a stream of"),
        (msgpack.packb(("lm_head", b"")), "not a stream of"),
        (msgpack.packb(((), b"")), "not a stream of"),
        (record(3), "not a stream of .* lm_head/kernel"),
        (record(b"\xc1"), "lm_head/kernel is not an array of floats"),
        (record(msgpack.packb(3)), "lm_head/kernel is not an array of floats"),
        (record(array_of((1,), "int8", b"a")), "lm_head/kernel is not an array of floats"),
        (record(array_of((-1, -2), "float16", b"abcd")), "lm_head/kernel is not an array of floats"),
        (record(array_of((9,), "float32", b"")), r"lm_head/kernel holds 0 bytes for a shape of \(9,\)"),
    ],
)
def test_other_files_are_told(tmp_path, content, says):
    (tmp_path / "params").write_bytes(content)
    with pytest.raises(CheckpointError, match=says) as error:
        load(tmp_path / "params", *modules())
    assert "\n" not in str(error.value)
    with pytest.raises(CheckpointError, match="no such file"):
        load(tmp_path / "none", *modules())
