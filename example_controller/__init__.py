"""A host application in small: who may run what, told to ws-subprocess over HTTP. Copy from it what you need.

It speaks only the contract of PROTOCOL.md, "The controller", and never imports `ws_subprocess`. Read in this order:

    programs.py    what each user may run, and the grant that says so
    database.py    users, login sessions, single-use tokens
    signing.py     a signature for the daemon, if you want one
    app.py         the routes: three for the terminal, the rest for people
    guard.py       what every request must pass and every answer carries
    pages.py       HTML
    __main__.py    the command line; demo.py starts the daemon beside it
"""
