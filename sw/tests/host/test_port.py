"""The serial port as the operating system sees it."""

from __future__ import annotations

import os
import termios
from pathlib import Path

import pytest

from firstspike.host.link import LinkError
from firstspike.host.port import open_port


@pytest.mark.smoke
def test_rate() -> None:
    """The one that is asked for, in both directions; 115,200 bits a second without a wish."""
    master, slave = os.openpty()
    try:
        for wish, speed in (((), termios.B115200), ((460_800,), termios.B460800)):
            port = open_port(os.ttyname(slave), *wish)
            try:
                assert termios.tcgetattr(slave)[4:6] == [speed, speed]
            finally:
                port.close()
    finally:
        os.close(master)
        os.close(slave)


@pytest.mark.smoke
def test_a_port_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(LinkError, match="No such file or directory") as caught:
        open_port(str(tmp_path / "ttyUSB9"))
    assert "\n" not in caught.value.one_line()
