"""``python -m firstspike.comparison``."""

import sys

from firstspike.comparison.command import app
from firstspike.errors import FirstspikeError

try:
    app()
except FirstspikeError as error:
    print(f"error: {error.one_line()}", file=sys.stderr)
    raise SystemExit(2) from None
