"""The AXI interfaces of the core, as AMD's tools know them: by the names of ports, and by attributes of each port.

The attributes are those of UG994, "List of Supported X_ Attributes" and "Inferring Control Signals in a RTL Module".
"""

from __future__ import annotations

from collections.abc import Iterable

#: Ends of the names by which the packager knows an interface (UG1118, "Inferring AXI Signals").
LITE, STREAM = "_awvalid", "_tvalid"
CLOCK, RESET = "aclk", "aresetn"


def interfaces(ports: Iterable[str], end: str) -> list[str]:
    """Names of the AXI interfaces among the ports that have a signal with this end (:data:`LITE`, :data:`STREAM`)."""
    return [name.removesuffix(end) for name in ports if name.endswith(end)]


def attributes(ports: Iterable[str]) -> dict[str, dict[str, str]]:
    """Attributes of each of the core's ports: with them a block design takes the Verilog without a packager."""
    ports = list(ports)
    kinds = dict.fromkeys(interfaces(ports, LITE), "aximm") | dict.fromkeys(interfaces(ports, STREAM), "axis")
    busses = ":".join(kinds)
    found = {
        CLOCK: {
            "X_INTERFACE_INFO": f"xilinx.com:signal:clock:1.0 {CLOCK} CLK",
            "X_INTERFACE_PARAMETER": f"XIL_INTERFACENAME {CLOCK}, ASSOCIATED_BUSIF {busses}, ASSOCIATED_RESET {RESET}",
        },
        RESET: {
            "X_INTERFACE_INFO": f"xilinx.com:signal:reset:1.0 {RESET} RST",
            "X_INTERFACE_PARAMETER": f"XIL_INTERFACENAME {RESET}, POLARITY ACTIVE_LOW",
        },
    }
    for port in ports:
        interface, _, signal = port.rpartition("_")
        if interface in kinds:
            info = f"xilinx.com:interface:{kinds[interface]}:1.0 {interface} {signal.upper()}"
            found[port] = {"X_INTERFACE_INFO": info}
    return found
