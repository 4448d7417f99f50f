"""The surrogate: a torch network that trains without a loop over time and evaluates in exact integers."""

from firstspike.training.activation import TTFS
from firstspike.training.inference import Inference, IntegerNetwork
from firstspike.training.layers import Folded
from firstspike.training.surrogate import Surrogate

__all__ = ["TTFS", "Folded", "Inference", "IntegerNetwork", "Surrogate"]
