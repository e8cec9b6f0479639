"""Tests the benchmark of the profiles: turns, ratios of rounds and marks by hand, and a short run with both servers."""

from __future__ import annotations

import json

import pytest

from bench import profiles, report
from sluice.server import profile


@pytest.fixture
def lines(capsys):
    """Print JSON, and return a function that gives the objects printed so far."""
    report.as_json(True)
    yield lambda: [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    report.as_json(False)


def test_both_sides_warm_up_and_then_begin_a_round_in_alternation():
    turns = []

    def side(name, rates):
        def run(seconds):
            turns.append((name, seconds))
            return next(rates)

        return run

    sides = [side("auto", iter([0.0, 8.0, 9.0, 10.0])), side("cpu", iter([0.0, 4.0, 3.0, 2.0]))]
    assert profiles.race(sides, 3, 4.0) == [(8.0, 4.0), (9.0, 3.0), (10.0, 2.0)]
    assert turns[:2] == [("auto", 1.0), ("cpu", 1.0)]
    assert [name for name, _ in turns[2:]] == ["cpu", "auto", "auto", "cpu", "cpu", "auto"]
    assert all(seconds == 4.0 for _, seconds in turns[2:])


def test_a_figure_is_the_median_of_the_rounds_ratios_and_is_held_against_the_mark_of_its_task(lines):
    # The ratio of the medians of `embed` is 8 / 4, below its mark; the rounds' own ratios are 2, 2.5 and 4.
    profiles.show({"embed": [(8.0, 4.0), (10.0, 4.0), (4.0, 1.0)], "detect": [(3.0, 2.0), (3.8, 2.0)]})
    embed, detect, *claims = lines()
    assert (embed["auto"], embed["cpu"], embed["ratio"], embed["least"], embed["most"]) == (8.0, 4.0, 2.5, 2.0, 4.0)
    assert detect["ratio"] == pytest.approx(1.7)
    assert [(row["claim"], row["mark"], row["holds"]) for row in claims] == [
        ("embed: auto over cpu", 2.5, True),
        ("detect: auto over cpu", 2.0, False),
    ]
    assert claims[0]["spread"] == [2.0, 4.0] and claims[0]["value"] == 2.5


def test_the_table_names_the_size_of_the_frames(capsys):
    profiles.show({"embed": [(8.0, 4.0)]}, profiles.TINY)
    assert "images or frames of 96 x 64 per second" in capsys.readouterr().out


def test_each_network_of_enhance_has_a_mark_of_its_own():
    assert {task: profiles.mark(task) for task in (*profiles.VERBS, *profiles.STREAMS)} == {
        "embed": 2.5,
        "detect": 2.0,
        "ingest": 2.0,
        "enhance, weak remover": 2.8,
        "enhance, strong remover": 2.8,
        "enhance, upscaler for clean input": 2.0,
        "enhance, upscaler for lossy input": 2.0,
    }


def test_tasks_are_named_by_one_word_each(capsys):
    with pytest.raises(SystemExit, match="0"):
        profiles.main(["--help"])
    assert "{embed,detect,ingest,weak,strong,clean,lossy}" in "".join(capsys.readouterr().out.split())
    assert set(profiles.TASKS.values()) == {*profiles.VERBS, *profiles.STREAMS}


def test_the_film_has_chroma_of_half_the_size():
    film = profiles.frames(96, 64)
    assert len(film) == profiles.BATCH
    assert {(one.width, one.height, len(one.data)) for one in film} == {(96, 64, 96 * 64 * 3 // 2)}


@pytest.mark.long
@pytest.mark.serving
def test_a_short_run_measures_both_servers(lines):
    tasks = ["embed", "ingest", "clean"]
    assert profiles.main(["--quick", "--json", "--tasks", *tasks]) == 0
    found = lines()
    claims = [row for row in found if "claim" in row]
    assert [row["claim"] for row in claims] == [f"{profiles.TASKS[task]}: auto over cpu" for task in tasks]
    missing = profile.bf16_here()[1]
    if missing:
        assert all(row["value"] is None and not row["holds"] and row["reason"] for row in claims)
    else:
        assert all(row["auto"] > 0 and row["cpu"] > 0 for row in found if "table" in row) and len(found) == 6
