"""Tables in README.md and PROTOCOL.md that are made from the code; `python tests/documents.py` writes them anew."""

import re
from pathlib import Path

from ws_subprocess.config.kinds import Switch
from ws_subprocess.config.settings import SETTINGS, Setting
from ws_subprocess.errors import FAULTS, REASONS
from ws_subprocess.telemetry import Metrics

ROOT = Path(__file__).parent.parent


def settings_table() -> str:
    """Return a row for each setting."""
    rows = [
        f"| `{setting.key}` | {_flag(setting)} | {_default(setting)} | {setting.kind.accepts} | {setting.meaning} |"
        for setting in SETTINGS.values()
    ]
    return "\n".join(["| key | flag | default | accepts | meaning |", "| --- | --- | --- | --- | --- |", *rows])


def errors_table() -> str:
    """Return a row for each error code."""
    rows = [f"| `{code}` | {fault.status} | {fault.close_code} | {fault.title} |" for code, fault in FAULTS.items()]
    return "\n".join(["| `code` | status | close | title |", "| --- | --- | --- | --- |", *rows])


def reasons_table() -> str:
    """Return a row for each finer reason of the audit."""
    return "\n".join(
        ["| `reason` | meaning |", "| --- | --- |", *(f"| `{key}` | {text} |" for key, text in REASONS.items())]
    )


def metrics_table() -> str:
    """Return a row for each metric."""
    rows = [
        f"| `{family.name}{'_total' if family.type == 'counter' else ''}` | {family.type} | {family.documentation} |"
        for family in Metrics().registry.collect()
    ]
    return "\n".join(["| metric | type | what |", "| --- | --- | --- |", *rows])


TABLES = {
    "settings": ("README.md", settings_table),
    "errors": ("PROTOCOL.md", errors_table),
    "reasons": ("PROTOCOL.md", reasons_table),
    "metrics": ("PROTOCOL.md", metrics_table),
}


def read_table(document: str, name: str) -> str:
    """Return what stands between `<!-- NAME:begin ... -->` and `<!-- NAME:end -->` in the text `document`."""
    return _find(document, name)[2]


def put_table(document: str, name: str, table: str) -> str:
    """Return `document` with `table` between the marks."""
    found = _find(document, name)
    return f"{document[: found.start(2)]}{table}\n{document[found.end(2) :]}"


def _find(document: str, name: str) -> re.Match[str]:
    found = re.search(rf"(<!-- {name}:begin[^\n]*-->\n)(.*?)(<!-- {name}:end -->)", document, re.DOTALL)
    if found is None:
        raise LookupError(f"the document has no marks <!-- {name}:begin --> and <!-- {name}:end -->")
    return found


def _flag(setting: Setting) -> str:
    if isinstance(setting.kind, Switch):
        return f"`{setting.flag}`, `--no-{setting.flag.removeprefix('--')}`"
    return f"`{setting.flag}`"


def _default(setting: Setting) -> str:
    shown = setting.kind.show(setting.default)
    return f"`{shown}`" if shown else "none"


def main() -> None:
    """Write every table into its document."""
    for name, (file, make) in TABLES.items():
        path = ROOT / file
        path.write_text(put_table(path.read_text(), name, make()))


if __name__ == "__main__":
    main()
