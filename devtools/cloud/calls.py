"""Counts what callers did, so that a test can say "no more than" and "not once"."""

from collections import Counter, defaultdict, deque
from dataclasses import dataclass, field

EVERY = "*"


@dataclass(kw_only=True)
class Calls:
    """Written by the gateway, read by the control API."""

    outcomes: defaultdict[str, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))
    max_ids: Counter[str] = field(default_factory=Counter)
    max_page_size: int = 0
    max_per_second: Counter[str] = field(default_factory=Counter)
    _last_second: defaultdict[str, deque[int]] = field(default_factory=lambda: defaultdict(deque))

    def arrived(self, action: str, now_ms: int) -> None:
        """Count a call among those of the second that ends with it, before anything is known of its outcome."""
        for name in (EVERY, action):
            window = self._last_second[name]
            window.append(now_ms)
            while window[0] <= now_ms - 1000:
                window.popleft()
            self.max_per_second[name] = max(self.max_per_second[name], len(window))

    def sized(self, action: str, ids: int, page_size: int) -> None:
        """Remember the largest call of an action: its ids or entries, and its page size."""
        self.max_ids[action] = max(self.max_ids[action], ids)
        self.max_page_size = max(self.max_page_size, page_size)

    def ended(self, action: str, outcome: str) -> None:
        """Count an outcome: OK, an error code, or what a fault did."""
        self.outcomes[action][outcome] += 1

    def summary(self) -> dict[str, object]:
        """Return all counts as JSON values."""
        return {
            "actions": {action: dict(counts) for action, counts in self.outcomes.items()},
            "max_ids": dict(self.max_ids),
            "max_job_ids": self.max_ids["ListJobs"],
            "max_page_size": self.max_page_size,
            "max_per_second": dict(self.max_per_second),
        }
