"""What tests of several rooms share: daemons, stories, browsers, trackers, wires."""

import pytest

pytest.register_assert_rewrite(*(f"support.{name}" for name in ("browsing", "daemons", "stories", "trackers")))
