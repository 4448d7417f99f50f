"""The one exception that is the user's to mend; everything else is a bug and keeps its traceback."""

from collections.abc import Mapping


def as_written(value: object) -> str:
    """A value as an experiment file has it."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, Mapping):
        return "{ " + ", ".join(f"{key} = {as_written(item)}" for key, item in value.items()) + " }" if value else "{}"
    if isinstance(value, (list, tuple)):
        return f"[{', '.join(map(as_written, value))}]"
    return repr(value) if isinstance(value, str) else str(value)


class FirstspikeError(ValueError):
    """Wrong input: what is wrong, and (``hint``) what to do about it.

    The command line prints both as one line and exits with status 2.
    """

    def __init__(self, message: str, hint: str | None = None) -> None:
        super().__init__(message)
        self.hint = hint

    def one_line(self) -> str:
        """``message; hint`` with a space for every line break."""
        text = str(self) if self.hint is None else f"{self}; {self.hint}"
        return " ".join(line.strip() for line in text.splitlines())
