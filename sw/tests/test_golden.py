"""The golden model against the definition, with ``==``."""

from __future__ import annotations

from firstspike import golden, naive
from hypothesis import given, settings
from hypothesis import strategies as st
from networks import images_for, networks


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_golden_is_the_definition(data: st.DataObject) -> None:
    network = data.draw(networks())
    images = data.draw(images_for(network))
    assert golden.run(network, images) == naive.run(network, images)
