"""The base of all components, as a type checker should see it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from amaranth.lib import wiring

if TYPE_CHECKING:

    class Component(wiring.Component[Any]):
        """Ports are made at run time from the signature: each is an attribute that may be of any type."""

        def __getattr__(self, name: str) -> Any: ...
else:
    Component = wiring.Component
