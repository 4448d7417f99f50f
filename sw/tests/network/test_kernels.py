"""Kernels against published values, closed forms and exact arithmetic."""

from __future__ import annotations

import math
from dataclasses import replace
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from networks import kernel_specs

from firstspike.errors import FirstspikeError
from firstspike.network import kernels

#: The kernels that the authors' release holds for VGG-16 on CIFAR-10 (start tau 20, T 80): tau, t_d, and what follows,
#: the largest value exp(t_d/tau) and the least, exp(-(T - t_d)/tau), to the printed digits.
T2FSNN = {
    "in": (25.492895, 0.0, 1.000, 0.0434),
    "conv1": (19.455557, -2.0043764, 0.902, 0.0148),
    "conv1_1": (19.904726, -1.7328169, 0.917, 0.0165),
    "conv2": (19.588089, -2.0950897, 0.899, 0.0151),
    "conv2_1": (19.378021, -1.5212977, 0.924, 0.0149),
    "conv3": (19.330545, -2.9436326, 0.859, 0.0137),
    "conv3_1": (19.327015, -2.7657661, 0.867, 0.0138),
    "conv3_2": (19.291615, -2.6294494, 0.873, 0.0138),
    "conv4": (19.285181, -3.4544876, 0.836, 0.0132),
    "conv4_1": (19.287987, -4.0598626, 0.810, 0.0128),
    "conv4_2": (19.259449, -3.675116, 0.826, 0.0130),
    "conv5": (19.247034, -3.2784688, 0.843, 0.0132),
    "conv5_1": (19.25396, -3.276257, 0.844, 0.0132),
    "conv5_2": (19.225698, -2.3806674, 0.884, 0.0138),
    "fc1": (19.343956, -3.7171903, 0.825, 0.0132),
    "fc2": (19.333632, -4.551571, 0.790, 0.0126),
}


@pytest.mark.smoke
@pytest.mark.parametrize("name", T2FSNN)
def test_the_published_kernels_of_t2fsnn(name: str) -> None:
    tau, delay, largest, least = T2FSNN[name]
    kernel = kernels.Exponential(tau=tau, delay=delay, steps=80, rounding="ceil", kernel_fraction_bits=24)
    assert round(float(kernel.curve(np.array(80.0))), 4) == least
    assert round(float(kernel.threshold()[0]), 3) == largest
    assert round(float(kernel.decode()[0]), 3) == largest
    wrong = replace(kernel, delay=-delay) if delay else replace(kernel, tau=tau + 0.1)
    assert round(float(wrong.curve(np.array(80.0))), 4) != least
    # the table is the curve to half a unit
    assert abs(kernel.decode()[0] - math.exp(delay / tau)) <= kernel.unit / 2
    assert abs(kernel.decode()[79] - math.exp(-(79 - delay) / tau)) <= kernel.unit / 2


def first_step(kernel: kernels.Kernel, value: float) -> int:
    """The definition: the first k with value >= threshold, or T."""
    reached = np.flatnonzero(value >= kernel.threshold())
    return int(reached[0]) if len(reached) else kernel.steps


VALUES = st.floats(1e-4, 4.0)
TAUS = st.floats(0.7, 25.0)
DELAYS = st.floats(-4.0, 4.0)


@given(VALUES, TAUS, DELAYS, st.sampled_from([0.5, 1.0, 2.0]), st.sampled_from(["ceil", "round"]))
def test_the_closed_form_is_the_first_step(
    value: float, tau: float, delay: float, theta0: float, rounding: kernels.Rounding
) -> None:
    """ceil: k = max(0, ceil(-tau ln(V/theta0) + t_d)); round: the same, half a step earlier."""
    kernel = kernels.Exponential(steps=80, tau=tau, delay=delay, theta0=theta0, rounding=rounding)
    real = -tau * math.log(value / theta0) + delay - (0.5 if rounding == "round" else 0)
    if abs(real - round(real)) > 1e-9:  # the logarithm itself is not exact on a step
        assert first_step(kernel, value) == min(80, max(0, math.ceil(real)))


@given(VALUES, TAUS, DELAYS)
def test_ceil_never_decodes_more_than_the_value(value: float, tau: float, delay: float) -> None:
    kernel = kernels.Exponential(steps=80, tau=tau, delay=delay, rounding="ceil")
    k = first_step(kernel, value)
    if k < 80:
        assert kernel.curve(np.array([k], np.float64))[0] <= value


