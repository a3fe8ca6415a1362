"""The file, its clock and how it is opened."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from simscope_server.ledger import database
from simscope_server.ledger.database import Clock


def test_both_clocks_tick_together_and_a_step_of_the_wall_clock_stops_no_uptime(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    wall, up = 1_700_000_000_000_600_000, 5_000_999_999
    monkeypatch.setattr(database, "time", SimpleNamespace(time_ns=lambda: wall, monotonic_ns=lambda: up))
    clock = Clock(1000)
    moments = []
    for _ in range(40):
        moments.append(clock.moment())
        wall, up = wall + 130_000, up + 130_000

    wall -= 3_600_000_000_000
    after = clock.moment()

    assert len({moment.now - moment.tick for moment in moments}) == 1
    assert moments[-1].tick - moments[0].tick == 5
    assert abs(moments[0].tick - 1000) <= 1
    assert after.now < moments[0].now
    assert moments[-1].tick <= after.tick <= moments[-1].tick + 1
