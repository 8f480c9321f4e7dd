"""How long certificates hold."""

import time
from datetime import UTC, datetime

from ws_subprocess.cli.checks.finding import Finding, ok, problem, warning

DAY_S = 86_400
SOON_DAYS = 14


def judge_expiry(check: str, what: str, expires_at: float) -> Finding:
    """Return what is to be said of a certificate that holds until `expires_at` (Unix time)."""
    left_days = (expires_at - time.time()) / DAY_S
    date = datetime.fromtimestamp(expires_at, UTC).strftime("%Y-%m-%d")
    if left_days <= 0:
        return problem(check, f"{what}: certificate expired on {date}", "renew it")
    if left_days < SOON_DAYS:
        return warning(check, f"{what}: certificate expires on {date}, in {left_days:.0f} days", "renew it")
    return ok(check, f"{what}: certificate holds until {date}, {left_days:.0f} days")
