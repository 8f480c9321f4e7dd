"""Makes the tables from the samples: what was measured, and how the daemon stands to floors, peers and goals. Pure."""

from collections.abc import Mapping, Sequence

from benchmarks.figures import DAEMON, FIGURES, FLOOR, Figure, Goal, Samples

NOTHING = "–"


def markdown(samples: Samples, systems: Sequence[str], missing: Mapping[str, str]) -> str:
    """Build both tables, a row for each figure that was measured. `missing`: why a system was not, by its name."""
    return "\n\n".join((_values_table(samples, systems, missing), _ratios_table(samples, systems, missing)))


def missed_goals(samples: Samples) -> list[str]:
    """Name every goal that the daemon did not reach, with its value and the limit."""
    return [
        f"{figure.title}: {_number(value)} {figure.unit}, goal {_goal_text(figure)}"
        for figure in FIGURES.values()
        if (value := samples.summary(figure.key, DAEMON)) is not None and _is_reached(figure, samples, value) is False
    ]


def _values_table(samples: Samples, systems: Sequence[str], missing: Mapping[str, str]) -> str:
    columns = [*_floor(samples), *systems]
    rows = []
    for figure in _measured(samples):
        cells = [missing.get(name) or _cell(samples.of(figure.key, name), figure) for name in columns]
        rows.append([f"{figure.title}, {figure.unit}", *cells])
    return _table(["median (min..max)", *columns], rows)


def _ratios_table(samples: Samples, systems: Sequence[str], missing: Mapping[str, str]) -> str:
    others = [*_floor(samples), *(name for name in systems if name != DAEMON)]
    rows = []
    for figure in _measured(samples):
        own = samples.summary(figure.key, DAEMON)
        ratios = [missing.get(name) or _ratio(own, samples.summary(figure.key, name)) for name in others]
        better = "more" if figure.more_is_better else "less"
        rows.append([figure.title, better, *ratios, _verdict(figure, samples, own)])
    return _table([f"{DAEMON} divided by", "better is", *others, "goal"], rows)


def _floor(samples: Samples) -> list[str]:
    """Return the floor's column, where anything has a floor."""
    return [FLOOR] if any(FLOOR in by_system for by_system in samples.values.values()) else []


def _measured(samples: Samples) -> list[Figure]:
    return [figure for figure in FIGURES.values() if figure.key in samples.values]


def _cell(values: Sequence[float], figure: Figure) -> str:
    if not values:
        return NOTHING
    return f"{_number(figure.summary(values))} ({_number(min(values))}..{_number(max(values))})"


def _ratio(own: float | None, other: float | None) -> str:
    return NOTHING if own is None or not other else f"{own / other:.2f}x"


def _verdict(figure: Figure, samples: Samples, own: float | None) -> str:
    if figure.goal is None:
        return NOTHING
    reached = None if own is None else _is_reached(figure, samples, own)
    word = {None: "not measured", True: "reached", False: "**missed**"}[reached]
    return f"{_goal_text(figure)}: {word}"


def _is_reached(figure: Figure, samples: Samples, own: float) -> bool | None:
    """Compare with the goal; None when there is none, or nobody to compare with."""
    if figure.goal is None:
        return None
    limit = _limit(figure.goal, figure.key, samples)
    if limit is None:
        return None
    return own >= limit if figure.more_is_better else own <= limit


def _limit(goal: Goal, key: str, samples: Samples) -> float | None:
    if goal.of is None:
        return goal.limit
    other = samples.summary(key, goal.of)
    return None if other is None else goal.limit * other


def _goal_text(figure: Figure) -> str:
    assert figure.goal is not None
    sign = "≥" if figure.more_is_better else "≤"
    unit = f" {figure.unit}" if figure.goal.of is None else f"x {figure.goal.of}"
    return f"{sign} {figure.goal.limit:g}{unit}"


def _number(value: float) -> str:
    """Three significant digits: the machine's noise allows no more."""
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:.3g}"


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)