def worst_error(rounding: kernels.Rounding, tau: float) -> float:
    """Largest relative error of the decoded value over the middle of the range."""
    kernel = kernels.Exponential(steps=80, tau=tau, rounding=rounding)
    curve = kernel.curve(np.arange(80.0))
    values = np.exp(np.linspace(math.log(curve[8]), math.log(curve[1]), 4001))
    decoded = curve[[first_step(kernel, float(v)) for v in values]]
    return float(np.max(np.abs(decoded - values) / values))


@pytest.mark.smoke
@pytest.mark.parametrize("tau", [2.0, 8.0, 20.0])
def test_rounding_to_nearest_halves_the_worst_decode_error(tau: float) -> None:
    """Bounds 1 - exp(-1/tau) for ceil and exp(0.5/tau) - 1 for round; both are nearly reached."""
    ceil, nearest = worst_error("ceil", tau), worst_error("round", tau)
    assert 0.99 < ceil / (1 - math.exp(-1 / tau)) < 1 + 1e-12
    assert 0.99 < nearest / (math.exp(0.5 / tau) - 1) < 1 + 1e-12
    assert nearest / ceil < {2.0: 0.73, 8.0: 0.56, 20.0: 0.53}[tau]  # one half in the limit of a slow kernel


@given(st.data())
def test_tables_fall_and_thresholds_are_at_least_one(data: st.DataObject) -> None:
    kernel = data.draw(kernel_specs(data.draw(st.integers(1, 20))))
    table, threshold = kernel.table(), kernel.integer_threshold(data.draw(st.floats(1e-6, 10)))
    assert len(table) == len(threshold) == kernel.steps
    assert list(table) == sorted(table, reverse=True)
    assert list(threshold) == sorted(threshold, reverse=True)
    assert table[-1] >= 0
    assert threshold[-1] >= 1
    assert (kernel.threshold() > 0).all()


@given(st.data(), st.floats(1e-9, 100), st.integers(-3, 3))
def test_integer_thresholds_are_exact(data: st.DataObject, scale: float, offset: int) -> None:
    """V >= TH[k] for an integer V just when V * scale >= threshold, in exact arithmetic; checked at the very edge."""
    kernel = data.draw(kernel_specs(data.draw(st.integers(1, 20))))
    for real, integer in zip(kernel.threshold().tolist(), kernel.integer_threshold(scale), strict=True):
        v = max(1, integer + offset)
        assert (v >= integer) == (v * Fraction(scale) >= Fraction(real))


@pytest.mark.smoke
def test_thresholds_that_division_in_floats_would_miss() -> None:
    """1/scale of a representable scale is not representable: ceil of the float quotient is one too low here."""
    kernel = kernels.Constant(steps=1)
    scale = float(np.nextafter(1 / 3, 0))  # below a third: 3 of it are less than 1
    assert math.ceil(1.0 / scale) == 4
    low = float(np.nextafter(0.1, 0))  # 10 of it are less than 1, though 1/low rounds to 10
    assert math.ceil(1.0 / low) in (10, 11)
    assert kernel.integer_threshold(scale) == (4,)
    assert kernel.integer_threshold(low) == (11,)


@pytest.mark.smoke
@pytest.mark.parametrize(
    ("kernel", "table"),
    [
        (kernels.PowerOfTwo(steps=8), (128, 64, 32, 16, 8, 4, 2, 1)),
        (kernels.PowerOfTwo(steps=5, steps_per_octave=2), (4, 3, 2, 1, 1)),
        (kernels.Linear(steps=4), (4, 3, 2, 1)),
        (kernels.Constant(steps=3), (1, 1, 1)),
        (kernels.Exponential(steps=4, tau=2.0, kernel_fraction_bits=4), (16, 10, 6, 4)),
        (kernels.Exponential(steps=3, tau=1.0, delay=1.0, kernel_fraction_bits=8), (696, 256, 94)),
    ],
    ids=repr,
)
def test_tables_by_hand(kernel: kernels.Kernel, table: tuple[int, ...]) -> None:
    assert kernel.table() == table
    assert kernel.decode().tolist() == [k * kernel.unit for k in table]


@pytest.mark.smoke
def test_one_step_an_octave_is_exact() -> None:
    kernel = kernels.PowerOfTwo(steps=25)
    assert kernel.table() == tuple(2 ** (24 - k) for k in range(25))
    assert kernel.decode().tolist() == [2.0**-k for k in range(25)]


@given(st.data())
def test_the_encoder_is_the_first_step_of_the_pixel(data: st.DataObject) -> None:
    kernel = data.draw(kernel_specs(data.draw(st.integers(1, 9))))
    encoder = kernel.encoder()
    assert len(encoder) == 256
    assert encoder[0] == kernel.steps
    assert list(encoder) == [kernel.steps, *(first_step(kernel, p / 255) for p in range(1, 256))]
    assert list(encoder[1:]) == sorted(encoder[1:], reverse=True)


