"""``python -m firstspike.comparison``."""

from firstspike import program


def main() -> None:
    """Load what the table needs, in surroundings that are set."""
    from firstspike.comparison.command import app

    program.command(app)


if __name__ == "__main__":
    program.run(main)
