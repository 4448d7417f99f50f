"""firstspike: deep spiking networks with time-to-first-spike coding, from PyTorch to an FPGA, bit-exactly.

The names of daily use are here; the rooms below hold the rest.
"""

from firstspike.contract import images
from firstspike.contract.hardware import Hardware
from firstspike.errors import FirstspikeError
from firstspike.network import golden, kernels
from firstspike.network.model import Layer, Network, Population

__version__ = "0.1.0"
__all__ = [
    "FirstspikeError",
    "Hardware",
    "Layer",
    "Network",
    "Population",
    "__version__",
    "golden",
    "images",
    "kernels",
]
