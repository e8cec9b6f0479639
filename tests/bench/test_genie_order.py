"""Tests that the benchmark of the solvers runs, prints every claim, and draws its picture."""

import json

import numpy as np
from PIL import Image

from bench import report
from bench.genie_order import __main__ as genie_order


def test_a_quick_run_prints_its_claims_and_the_orders_hold(capsys, tmp_path):
    try:
        assert genie_order.main(["--quick", "--json", "--picture", str(tmp_path / "toy.png")]) == 0
    finally:
        report.as_json(False)
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    claims = {row["claim"]: row for row in rows if "claim" in row}
    assert len(claims) == 16 and all(row["spread"] is None or len(row["spread"]) == 2 for row in claims.values())
    # With so few latents errors move by a few per cent; orders do not.
    orders = [row for name, row in claims.items() if "order" in name]
    assert len(orders) == 7 and all(row["holds"] for row in orders)
    picture = np.asarray(Image.open(tmp_path / "toy.png").convert("L"))
    panels = np.array_split(picture, 3, axis=1)
    dark = [int((panel[60:-20, 20:-20] < 160).sum()) for panel in panels]
    assert all(dark), "every panel shows its samples"


def test_an_order_is_read_off_a_power_law():
    steps = (10, 20, 40)
    assert abs(genie_order.slope(steps, np.array([3.0 / n**2 for n in steps])) - 2) < 1e-12
