"""No output of a core depends on an input within a clock, so that a neighbour's path ends at its pins."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from designs import DESIGNS, Design, build, random_network
from paths import find, flat_netlist

from firstspike.contract.hardware import InputKind
from firstspike.network import kernels


def plain(input: InputKind, *, monitor: bool, direct: bool = False) -> Design:
    """S = T: no sorter, so that the input meets the first layer, the fork and the monitor."""
    kernel = kernels.Linear(steps=5)
    tables = [kernels.Direct() if direct else kernel, kernel, kernel]
    return build(
        lambda seed: random_network([12, 8, 4], tables, steps=5, fire_start=5, seed=seed),
        lanes=[3, 1],
        input=input,
        monitor=monitor,
    )


ALL: dict[str, Callable[[], Design]] = DESIGNS | {
    "plain_events": lambda: plain("events", monitor=True),
    "plain_direct_events": lambda: plain("events", monitor=True, direct=True),
    "plain_events_unmonitored": lambda: plain("events", monitor=False),
    "plain_pixels_unmonitored": lambda: plain("pixels", monitor=False),
}


@pytest.fixture(scope="module")
def found(generated, tmp_path_factory):
    """Paths of a design, found once."""
    made: dict[str, dict[tuple[str, str], str]] = {}

    def of(design: str) -> dict[tuple[str, str], str]:
        if design not in made:
            rtl = generated(design, None if design in DESIGNS else ALL[design]()).rtl
            made[design] = find(flat_netlist(rtl, tmp_path_factory.mktemp(design)))
        return made[design]

    return of


@pytest.mark.parametrize("design", ALL)
def test_no_output_depends_on_an_input(design: str, found) -> None:
    assert not found(design), "\n".join(found(design).values())


WIRES = """
module top(input clk, input [1:0] a, input b, input c, output [1:0] y, output z, output same, output r);
  wire [1:0] inside = {a[0] & b, a[1]};
  reg [1:0] memory [0:3];
  reg q;
  always @(posedge clk) begin q <= c; memory[a] <= {c, c}; end
  assign y = inside;
  assign z = memory[{1'b0, b}][0];
  assign same = y[1];
  assign r = q;
endmodule
"""


def test_paths_are_found_and_named(tmp_path: Path) -> None:
    """Through gates, bit by bit, and through a memory that is read within a clock; not through registers."""
    (tmp_path / "rtl").mkdir()
    (tmp_path / "rtl" / "top.v").write_text(WIRES)
    paths = find(flat_netlist(tmp_path / "rtl", tmp_path))
    assert set(paths) == {("a", "y"), ("b", "y"), ("b", "z"), ("a", "same"), ("b", "same")}
    assert paths["b", "y"] == "b -AND-> y[1]"
    assert paths["b", "z"] == "b -mem_v2-> z"