@pytest.mark.smoke
def test_direct_input_is_the_pixel_itself() -> None:
    kernel = kernels.Direct()
    table = kernel.table()
    assert kernel.encoder()[0] == len(table) == 255
    assert [table[code] for code in kernel.encoder()[1:]] == list(range(1, 256))
    assert kernel.simultaneous
    assert not kernels.Linear(steps=255).simultaneous


@given(st.data())
def test_specs_go_there_and_back(data: st.DataObject) -> None:
    kernel = data.draw(st.one_of(kernel_specs(data.draw(st.integers(1, 9))), st.just(kernels.Direct())))
    spec = kernels.to_spec(kernel)
    assert spec["kind"] == kernel.kind
    assert kernels.from_spec(spec) == kernel


@pytest.mark.smoke
@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ({"kind": "gaussian", "steps": 8}, "unknown kernel 'gaussian'"),
        ({"steps": 8}, "unknown kernel None"),
        ({"kind": ["linear"], "steps": 8}, r"unknown kernel \['linear'\]"),
        ({"kind": "linear", "steps": 8, "tau": 2.0}, "kernel 'linear' has no parameter 'tau'"),
        ({"kind": "exponential", "steps": 8}, "^kernel 'exponential' lacks 'tau'$"),
        ({"kind": "linear"}, "^kernel 'linear' lacks 'steps'$"),
        ({"kind": "linear", "steps": 0}, "kernel steps is 0, not an integer >= 1"),
        ({"kind": "linear", "steps": 8.0}, "kernel steps is 8.0"),
        ({"kind": "linear", "steps": 8, "theta0": 0.0}, "theta0 is 0.0"),
        ({"kind": "linear", "steps": 8, "theta0": math.nan}, "theta0 is nan"),
        ({"kind": "linear", "steps": 8, "theta0": "high"}, "kernel theta0 is 'high'"),
        ({"kind": "linear", "steps": True}, "kernel steps is true, not"),
        ({"kind": "exponential", "steps": 8, "tau": [2]}, r"kernel tau is \[2\], not > 0"),
        ({"kind": "linear", "steps": 8, "rounding": "floor"}, "rounding is 'floor', not round or ceil"),
        ({"kind": "exponential", "steps": 8, "tau": -1.0}, "tau is -1.0, not > 0"),
        ({"kind": "exponential", "steps": 8, "tau": math.inf}, "tau is inf"),
        ({"kind": "exponential", "steps": 8, "tau": 2.0, "delay": math.nan}, "delay is nan, not finite"),
        ({"kind": "exponential", "steps": 8, "tau": 2.0, "delay": 1e6}, "delay is 1000000.0, not below 16.64 tau"),
        ({"kind": "exponential", "steps": 8, "tau": 2.0, "kernel_fraction_bits": 25}, "not an integer in 0..24"),
        ({"kind": "power_of_two", "steps": 8, "steps_per_octave": 0}, "steps_per_octave is 0"),
        ({"kind": "power_of_two", "steps": 26}, "steps is 26, not at most 25"),
        ({"kind": "direct", "steps": 8}, "steps is 8, not 255"),
    ],
)
def test_a_wrong_spec_is_one_line(spec: dict[str, Any], message: str) -> None:
    with pytest.raises(FirstspikeError, match=message) as error:
        kernels.from_spec(spec)
    assert "\n" not in error.value.one_line()


@pytest.mark.smoke
@pytest.mark.parametrize("scale", [0.0, -1.0, math.nan, math.inf])
def test_a_scale_that_is_no_scale(scale: float) -> None:
    with pytest.raises(FirstspikeError, match="kernel scale is"):
        kernels.Linear(steps=4).integer_threshold(scale)


@given(
    st.integers(1, 1000),
    st.floats(1e-300, 1e300),
    st.floats(-1e300, 1e300),
    st.integers(0, 24),
    st.floats(2.0**-64, 2.0**64),
)
def test_no_kernel_that_is_accepted_overflows(steps: int, tau: float, delay: float, bits: int, theta0: float) -> None:
    try:
        kernel = kernels.Exponential(steps=steps, tau=tau, delay=delay, kernel_fraction_bits=bits, theta0=theta0)
    except FirstspikeError:
        return
    assert 0 <= kernel.table()[-1] <= kernel.table()[0] <= 2**kernels.MAX_KERNEL_BITS
    assert kernel.integer_threshold(1e-3)[-1] >= 1
