"""``python -m firstspike_verify.throughput EXPERIMENT...``."""

import sys

from firstspike.errors import FirstspikeError
from firstspike_verify.throughput.measure import main

if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except FirstspikeError as error:
        sys.exit(f"error: {error.one_line()}")
