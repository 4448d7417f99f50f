"""What a core does for its images, counted one by one: a spike, a membrane, a slice, a comparison at a time."""

from __future__ import annotations

from collections import Counter

from firstspike.contract.hardware import Hardware
from firstspike.contract.layer_shape import LayerShape
from firstspike.energy.operations import Operations
from firstspike.network import golden, naive
from firstspike.network.model import Network

#: Number of times, by layer and what is done.
Tally = Counter[tuple[int, str]]


def tally(network: Network, hardware: Hardware, result: golden.Result) -> tuple[dict[str, list[int]], Tally]:
    """What the core's counters would read, and what it did."""
    layers = range(len(network.layers))
    done: Tally = Counter()
    reached = [_reached(network, hardware, n) for n in layers]
    for image in range(len(result)):
        for n in layers:
            for neuron, code in enumerate(result.spike_times[n][image].tolist()):
                if code < network.populations[n].codes:
                    done[n, "spikes"] += 1
                    _add(done, n, reached[n][neuron], hardware.layers[n])
            _scan(done, network, hardware, n)
    counters = {"images": [len(result)], "faults": [0], "clocks": [0]}
    counters |= {name: [done[n, name] for n in layers] for name in ("spikes", "active")}
    return counters, done


def tally_ann(network: Network, hardware: Hardware, result: golden.Result | None = None) -> Tally:
    """What an 8-bit ANN does for an image; or for those of ``result``, if it skips where there was no spike."""
    done: Tally = Counter()
    for n, layer in enumerate(hardware.layers):
        reached = _reached(network, hardware, n)
        for image in range(1 if result is None else len(result)):
            done[n, "activation writes"] += network.sizes[n]
            for neuron in range(network.sizes[n]):
                if result is None or result.spike_times[n][image][neuron] < network.populations[n].codes:
                    done[n, "macs"] += len(reached[neuron])
                    rows = {(channel // layer.lanes, place) for channel, place in reached[neuron]}
                    done[n, "activation reads"] += len(rows)
    done[len(hardware.layers), "activation writes"] = network.sizes[-1] * (1 if result is None else len(result))
    return done


def seen(operations: Operations, hardware: Hardware) -> Tally:
    """The same of what was computed from counters."""
    done: Tally = Counter()
    for n in range(len(hardware.layers)):
        done[n, "synaptic operations"] = operations.synaptic_operations[n]
        done[n, "idle additions"] = operations.idle_additions[n]
    for access in operations.accesses:
        if access.layer is not None:
            done[access.layer, f"{access.part}: {access.memory} reads"] += access.reads
            done[access.layer, f"{access.part}: {access.memory} writes"] += access.writes
    for work in operations.arithmetic:
        assert work.layer is not None
        done[work.layer, f"{work.part}: {work.kind}"] += work.count
    return done


def expected(done: Tally) -> Tally:
    """Without what is a counter, not an operation."""
    return Counter({(n, name): number for (n, name), number in done.items() if name not in ("spikes", "active")})


def _reached(network: Network, hardware: Hardware, n: int) -> list[list[tuple[int, tuple[int, ...]]]]:
    """For each neuron before a layer the (channel, place) of every membrane in use that it has a synapse to."""
    out: list[list[tuple[int, tuple[int, ...]]]] = [[] for _ in range(network.sizes[n])]
    for neuron in range(network.sizes[n + 1]):
        for channel, *place in naive._window(network, n, neuron):
            for before, _ in naive._synapses(network, n, (channel, *place)):
                out[before].append((channel, tuple(place)))
    return out


def _add(done: Tally, n: int, membranes: list[tuple[int, tuple[int, ...]]], layer: LayerShape) -> None:
    for row in {(channel // layer.lanes, place) for channel, place in membranes}:
        done[n, "active"] += 1
        done[n, "weights: weight reads"] += 1
        done[n, "tables: kernel reads"] += 1
        done[n, "membranes: membranes reads"] += 1
        done[n, "membranes: membranes writes"] += 1
        for lane in range(layer.lanes):
            done[n, f"arithmetic: {layer.product}"] += 1
            done[n, "arithmetic: add"] += 1
            used = (row[0] * layer.lanes + lane, row[1]) in membranes
            done[n, "synaptic operations" if used else "idle additions"] += 1


def _scan(done: Tally, network: Network, hardware: Hardware, n: int) -> None:
    layer, last = hardware.layers[n], n == len(hardware.layers) - 1
    threshold = network.populations[n + 1].threshold
    searches = not last and layer.fire == "search"
    _, rows, columns = (*network.populations[n + 1].shape, 1, 1)[:3]
    read = set()
    for _ in range(network.steps if threshold and not searches else 1):
        for first in range(0, layer.channels, layer.lanes):
            for window in range(rows * columns):
                for begin in range(first, min(first + layer.lanes, layer.channels), layer.fire_lanes):
                    for member in range(layer.pool**2):
                        done[n, "scan: membranes reads"] += 1
                        done[n, "scan: bias reads"] += 1
                        read.add((first, window, member))
                        done[n, "scan: add"] += layer.fire_lanes
                        done[n, "scan: compare"] += layer.fire_lanes if layer.pool > 1 else 0
                    del begin
                    _test(done, network, n, searches=searches, last=last, lanes=layer.fire_lanes)
        if last and threshold:
            done[n, "scan: threshold reads"] += 1
            done[n, "scan: compare"] += 1
    done[n, "scan: membranes writes"] += 0 if layer.shallow else len(read)


def _test(done: Tally, network: Network, n: int, *, searches: bool, last: bool, lanes: int) -> None:
    """A slice of neurons."""
    if searches:
        values = 1  # the steps that may still be it: 0..T
        while values < network.steps + 1:
            values *= 2
            done[n, "scan: threshold reads"] += lanes
            done[n, "scan: compare"] += lanes
        return
    done[n, "scan: compare"] += lanes
    if not last:
        for name in ("threshold reads", "fired reads", "fired writes"):
            done[n, f"scan: {name}"] += 1
