"""``python -m firstspike.comparison``."""

from firstspike import program
from firstspike.comparison.command import app

if __name__ == "__main__":
    program.run(app)
