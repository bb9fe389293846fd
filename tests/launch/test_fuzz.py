"""Wrong command lines by the hundred: none starts a run, each answer names the place, none is a traceback."""

import inspect
import string
import typing
from copy import deepcopy
from functools import cache
from typing import Any, Literal

import pytest
from hypothesis import HealthCheck, Phase, assume, given, settings
from hypothesis import strategies as st

from checkpoints.build import is_node, locate, parameters
from launch import compose, main, overrides, presets
from launch.check import fits
from launch.command import WORDS, parse, read_value

EXAMPLES = 60  # of each of five sorts of mistake; of words that are no override three times as many
STARTS = (  # command lines that are right, so that a mistake meets different configs
    [],
    ["size=paper", "data=videos", "data.root=clips"],
    ["variant=vae", "callbacks.ema=ema"],
    ["data=lerobot", "data.root=lerobot/pusht", "model.generator.transformation=flow"],
    ["model.prior=learned", "optimizer=sgd"],
)
fuzzed = settings(
    max_examples=EXAMPLES,
    deadline=None,
    derandomize=True,
    database=None,
    phases=[
        Phase.generate
    ],  # a mistake that slips through is as telling unshrunk, and shrinking takes minutes
    suppress_health_check=[
        HealthCheck.function_scoped_fixture,
        HealthCheck.too_slow,
        HealthCheck.filter_too_much,
    ],
)


class Started(AssertionError):
    pass


@pytest.fixture
def refused(monkeypatch, capsys):
    """A function that runs the command and returns its report; the test fails where a run would start."""
    load = cache(presets.yaml_load)
    monkeypatch.setattr(compose, "yaml_load", lambda file: deepcopy(load(file)))

    def started(*args: Any) -> None:
        raise Started("the mistake was not noticed")

    monkeypatch.setattr(main, "run_folder", started)

    def run(start: list[str], token: str) -> str:
        capsys.readouterr()
        assert main.main(["recipe=savp", *start, token]) == 2
        report = capsys.readouterr().err
        assert "nothing was started" in report
        assert "Traceback" not in report
        assert all(line.strip() for line in report.strip().splitlines())
        return report

    return run


@cache
def config(start: int) -> dict[str, Any]:
    stages, problems = compose.compose(parse(["recipe=savp", *STARTS[start]]))
    assert problems == []
    return next(iter(stages.values()))


@cache
def keys(start: int) -> list[str]:
    return [key for key in overrides.paths(config(start)) if key not in WORDS]


@cache
def nodes(start: int) -> list[str]:
    return [key for key in keys(start) if is_node(overrides.find(config(start), key))]


@cache
def typed(start: int) -> list[tuple[str, Any]]:
    """Keys that hold values, with what their component's constructor declares them to be."""
    found = []
    for key in nodes(start):
        node = overrides.find(config(start), key)
        known = parameters(locate(node["_component_"]))
        for name in node.keys() & known.keys():
            annotation = known[name].annotation
            if annotation not in (Any, inspect.Parameter.empty) and not is_node(node[name]):
                found.append((f"{key}.{name}", annotation))
    return sorted(found, key=lambda pair: pair[0])


def accepted(start: int, key: str) -> bool:
    """Whether a key exists, or is an argument that its component takes though the config does not list it."""
    owner, _, leaf = key.rpartition(".")
    node = overrides.find(config(start), owner) if owner else config(start)
    if (
        key in keys(start)
        or key in WORDS
        or (is_node(node) and leaf in parameters(locate(node["_component_"])))
    ):
        return True
    return leaf == "_component_"


starts = st.integers(0, len(STARTS) - 1)
letters = st.sampled_from(string.ascii_lowercase + "_")
values = st.sampled_from(["3", "0.5", "true", "null", "text", "[1,2]", "{a: 1}", "cdna", "1e-4"])


@st.composite
def misspelt(draw) -> tuple[int, str, str]:
    start = draw(starts)
    key = draw(st.sampled_from(keys(start)))
    parts = key.split(".")
    which = draw(st.integers(0, len(parts) - 1))
    word, place = parts[which], draw(st.integers(0, max(0, len(parts[which]) - 1)))
    letter = draw(letters)
    parts[which] = draw(
        st.sampled_from([
            word[:place] + word[place + 1 :],
            word[:place] + letter + word[place:],
            word[:place] + letter + word[place + 1 :],
            word[:place] + word[place : place + 2][::-1] + word[place + 2 :],
            word.upper(),
            word + "s",
        ])
    )  # fmt: skip
    return start, ".".join(parts), draw(values)


@given(misspelt())
@fuzzed
def test_misspelt_keys(refused, mistake):
    start, key, value = mistake
    assume(not accepted(start, key))
    assert key in refused(STARTS[start], f"{key}={value}")


WRONG = ["text", "true", "1.5", "3", "[a,b]", "[1,[2]]", "{a: 1}", "''", "1e400x", "-", "None", "[]", "'3'"]


@given(starts, st.data())
@fuzzed
def test_wrong_types(refused, start, data):
    key, annotation = data.draw(st.sampled_from(typed(start)))
    text = data.draw(st.sampled_from(WRONG))
    value = read_value(text)
    assume(not fits(value, annotation))
    assert key in refused(STARTS[start], f"{key}={text}")


