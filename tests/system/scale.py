"""How much is done of what is done many times: WS_SUBPROCESS_TEST_SCALE, 1 by default.

At 1 all system tests take about three minutes on two idle cores.
"""

import os

SCALE = float(os.environ.get("WS_SUBPROCESS_TEST_SCALE", "1"))


def scaled(count: int) -> int:
    """Return `count` times the scale, at least one."""
    return max(1, round(count * SCALE))
