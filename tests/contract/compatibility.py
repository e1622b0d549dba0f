"""What may change within a version of a topic: an optional field may be added, nothing else."""

from typing import Any

Schema = dict[str, Any]


def incompatibilities(old: Schema, new: Schema, path: str = "$") -> list[str]:
    """Return what a reader or writer of `old` could trip over in `new`, a sentence each.

    Both sides count: what the CRM writes today must be accepted tomorrow, what analytics reads must stay as it is. So
    a type, a bound, a set of values or the list of required fields may neither narrow nor widen. Words may change.
    """
    found = []
    for keyword in sorted({*old, *new} - {"description", "title", "$defs", "properties", "$id", "$schema"}):
        was, now = old.get(keyword), new.get(keyword)
        if isinstance(was, dict) and isinstance(now, dict):
            found += incompatibilities(was, now, f"{path}.{keyword}")
        elif keyword == "anyOf" and was and now and len(was) == len(now):
            found += [problem for pair in zip(was, now, strict=True) for problem in incompatibilities(*pair, path)]
        elif was != now:
            found.append(f"{path}: {keyword} was {was!r} and is {now!r}")
    for section in ("properties", "$defs"):
        of_old, of_new = old.get(section, {}), new.get(section, {})
        found += [f"{path}.{name} is gone" for name in of_old if name not in of_new]
        for name in of_old.keys() & of_new.keys():
            found += incompatibilities(of_old[name], of_new[name], f"{path}.{name}")
    return found
