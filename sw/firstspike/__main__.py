"""``python -m firstspike``: the command line."""

from firstspike.flow.cli import main

if __name__ == "__main__":
    main()
