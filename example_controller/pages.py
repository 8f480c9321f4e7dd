"""HTML, by templates of the standard library.

Law: a value that is not `Html` already is escaped, always. So a template needs no care but quotes around attributes.
"""

from collections.abc import Iterable
from html import escape
from string import Template

from example_controller.programs import DEMO_USERS, Program


class Html(str):
    """Text that is markup and must not be escaped again. Only `fill` and `join` make it."""

    __slots__ = ()


def fill(template: Template, **values: str) -> Html:
    """Put each value where its `$name` stands, escaped unless it is `Html`."""
    safe = {name: value if isinstance(value, Html) else escape(value) for name, value in values.items()}
    return Html(template.substitute(safe))


def join(parts: Iterable[Html]) -> Html:
    """Put pieces of markup after one another."""
    return Html("".join(parts))


NOTHING = Html()

_LAYOUT = Template("""\
<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>$title</title>
<link rel="icon" href="/assets/icon.svg">
<link rel="stylesheet" href="/assets/style.css">
$head</head>
<body class="$kind">
<header>
<a class="home" href="/"><img src="/assets/icon.svg" alt="" width="28" height="28">Example controller</a>$account
</header>
<main>
$main</main>
</body>
</html>
""")

_ACCOUNT = Template("""
<form method="post" action="/logout">
<span>Logged in as <b>$name</b></span><button class="quiet">Log out</button>
</form>\
""")

_ALERT = Template('<p class="alert" role="alert">$text</p>\n')

_LOGIN = Template("""\
<h1>Log in</h1>
<p>Who you are decides which programs you may run.</p>
$alert<form class="panel" method="post" action="/login">
<label for="name">Name</label>
<input id="name" name="name" value="$name" autocomplete="username" autocapitalize="none" spellcheck="false" required>
<label for="password">Password</label>
<input id="password" name="password" type="password" autocomplete="current-password" required>
<button>Log in</button>
</form>
<section class="panel note" aria-labelledby="users">
<h2 id="users">Two users to try</h2>
<p>This is a demo: its passwords are no secret.</p>
<dl>
$users</dl>
</section>
""")

_USER = Template("<dt><code>$name</code>, password <code>$password</code></dt><dd>$description</dd>\n")

_PROGRAMS = Template("""\
<h1>$heading</h1>
<p>$introduction</p>
<ul class="cards">
$cards</ul>
""")

_CARD = Template("""\
<li><form method="post" action="/programs/$id"><button class="card">\
<span class="prompt" aria-hidden="true">&gt;_</span><strong>$name</strong><span>$description</span></button></form></li>
""")

_TERMINAL_SCRIPT = Template('<script type="module" src="$daemon/static/ws-terminal.js"></script>\n')

_TERMINAL = Template("""\
<h1>$name</h1>
<ws-terminal src="$daemon" token="$token" token-url="/programs/$id/token" autofocus></ws-terminal>
<p class="alert late">The terminal comes from $daemon, and nothing has come from there. Does the daemon run? \
Is JavaScript on?</p>
""")

_ERROR = Template("""\
<h1>That did not work</h1>
<p class="alert" role="alert">$text</p>
<p><a href="/">Back to the programs</a></p>
""")


def login_page(alert: str = "", name: str = "") -> Html:
    """Return the form, with what went wrong and the name that was typed, if any."""
    users = join(
        fill(_USER, name=user.name, password=user.password, description=user.description) for user in DEMO_USERS
    )
    shown_alert = fill(_ALERT, text=alert) if alert else NOTHING
    return _page("Log in", "narrow", fill(_LOGIN, alert=shown_alert, name=name, users=users))


def programs_page(user_name: str | None, programs: Iterable[Program]) -> Html:
    """Return one button for each program."""
    cards = join(fill(_CARD, id=each.id, name=each.name, description=each.description) for each in programs)
    main = fill(
        _PROGRAMS,
        heading="Programs" if user_name else "One program",
        introduction="A click starts it in a terminal of its own, on this machine.",
        cards=cards or fill(_ALERT, text="None of your programs is installed on this machine."),
    )
    return _page("Programs", "wide", main, account=_account(user_name))


def terminal_page(user_name: str | None, program: Program, daemon: str, token: str) -> Html:
    """Return the page with the terminal: the one thing a host application must render itself."""
    main = fill(_TERMINAL, name=program.name, id=program.id, daemon=daemon, token=token)
    head = fill(_TERMINAL_SCRIPT, daemon=daemon)
    return _page(program.name, "full", main, account=_account(user_name), head=head)


def error_page(text: str) -> Html:
    """Return what went wrong, in words, and the way back."""
    return _page("That did not work", "narrow", fill(_ERROR, text=text))


def _account(user_name: str | None) -> Html:
    return fill(_ACCOUNT, name=user_name) if user_name else NOTHING


def _page(title: str, kind: str, main: Html, account: Html = NOTHING, head: Html = NOTHING) -> Html:
    return fill(_LAYOUT, title=title, kind=kind, main=main, account=account, head=head)
