"""SQL lives in `.sql` files, one named statement each, loaded as package data.

A statement is bytes because it is never composed: what varies is a parameter.
"""

from functools import cache
from importlib import resources


@cache
def statement(package: str, name: str) -> bytes:
    """Return the statement in `<package>/sql/<name>.sql`; raises FileNotFoundError for a name that is none."""
    return resources.files(package).joinpath("sql", f"{name}.sql").read_bytes()
