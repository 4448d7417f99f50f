"""``python -m firstspike_verify.throughput EXPERIMENT...``."""

import sys

from firstspike import program


def main() -> None:
    """Load what the bench needs, in surroundings that are set."""
    from firstspike_verify.throughput import measure

    measure.main(sys.argv[1:])


if __name__ == "__main__":
    program.run(main)
