"""The surrogate: a torch network that trains without a loop over time and evaluates in exact integers."""

from firstspike.nn.activation import TTFS
from firstspike.nn.inference import Inference, IntegerNetwork
from firstspike.nn.layers import Folded
from firstspike.nn.surrogate import Surrogate

__all__ = ["TTFS", "Folded", "Inference", "IntegerNetwork", "Surrogate"]
