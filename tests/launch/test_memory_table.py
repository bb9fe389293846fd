"""The table of what training takes: every stage that trains has a row, and the page has them all."""

import pytest

from launch import memory_table
from launch.command import parse
from launch.compose import SIZES, compose, recipe_folders


@pytest.fixture
def asked(monkeypatch, tmp_path) -> list[list[str]]:
    """The rows that the script makes, without making them."""
    rows: list[list[str]] = []
    monkeypatch.setattr(memory_table, "row", lambda *cells: rows.append(list(cells)) or "| a row |")
    page = tmp_path / "page.md"
    page.write_text(f"before {memory_table.BEGIN} old {memory_table.END} after")
    monkeypatch.setattr(memory_table, "PAGE", page)
    assert memory_table.main([]) == 0
    assert page.read_text().count("| a row |") == len(rows)
    return rows


def test_stages_that_train_nothing_have_no_row(asked):
    named = [tuple(row[:3]) for row in asked]
    assert [name for name in named if name[0] == "framepack"] == [
        ("framepack", "tiny", "tokenizer"), ("framepack", "tiny", "model"), ("framepack", "paper", "model"),
    ]  # fmt: skip
    assert {name[:2] for name in named} == {(recipe, size) for recipe in recipe_folders() for size in SIZES}


def test_what_a_recipe_asks_of_the_user_is_given(asked):
    (words,) = (row[3] for row in asked if row[:3] == ["framepack", "paper", "model"])
    (raw,) = compose(parse([*words, "stage=model"]))[0].values()
    assert raw["data"]["root"] == "my_clips"


def test_figures_are_those_of_dry():
    (raw,) = compose(parse(["recipe=framepack", "stage=tokenizer", "trainer.max_steps=3"]))[0].values()
    raw["size"] = "of a test"  # nothing is measured
    assert memory_table.figures(raw) == {
        "parameters": "533,176", "state": "8.1 MiB", "flops": "5.0", "batch": "4 clips, 36 frames",
    }  # fmt: skip
