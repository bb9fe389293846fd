"""Fill in what a config refers to: `${fraction:0.5,${trainer.max_steps}}`, `${run:cache}`."""

import os
import re
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from launch.presets import RUN_FOLDER
from launch.problems import Problem

Config = dict[str, Any]

# `${fraction:0.5,${trainer.max_steps}}`: a step given as a share of the run
OmegaConf.register_resolver("fraction", lambda share, whole: round(float(share) * int(whole)), replace=True)

# `${run:cache}`: a place in the run folder, for what one stage writes and a later one reads
OmegaConf.register_resolver(
    "run", lambda place: str(Path(os.environ.get(RUN_FOLDER, "RUN_FOLDER")) / place), replace=True
)


def resolve(raw: Config) -> tuple[Config, list[Problem]]:
    """Fill in the interpolations; a missing value (???) or a reference to nothing is a problem."""
    texts = dict(_texts(raw))
    missing = [path for path, text in texts.items() if text == "???"]
    problems = [Problem(path, "needs a value") for path in missing]
    config = OmegaConf.create(raw)
    for path in missing:
        OmegaConf.update(config, path, None)
    try:
        return OmegaConf.to_container(config, resolve=True), problems  # type: ignore[return-value]
    except Exception as error:
        found = _broken(config, {path: text for path, text in texts.items() if "${" in text})
        return {}, problems + (
            found or [Problem(getattr(error, "full_key", None) or "config", _words(error))]
        )


def _broken(config: Any, texts: dict[str, str]) -> list[Problem]:
    """References that cannot be followed, without those that fail only because they follow one of these."""
    reasons = {}
    for path in texts:
        try:
            value = OmegaConf.select(config, path, throw_on_missing=True)
            OmegaConf.to_container(value, resolve=True) if OmegaConf.is_config(value) else None
        except Exception as error:
            reasons[path] = _words(error)

    def follows(path: str) -> bool:
        aims = re.findall(r"\$\{([\w.]+)\}", texts[path])
        return any(other == aim or other.startswith(f"{aim}.") for aim in aims for other in reasons)

    return [Problem(path, reason) for path, reason in reasons.items() if not follows(path)]


def _words(error: Exception) -> str:
    line = str(error).splitlines()[0]
    return line if isinstance(error, OmegaConfBaseException) else f"cannot be read: {line}"


def _texts(raw: Config, prefix: str = "") -> list[tuple[str, str]]:
    """Every text value by its path."""
    found = []
    for key, value in raw.items():
        if isinstance(value, dict):
            found += _texts(value, f"{prefix}{key}.")
        elif isinstance(value, str):
            found.append((f"{prefix}{key}", value))
    return found
