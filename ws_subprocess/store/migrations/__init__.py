"""How a database of an older daemon becomes one of this: alembic's scripts, oldest first in `versions`."""
