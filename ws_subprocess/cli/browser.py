"""Opens the page in a browser, with the token in a file: a command line can be read by every user of the machine."""

import html
import threading
import webbrowser
from pathlib import Path

import click


def open_in_browser(address: str, folder: str) -> None:
    """Start a browser with a file in `folder` that leads to `address`; returns at once.

    Args:
        folder: Readable by this user alone; must live as long as the browser may still be starting.
    """
    page = Path(folder) / "open.html"
    target = html.escape(address)
    page.write_text(f'<meta http-equiv="refresh" content="0; url={target}"><a href="{target}">{target}</a>\n')
    # A browser in the terminal runs until it is left: nobody must wait for it.
    threading.Thread(target=_open, args=(page.as_uri(),), name="browser", daemon=True).start()


def _open(uri: str) -> None:
    if not webbrowser.open(uri):
        click.echo("ws-subprocess: no browser found; open the address yourself", err=True)
