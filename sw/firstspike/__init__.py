"""firstspike: deep spiking networks with time-to-first-spike coding, from PyTorch to an FPGA, bit-exactly."""

from firstspike.errors import FirstspikeError
from firstspike.model import Layer, Network, Population

__version__ = "0.1.0"
__all__ = ["FirstspikeError", "Layer", "Network", "Population", "__version__"]
