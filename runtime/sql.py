"""SQL lives in `.sql` files, one named statement each, loaded as package data."""

from functools import cache
from importlib import resources


@cache
def statement(package: str, name: str) -> bytes:
    """Return the statement, as bytes since it is never composed, in `<package>/sql/<name>.sql`; raises FileNotFoundError for a name that is none."""
    return resources.files(package).joinpath("sql", f"{name}.sql").read_text("utf-8").encode()
