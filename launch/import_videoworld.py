"""VideoWorld's released Go model as a folder that sample, evaluate, play_go and train read."""

from pathlib import Path

from launch.import_weights import Config, Imported, ImportOptions, change_checked, published_config, told_at
from launch.problems import CommandError, Problem

CODES = 3  # of a frame, in the released model
DYNAMICS: Config = {  # as released, for a file of them
    "_component_": "components.latent_dynamics.resized.Resized",
    "side": 128,
    "dynamics": {
        "_component_": "components.latent_dynamics.magvit.MagvitDynamics",
        "horizon": CODES,
        "channels": 128,
        "multipliers": [1, 2, 2, 4],
        "blocks": 4,
        "quantizer": {
            "_component_": "components.quantizers.fsq.FiniteScalarQuantizer",
            "levels": [8, 8, 8, 5, 5, 5],
            "dim": 512,
        },
    },
}


def import_videoworld(options: ImportOptions, changes: list[str]) -> Imported:
    """The model of the published config with the weights in it; the decoder's sizes are read from its file.

    The tokenizer is taken from the decoder's file, where there is none of its own.

    Raises:
        CommandError: a file is missing or broken, does not fit the config, or the config is wrong.
    """
    import torch

    from checkpoints import videoworld
    from checkpoints.build import build
    from launch.run import prepare

    if options.tokenizer is not None:
        raise CommandError([Problem("tokenizer", "family videoworld reads no text: leave it out")])
    raw = published_config("videoworld")
    raw["data"]["games"] = "shipped"
    _choose_dynamics(raw, options.dynamics)
    change_checked(raw, options, changes)
    with told_at("weights"):
        sizes = videoworld.decoder_sizes(options.weights)
    raw["model"]["decoder"]["rope"]["theta"] = float(sizes.pop("rope.theta"))
    raw["model"]["decoder"] |= sizes
    resolved = prepare(raw)
    torch.manual_seed(raw["seed"])
    with told_at("model"):
        tokenizer, dynamics = build(resolved["tokenizer"]), build(resolved["dynamics"])
        model = build(resolved["model"], tokenizer=tokenizer, dynamics=dynamics)
    with told_at("weights" if options.vqgan is None else "vqgan"):
        videoworld.fill_tokenizer(path=options.vqgan or options.weights, tokenizer=tokenizer)
    if options.dynamics is not None:
        with told_at("dynamics"):
            videoworld.fill_dynamics(path=options.dynamics, dynamics=dynamics.dynamics)
    with told_at("weights"):
        ids = videoworld.go_ids(model.layout)
        videoworld.fill_decoder(path=options.weights, decoder=model.decoder, table=model.table, ids=ids)
    fresh = [] if options.dynamics is not None else ["what imagines frames from codes (give dynamics=)"]
    commands = {"play": f"python play_go.py ckpt={options.out}"}
    return Imported(model=model, config=resolved, fresh=fresh, commands=commands)


def _choose_dynamics(raw: Config, path: Path | None) -> None:
    """Those of the released code for a file of them; else the recipe's own, to say how many codes there are.

    Untrained they decode nothing, so a rollout goes on by the decoder's frames alone.
    """
    from checkpoints import videoworld

    if path is not None:
        with told_at("dynamics"):
            horizon = videoworld.horizon(path)
        raw["dynamics"] = DYNAMICS | {"dynamics": DYNAMICS["dynamics"] | {"horizon": horizon}}
        return
    node = raw["dynamics"]
    while "dynamics" in node:  # the one inside of a change of size
        node = node["dynamics"]
    node["horizon"] = CODES
    raw["model"]["advance"] = 1
