"""The surrogate: a torch network that trains without a loop over time and evaluates in exact integers."""

from firstspike.nn.activation import TTFS
from firstspike.nn.inference import Inference
from firstspike.nn.layers import FoldedLinear, Integers
from firstspike.nn.surrogate import Surrogate

__all__ = ["TTFS", "FoldedLinear", "Inference", "Integers", "Surrogate"]
