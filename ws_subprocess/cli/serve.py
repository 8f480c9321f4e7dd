"""`ws-subprocess serve`: the daemon that starts what a client's token lets it run."""

import sys
from typing import Any

import click

from ws_subprocess.cli.flags import (
    CONTEXT_SETTINGS,
    STATE_ERROR,
    config_option,
    exit_with,
    given_flags,
    setting_options,
)
from ws_subprocess.config.load import load
from ws_subprocess.config.problems import ConfigError, Problem


@click.command(context_settings=CONTEXT_SETTINGS, params=[config_option(), *setting_options()])
def serve(config_path: str | None, **flags: Any) -> None:
    """Serve terminals: each client's token says what may run, or the controller is asked.

    Prints one line `ready ADDRESS ...` on stdout when it can be reached; everything else goes to the log on stderr.
    SIGTERM or SIGINT drains, a second one ends all sessions at once.
    """
    try:
        loaded = load(given_flags(flags), config_path)
    except ConfigError as exc:
        exit_with(exc.problems)

    # Not at the top: `--help` must not wait for the server's packages.
    from ws_subprocess.app import create_app
    from ws_subprocess.cli.daemon import prepare, say, serve_app
    from ws_subprocess.store.used_tokens import StateError

    child_nofile = prepare(loaded.settings, loaded.warnings)
    try:
        app = create_app(loaded.settings, owns_process=True, child_nofile=child_nofile)
    except ConfigError as exc:
        exit_with(exc.problems)
    except StateError as exc:
        exit_with([Problem("state_dir", "state_unusable", str(exc))], STATE_ERROR)
    sys.exit(serve_app(app, loaded.settings, lambda urls: say(" ".join(["ready", *urls]))))
