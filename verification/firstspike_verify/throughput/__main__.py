"""``python -m firstspike_verify.throughput EXPERIMENT...``."""

import sys

from firstspike import program
from firstspike_verify.throughput.measure import main

if __name__ == "__main__":
    program.run(lambda: main(sys.argv[1:]))
