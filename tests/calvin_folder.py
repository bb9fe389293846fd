"""Writes a small folder in CALVIN's layout, as the CALVIN project's own tools would."""

from pathlib import Path

import numpy as np

STATIC, GRIPPER = (200, 200, 3), (84, 84, 3)


def frame(number: int) -> dict[str, np.ndarray]:
    """Everything in it tells its number."""
    rng = np.random.default_rng(number)
    static = np.zeros(STATIC, np.uint8)
    static[:, : 2 * (number % 100)] = 255  # a bar that grows by two pixels a frame
    return {
        "actions": rng.normal(size=7),
        "rel_actions": number + np.arange(7) / 10,
        "robot_obs": rng.normal(size=15),
        "scene_obs": rng.normal(size=24),
        "rgb_static": static,
        "rgb_gripper": np.full(GRIPPER, number % 256, np.uint8),
        "rgb_tactile": np.zeros((160, 120, 6), np.uint8),
        "depth_static": np.zeros((2, 2), np.float32),
    }


def write_folder(folder: Path, episodes: list[tuple[int, int]], told: list[tuple[int, int, str]]) -> None:
    """training/ or validation/. told: first and last frame of a segment, and its words."""
    (folder / "lang_annotations").mkdir(parents=True)
    np.save(folder / "ep_start_end_ids.npy", np.array(episodes))
    for first, last in episodes:
        for number in range(first, last + 1):
            np.savez_compressed(folder / f"episode_{number:07d}.npz", **frame(number))
    about = {
        "language": {
            "ann": [text for *_, text in told],
            "task": ["move"] * len(told),
            "emb": np.zeros((len(told), 1, 384), np.float32),
        },
        "info": {"episodes": [], "indx": [(first, last) for first, last, _ in told]},
    }
    np.save(folder / "lang_annotations" / "auto_lang_ann.npy", about)
