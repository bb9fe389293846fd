"""Why files were left out, in one message."""

from collections import defaultdict
from collections.abc import Mapping

NAMED = 5  # files that a message names before it says how many more


def grouped(reasons: Mapping[str, str], separator: str) -> str:
    """`3 empty files: a.mp4, b.mp4, ...`, one group a reason."""
    groups = defaultdict(list)
    for name, reason in reasons.items():
        groups[reason].append(name)
    lines = []
    for reason, names in groups.items():
        more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
        lines.append(f"{reason}: {', '.join(names[:NAMED])}{more}")
    return separator.join(lines)
