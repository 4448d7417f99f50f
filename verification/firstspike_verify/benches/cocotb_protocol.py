"""Bench of the protocol checkers themselves, on bare wires: each rule that is broken is found, and nothing else."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import cocotb
import pytest
from cocotb.clock import Clock
from cocotb.triggers import ClockCycles, RisingEdge

from firstspike_verify.checks.protocol import Checker, LiteChecker, ProtocolError, StreamChecker, watch

Clocks = Sequence[dict[str, int]]

WAIT = {"tvalid": 1, "tready": 0, "tdata": 5, "tkeep": 15, "tlast": 0}
TAKE = WAIT | {"tready": 1}
IDLE = {"tvalid": 0, "tready": 1}

STREAMS: dict[str, tuple[str, Clocks]] = {
    "held": ("", [IDLE, WAIT, WAIT, TAKE, TAKE | {"tdata": 6}, IDLE | {"tdata": 9}, WAIT | {"tlast": 1}]),
    "reset_while_waiting": ("", [TAKE, WAIT, WAIT | {"aresetn": 0}, IDLE | {"aresetn": 0}, IDLE | {"aresetn": 1}]),
    "valid_dropped": ("valid dropped", [WAIT, IDLE]),
    "data_changed": ("payload changed", [WAIT, WAIT | {"tdata": 6}]),
    "data_changed_when_taken": ("payload changed", [WAIT, TAKE | {"tdata": 6}]),
    "keep_changed": ("payload changed", [WAIT, WAIT | {"tkeep": 3}]),
    "last_changed": ("payload changed", [WAIT, WAIT, TAKE | {"tlast": 1}]),
    "valid_in_reset": ("valid in reset", [IDLE | {"aresetn": 0}, WAIT]),
    "nothing": ("no transfer", [IDLE, IDLE]),
}

WRITE = {"awvalid": 1, "awready": 1, "awaddr": 4, "wvalid": 1, "wready": 1, "wdata": 9}
READ = {"arvalid": 1, "arready": 1, "araddr": 8}
QUIET = {f"{channel}valid": 0 for channel in ("aw", "w", "b", "ar", "r")}
BOFFER, ROFFER = QUIET | {"bvalid": 1, "bready": 0}, QUIET | {"rvalid": 1, "rready": 0, "rdata": 3}
BTAKE, RTAKE = BOFFER | {"bready": 1}, ROFFER | {"rready": 1}
ADDRESS, DATA = {k: v for k, v in WRITE.items() if k[0] == "a"}, {k: v for k, v in WRITE.items() if k[0] == "w"}

LITES: dict[str, tuple[str, Clocks]] = {
    "write_and_read": ("", [WRITE, BOFFER, BTAKE, QUIET | READ, ROFFER, RTAKE]),
    "address_before_data": ("", [ADDRESS, QUIET, QUIET | DATA, BTAKE]),
    "data_before_address": ("", [DATA, QUIET, QUIET | ADDRESS, BTAKE]),
    "reset_between": ("", [READ, RTAKE, QUIET | READ, QUIET | {"aresetn": 0}, QUIET | {"aresetn": 1}]),
    "response_without_write": ("response without", [QUIET, BTAKE]),
    "response_in_the_same_clock": ("response without", [WRITE | {"bvalid": 1, "bready": 1}]),
    "response_before_data": ("response without", [ADDRESS, BTAKE]),
    "response_before_address": ("response without", [DATA, BTAKE]),
    "second_response": ("response without", [WRITE, BTAKE, BTAKE]),
    "data_without_read": ("response without", [WRITE, BTAKE, RTAKE]),
    "second_data": ("response without", [READ, RTAKE, RTAKE]),
    "bvalid_dropped": ("valid dropped", [WRITE, BOFFER, QUIET]),
    "rvalid_dropped": ("valid dropped", [READ, ROFFER, QUIET]),
    "arvalid_dropped": ("valid dropped", [READ | {"arready": 0}, QUIET]),
    "bresp_changed": ("payload changed", [WRITE, BOFFER, BOFFER | {"bresp": 2}]),
    "rdata_changed": ("payload changed", [READ, ROFFER, ROFFER | {"rdata": 4}]),
    "rresp_changed": ("payload changed", [READ, ROFFER, ROFFER | {"rresp": 2}]),
    "wstrb_changed": ("payload changed", [WRITE | {"wready": 0}, DATA | {"wstrb": 1, "awvalid": 0}]),
    "unanswered": ("without a response", [READ, RTAKE, QUIET | READ]),
    "unanswered_address": ("without a response", [READ, RTAKE, QUIET | ADDRESS]),
    "nothing": ("no transfer", [QUIET, QUIET]),
}


async def drive(dut: Any, checker: Checker, clocks: Clocks) -> None:
    """Put each set of values on the wires for one clock; the checker's error, if any, is raised here."""
    edge = RisingEdge(dut.aclk)
    for handle in dut:
        if handle._name.startswith("i_"):
            handle.value = 0
    dut.aresetn.value = 1
    Clock(dut.aclk, 10, unit="ns").start()
    await ClockCycles(dut.aclk, 2)
    found: list[ProtocolError] = []

    async def guarded() -> None:
        try:
            await watch(dut.aclk, dut.aresetn, (checker,))
        except ProtocolError as error:
            found.append(error)

    cocotb.start_soon(guarded())
    for values in clocks:
        for name, value in values.items():
            (dut.aresetn if name == "aresetn" else getattr(dut, f"i_{name}")).value = value
        await edge
    await edge
    for error in found:
        raise error
    checker.finish()


async def expect(dut: Any, checker: Checker, message: str, clocks: Clocks) -> None:
    """Drive, and expect the error with this text, or none."""
    if not message:
        await drive(dut, checker, [*clocks])
        return
    with pytest.raises(ProtocolError, match=message):
        await drive(dut, checker, clocks)


@cocotb.test()
@cocotb.parametrize(case=list(STREAMS))
async def stream(dut: Any, case: str) -> None:
    """AXI4-Stream."""
    await expect(dut, StreamChecker(dut, "o"), *STREAMS[case])


@cocotb.test()
@cocotb.parametrize(case=list(LITES))
async def lite(dut: Any, case: str) -> None:
    """AXI4-Lite."""
    await expect(dut, LiteChecker(dut, "o"), *LITES[case])


@cocotb.test()
async def pause(dut: Any) -> None:
    """A paused checker forgives a channel that is reset by other means, and starts anew."""
    checker = StreamChecker(dut, "o")
    checker.paused = True
    with pytest.raises(ProtocolError, match="no transfer"):
        await drive(dut, checker, [WAIT, IDLE])


@cocotb.test(expect_error=ProtocolError)
async def failing_checker_fails_the_test(dut: Any) -> None:
    """In the background, as in every bench, a broken rule ends the test; nobody has to ask the checker."""
    checker = StreamChecker(dut, "o")
    cocotb.start_soon(watch(dut.aclk, dut.aresetn, (checker,)))
    quiet = StreamChecker(dut, "o")
    quiet.paused = True
    await drive(dut, quiet, [WAIT, IDLE, IDLE])
    await ClockCycles(dut.aclk, 1000)
