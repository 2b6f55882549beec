"""A clock that jumps and a link that does as it is told, for the loops."""

from __future__ import annotations

import pytest

from tests.daemon.fake_clock import FakeClock
from tests.daemon.scripted import ScriptedLink


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def link(clock: FakeClock) -> ScriptedLink:
    return ScriptedLink(clock)
