"""Reads the parameters of a call: text in, typed values out, ApiError for what is missing or malformed."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeVar

from devtools.cloud.errors import invalid, missing, not_exist

Row = TypeVar("Row")

MAX_PAGE_SIZE = 100


@dataclass(frozen=True, kw_only=True)
class Page:
    """One page of a listing; numbers begin at 1."""

    number: int
    size: int

    def cut(self, rows: list[Row]) -> list[Row]:
        """Return the rows of this page."""
        return rows[(self.number - 1) * self.size : self.number * self.size]


@dataclass(frozen=True, kw_only=True)
class Parameters:
    """The query and form fields of one call, and the host it was sent to."""

    values: Mapping[str, str]
    host: str = ""

    def text(self, name: str) -> str | None:
        """Return a parameter, None where it is absent or empty."""
        return self.values.get(name) or None

    def required(self, name: str) -> str:
        """Return a parameter that must be there."""
        value = self.text(name)
        if value is None:
            raise missing(name)
        return value

    def instance(self, known: str) -> None:
        """Refuse a call that names no instance or another one than `known`."""
        value = self.required("InstanceId")
        if value != known:
            raise not_exist("Instance", value)

    def integer(self, name: str) -> int | None:
        """Return a whole number."""
        value = self.text(name)
        if value is None:
            return None
        if re.fullmatch(r"-?\d{1,18}", value) is None:
            raise invalid(name, "a whole number is needed")
        return int(value)

    def boolean(self, name: str) -> bool | None:
        """Return a truth value; the SDK writes True and False."""
        value = self.text(name)
        if value is None:
            return None
        if value.lower() not in {"true", "false"}:
            raise invalid(name, "true or false is needed")
        return value.lower() == "true"

    def listing(self, name: str) -> list[str]:
        """Return `name.1` to `name.N`; the numbers must have no gap."""
        count = sum(re.fullmatch(rf"{name}\.\d+", key) is not None for key in self.values)
        try:
            return [self.values[f"{name}.{index}"] for index in range(1, count + 1)]
        except KeyError as error:
            raise invalid(name, "elements must be numbered from 1 without a gap") from error

    def texts(self, name: str) -> list[str]:
        """Return a filter that is a JSON list of texts, or texts with commas between."""
        value = self.text(name)
        if value is None:
            return []
        if not value.startswith("["):
            return [part.strip() for part in value.split(",")]
        return parse_texts(name, value)

    def page(self) -> Page:
        """Return PageNumber and PageSize, which are required and have limits."""
        number, size = self._required_integer("PageNumber"), self._required_integer("PageSize")
        if number < 1:
            raise invalid("PageNumber", "it begins at 1")
        if not 1 <= size <= MAX_PAGE_SIZE:
            raise invalid("PageSize", f"1 to {MAX_PAGE_SIZE} is allowed")
        return Page(number=number, size=size)

    def _required_integer(self, name: str) -> int:
        value = self.integer(name)
        if value is None:
            raise missing(name)
        return value


def parse_texts(name: str, value: str) -> list[str]:
    """Return a JSON list of texts; ApiError if it is anything else."""
    try:
        texts = json.loads(value)
    except ValueError as error:
        raise invalid(name, "no JSON") from error
    if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
        raise invalid(name, "a JSON list of texts is needed")
    return texts