PLAIN = {  # keys of no component, which recipes and commands rely on
    "seed": "zero 1.5 true null [1] {a:1}",
    "threads": "two 1.5 true [1]",
    "clip.num_frames": "many 2.5 null true [1]",
    "clip.context_frames": "few 2.5 null true",
    "clip.height": "tall 2.5 null [1]",
    "clip.width": "wide 2.5 null {a:1}",
    "clip.fps": "fast true [1]",
    "clip.action_dim": "some 1.5 null true",
    "clip.state_dim": "some 1.5 null true",
    "trainer.max_steps": "many 2.5 null 0 -1 true [1]",
}


@pytest.mark.parametrize(("key", "text"), [(k, text) for k, v in PLAIN.items() for text in v.split()])
def test_wrong_plain_values(refused, key, text):
    assert key in refused([], f"{key}={text}")


@given(starts, st.data())
@fuzzed
def test_swaps_of_the_wrong_kind(refused, start, data):
    key = data.draw(st.sampled_from(nodes(start)))
    own = presets.kind_of_component(overrides.find(config(start), key)["_component_"])
    other = data.draw(st.sampled_from(sorted(presets.kinds())))
    assume(own is None or other != own.name)
    name, node = data.draw(st.sampled_from(sorted(presets.kinds()[other].nodes.items())))
    component = node["_component_"]
    broken = [
        name,
        component,
        component + "x",
        component.replace(".", ".x.", 1),
        "os.system",
        "3",
        "[1]",
        "true",
    ]
    text = data.draw(st.sampled_from(broken))
    assume(own is None or text not in own.nodes)
    assert key in refused(STARTS[start], f"{key}={text}")


@given(starts, st.data())
@fuzzed
def test_deletions(refused, start, data):
    key = data.draw(st.sampled_from(keys(start)))
    if data.draw(st.booleans()):
        key += data.draw(letters)
    assume(key not in keys(start) or _required(start, key))
    assert key in refused(STARTS[start], f"~{key}")


broken_values = st.sampled_from([
    "[1", "{a: 1", "${nowhere}", "${", "${model.nothing}", "'open", '"open', "[1,,2", "{a", "${fraction:a,b}",
    "${fraction:1}", "${nosuch:1}", "]", "[1]]", "{a: {b: }", "${${}}", "${.}", "@", "%", "a: b: c",
    "!!python/none x", "&a *b", "- 1\n- 2", "\t:",
])  # fmt: skip


@given(starts, st.data(), broken_values)
@fuzzed
def test_broken_values(refused, start, data, text):
    key, _ = data.draw(st.sampled_from([pair for pair in typed(start) if _numeric(pair[1])]))
    assert key in refused(STARTS[start], f"{key}={text}")


@settings(fuzzed, max_examples=3 * EXAMPLES)
@given(
    st.text(alphabet=string.ascii_letters + "-_.~[]{}$:", min_size=1, max_size=12), st.sampled_from(["", "="])
)
def test_words_that_are_no_override(refused, word, equals):
    token = equals + word
    assert token.strip("~") in refused([], token)


@pytest.mark.parametrize(
    "token",
    [
        *(
            "size=huge",
            "size=",
            "size=tiny,huge",
            "variant=no",
            "variant=vae+no",
            "variant=vae,no",
            "stage=no",
        ),
        *(
            "recipe=no",
            "recipe=",
            "recipe=savp,no",
            "help=maybe",
            "dry=",
            "seed=0,zero",
            "optimizer=adam,adm",
        ),
        *(
            "seed.deep=3",
            "clip.height.deep=3",
            "model=3",
            "callbacks=none",
            "stages.train=3",
            "a..b=1",
            ".=1",
        ),
        *(
            "model.=1",
            ".model=1",
            "model..prior=null",
            "_component_=os.system",
            "model._component_=os.system",
        ),
        *("variants.vae=1", "size.x=1", "callbacks.extra=3", "callbacks.extra={a: 1}", "callbacks.extra=[1]"),
        *("data=null", "model=null", "trainer=null", "loader=null", "optimizer=null", "clip=null"),
        *("callbacks.checkpoint._component_=os.system", "data._component_=3", "resume=no"),
    ],
)
def test_words_of_the_command_and_odd_places(refused, token):
    place = token.partition("=")[0].removesuffix("._component_")
    assert place in refused([], token)


def _numeric(annotation: Any) -> bool:
    options = typing.get_args(annotation) or (annotation,)
    return typing.get_origin(annotation) is not Literal and all(
        o in (int, float, bool, type(None)) for o in options
    )


def _required(start: int, key: str) -> bool:
    """Whether a run cannot do without a key: an argument without a default, or what the commands read."""
    owner, _, leaf = key.rpartition(".")
    node = overrides.find(config(start), owner) if owner else None
    if owner in ("", "clip") or key == "trainer.max_steps":
        return key not in ("callbacks", "threads")
    if not is_node(node):
        return False
    parameter = parameters(locate(node["_component_"])).get(leaf)
    launched = {"trainer": {"default_root_dir", "logger"}, "loader": {"source", "num_batches"}}.get(
        owner, set()
    )
    return parameter is not None and parameter.default is parameter.empty and leaf not in launched
