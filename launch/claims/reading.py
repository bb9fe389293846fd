"""Read a recipe's claims: recipes/NAME/claims.yaml.

covers_modes:                             # the claim's name on the command line
  says: A VAE covers both turns.          # what the paper says, in words
  record: {out: data/table, policy: expert, episodes: 100} # optional: what record.py is asked for, before all
  common: {data: fork, trainer.max_steps: 600}             # overrides of all variants
  variants: {vae: {variant: vae}, deterministic: {variant: deterministic_l1}}
  after: {longer: vae}                    # optional: `longer` starts from the weights of `vae`
  measure: {_component_: evaluation.known_futures.KnownFutures, samples: 20}      # or a list of them
  expect: vae.best_psnr > deterministic.best_psnr + 1.0
  minutes: 20                             # three seeds on two cores
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from checkpoints.build import build, is_node
from launch.check import check
from launch.claims.expectation import Expectation, Value
from launch.command import Command, expand, parse
from launch.compose import compose, recipe_folders
from launch.presets import yaml_load
from launch.problems import CommandError, Problem, did_you_mean, names
from launch.run import prepare

FILE = "claims.yaml"
KEYS: dict[str, tuple[type, ...]] = {
    "says": (str,),
    "record": (dict,),
    "common": (dict,),
    "variants": (dict,),
    "after": (dict,),
    "measure": (dict, list),
    "expect": (str,),
    "minutes": (int, float),
}
OPTIONAL = ("record", "common", "after")
TYPES = {str: "text", dict: "keys with values", list: "a list", int: "a number"}
OWN_WORDS = ("recipe", "resume", "run_dir", "weights", "stage", "help", "dry")  # not for a claim to set


class Measurement(Protocol):
    """Judges one trained model; metrics: the names of what it returns."""

    metrics: tuple[str, ...]

    def __call__(self, model: Any) -> dict[str, Value]: ...


@dataclass(frozen=True)
class Claim:
    """One experiment.

    record: tokens of record.py for the data that it trains on; none where the data is there.
    variants: overrides by name. metrics: all that the measures return.
    """

    name: str
    says: str
    record: list[str]
    variants: dict[str, dict[str, Any]]
    after: dict[str, str]
    measures: list[dict[str, Any]]
    metrics: list[str]
    expect: Expectation
    minutes: float

    def command(self, recipe: str, variant: str, seed: int) -> Command:
        """What train.py is asked for one arm, but for its folder."""
        return _command(recipe, self.variants[variant] | {"seed": seed})

    def in_order(self) -> list[str]:
        """Variants, each after the one that it starts from."""
        order: list[str] = []
        while len(order) < len(self.variants):
            ready = [v for v in self.variants if v not in order and self.after.get(v, v) in [*order, v]]
            order.append(ready[0])
        return order


def read_claims(recipe: str, only: str | None = None) -> list[Claim]:
    """The claims of a recipe, or one of them, checked down to every override.

    Raises:
        CommandError: all that is wrong with them.
    """
    folders = recipe_folders()
    if recipe not in folders:
        hint = f"{did_you_mean(recipe, folders)}; {names(folders)}"
        raise CommandError([Problem(f"recipe={recipe}", f"no such recipe{hint}")])
    file = folders[recipe] / FILE
    if not file.is_file():
        have = [name for name, folder in folders.items() if (folder / FILE).is_file()]
        raise CommandError(
            [Problem(f"recipe={recipe}", f"has no {FILE}; recipes with claims: {', '.join(have)}")]
        )
    try:
        found = yaml_load(file)
    except ValueError as error:
        raise CommandError([Problem(f"{recipe}/{FILE}", str(error).partition(": ")[2])]) from error
    if only is not None and only not in found:
        hint = f"{did_you_mean(only, found)}; {names(found)}"
        raise CommandError([Problem(f"claim={only}", f"no such claim{hint}")])
    problems: list[Problem] = []
    claims = []
    for name, raw in found.items():
        if only in (None, name):
            wrong = _shape(raw)
            if not wrong:
                claim, wrong = _read(recipe, name, raw)
                claims += [claim] if claim else []
            problems += [Problem(f"{name}.{p.path}" if p.path else name, p.message) for p in wrong]
    if problems:
        raise CommandError(problems)
    return claims


def _shape(raw: Any) -> list[Problem]:
    """Unknown, missing and mistyped keys of a claim."""
    if not isinstance(raw, dict):
        return [Problem("", f"expected a claim: {', '.join(KEYS)}")]
    problems = [Problem(key, f"unknown key{did_you_mean(key, KEYS)}") for key in raw if key not in KEYS]
    for key, kinds in KEYS.items():
        if key not in raw and key not in OPTIONAL:
            problems.append(Problem(key, "needs a value"))
        elif key in raw and (not isinstance(raw[key], kinds) or isinstance(raw[key], bool)):
            problems.append(Problem(key, f"expected {TYPES[kinds[0]]}, got {raw[key]!r}"))
    if problems:
        return problems
    for name, changes in raw["variants"].items():
        if not isinstance(changes, dict):
            problems.append(Problem(f"variants.{name}", f"expected overrides, got {changes!r}"))
        elif not str(name).isidentifier():
            problems.append(
                Problem(f"variants.{name}", "expect could not name it; use letters, digits and _")
            )
        for key in {*raw.get("common", {}), *(changes if isinstance(changes, dict) else ())} & {
            *OWN_WORDS,
            "seed",
        }:
            problems.append(Problem(f"variants.{name}.{key}", "is set by reproduce.py"))
    for name, before in raw.get("after", {}).items():
        problems += [
            Problem(f"after.{name}", f"no such variant: {v}; {names(raw['variants'])}")
            for v in (name, before)
            if v not in raw["variants"]
        ]
    return problems or _circles(raw.get("after", {}))


def _circles(after: dict[str, str]) -> list[Problem]:
    for name in after:
        seen = [name]
        while seen[-1] in after:
            if after[seen[-1]] in seen:
                return [
                    Problem(f"after.{name}", f"goes in a circle: {' after '.join([*seen, after[seen[-1]]])}")
                ]
            seen.append(after[seen[-1]])
    return []


def _read(recipe: str, name: str, raw: dict[str, Any]) -> tuple[Claim | None, list[Problem]]:
    """A claim of the right shape with what it refers to looked up."""
    variants = {v: raw.get("common", {}) | changes for v, changes in raw["variants"].items()}
    problems: list[Problem] = []
    for variant, changes in variants.items():
        problems += [Problem(f"variants.{variant}: {p.path}", p.message) for p in _overrides(recipe, changes)]
    measures = raw["measure"] if isinstance(raw["measure"], list) else [raw["measure"]]
    metrics: list[str] = []
    for node in measures:
        wrong = check({"measure": node}, {"measure": node}, set(), {}) if is_node(node) else []
        if not is_node(node):
            wrong = [Problem("measure", f"expected _component_ and its arguments, got {node!r}")]
        try:
            metrics += [] if wrong else build(node).metrics
        except (ValueError, AttributeError) as error:
            wrong = [Problem("measure", str(error))]
        problems += wrong
    try:
        expect = Expectation(raw["expect"])
    except ValueError as error:
        return None, [*problems, Problem("expect", str(error))]
    known = [f"{v}.{m}" for v in variants for m in metrics] + (list(variants) if len(metrics) == 1 else [])
    if metrics:
        unknown = [n for n in expect.names if n not in known]
        problems += [Problem("expect", f"no such result: {n}{did_you_mean(n, known)}") for n in unknown]
    record = [f"{key}={value}" for key, value in raw.get("record", {}).items()]
    problems += _recording(record) if record else []
    claim = Claim(
        name=name,
        says=raw["says"],
        record=record,
        variants=variants,
        after=raw.get("after", {}),
        measures=measures,
        metrics=metrics,
        expect=expect,
        minutes=raw["minutes"],
    )
    return claim, problems


def _recording(tokens: list[str]) -> list[Problem]:
    """What record.py would say."""
    from launch.record import read

    try:
        read(tokens)
    except CommandError as error:
        return [Problem(f"record: {p.path}", p.message) for p in error.problems]
    return []


def _overrides(recipe: str, changes: dict[str, Any]) -> list[Problem]:
    """What train.py would say of a variant's overrides."""
    try:
        command = _command(recipe, changes)
        if len(expand(command)) > 1:
            return [Problem("", "a comma would start a sweep; brackets make a list")]
        stages, problems = compose(command)
        for stage in stages.values() if not problems else ():
            prepare(stage)
    except CommandError as error:
        return error.problems
    return problems


def _command(recipe: str, changes: dict[str, Any]) -> Command:
    """Overrides as the command line has them."""
    texts = {key: value if isinstance(value, str) else json.dumps(value) for key, value in changes.items()}
    return parse([f"recipe={recipe}", *(f"{key}={text}" for key, text in texts.items())])


def folder_of(recipe: str) -> Path:
    return recipe_folders()[recipe]


def claim_names(recipe: str) -> list[str]:
    """All claims of a recipe, in the order of its file."""
    return list(yaml_load(folder_of(recipe) / FILE))
