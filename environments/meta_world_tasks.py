"""The tasks of Meta-World that are offered here: those that its scripted policies finish from every start.

Names are Meta-World's (arXiv 1910.10897) without the version at their end; it has no wordings of its own.
"""

from typing import NamedTuple


class Task(NamedTuple):
    """texts: ways to say it. What is meant by a mark is green in the pictures."""

    group: str
    texts: tuple[str, ...]


TASKS = {
    "push": Task("push", ("push the puck to the mark", "slide the puck to the green mark")),
    "plate-slide": Task("push", ("slide the plate into the cabinet", "push the plate under the rack")),
    "drawer-open": Task("drawer", ("open the drawer", "pull the drawer open")),
    "drawer-close": Task("drawer", ("close the drawer", "push the drawer shut")),
    "button-press": Task("button", ("press the button on the wall", "push the button in")),
    "button-press-topdown": Task("button", ("press the button from above", "push the button down")),
    "coffee-button": Task("button", ("press the button of the coffee machine", "start the coffee machine")),
    "door-open": Task("door", ("open the door", "pull the door open")),
    "door-close": Task("door", ("close the door", "push the door shut")),
    "window-open": Task("window", ("open the window", "slide the window open")),
    "window-close": Task("window", ("close the window", "slide the window shut")),
    "faucet-open": Task("faucet", ("open the tap", "turn the faucet on")),
    "faucet-close": Task("faucet", ("close the tap", "turn the faucet off")),
    "handle-press": Task("handle", ("press the handle down", "push the handle down")),
    "handle-pull": Task("handle", ("pull the handle up", "lift the handle")),
    "lever-pull": Task("lever", ("pull the lever up", "lift the lever")),
    "reach": Task("reach", ("reach the mark", "move the hand to the mark")),
    "pick-place": Task("pick", ("put the puck at the mark", "pick the puck up and hold it at the mark")),
}
