"""Sources of clips: one file a source, all yield the same Clip.

| name | what it reads | needs |
|---|---|---|
| bouncing_balls | nothing: simulates and renders balls, with exact states | - |
| fork | nothing: a disc that turns left or right behind the context; every valid future is known | - |
| moving_shapes | nothing: a coloured shape moves; captions, questions, captions read back from pixels | - |
| sprite_room | nothing: a sprite walks through a room that never changes, or scrolls by | - |
| flash_recall | nothing: a colour flashes once and has to be shown again | - |
| pan_and_return | nothing: a view pans over a strip and comes back | - |
| film_haystack | nothing: dull clips in which a coloured shape shows for a moment; questions | - |
| text_haystack | nothing, or .txt files: facts hidden in long texts, without video; questions | - |
| documents | .txt files: pieces of long texts, without video | - |
| go | Go games that come with it, that GNU Go plays, or SGF; boards and what Black should play | open-spiel |
| video_go_bench | the published shards of Video-GoBench: pictures of 9x9 Go and of the best moves | - |
| videos | files, globs, folders, lists; image folders; .npz | - |
| lerobot | LeRobotDataset v3.0 and v2.1, folder or hub id | - |
| success_examples | LeRobotDataset: frames in which tasks are done, and not yet | - |
| calvin | folders in CALVIN's layout: training/, validation/, an .npz a frame | - |
| huggingface | any `datasets` source with a video or image-sequence column | - |
| latent_cache | latents of another source's clips, made ahead by callbacks.latent_writer | the source |

A source is built from plain values, opens nothing heavy before `split` is called, and gives three
splits that are disjoint by source video, by episode or by seed, the same on every run and machine.
"""

from typing import Literal, Protocol, runtime_checkable

from torch.utils.data import Dataset

from components.clip import ClipSpec

Split = Literal["train", "val", "test"]


@runtime_checkable
class ClipSource(Protocol):
    """Where clips come from.

    `split` returns a torch Dataset, either map-style: `__len__` and `__getitem__(index) -> Clip` of one
    clip without the batch axis, a pure function of index; or an IterableDataset with `state_dict` and
    `load_state_dict`, already sharded by rank. Problems of the user's making raise SourceError.

    A map-style dataset may also tell of a clip, without reading it, `name_of(index)`, for messages;
    `key_of(index)`, what the clip is made of; `bucket_of(index)`, its (t, h, w) where clips differ in size.
    """

    def spec(self) -> ClipSpec: ...

    def split(self, name: Split) -> Dataset: ...


class SourceError(Exception):
    """One line for the user: what, where, what to do."""
