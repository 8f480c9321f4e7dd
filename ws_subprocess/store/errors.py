"""What can go wrong with a database that could be opened. Here, because who catches it need not wait for SQLAlchemy."""


class StoreError(Exception):
    """Something could not be read or written now; `is_full` when there is no space."""

    def __init__(self, detail: str, is_full: bool = False) -> None:
        self.is_full = is_full
        super().__init__(detail)


class TakenError(Exception):
    """A row with the same unique value is there."""
