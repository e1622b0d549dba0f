"""What one simulated cloud is: its account, its pace, and the choices that the real cloud does not document."""

from dataclasses import dataclass, field
from typing import Literal

from devtools.cloud.plan import Pace

UnknownIds = Literal["error", "omit"]

INSTANCE_ID = "12f3dd08-0c55-44ce-9b64-e69d35ed3a76"
ACCESS_KEY_ID = "LTAI5tSimulatedKey"
ACCESS_KEY_SECRET = "simulated-secret-of-no-value"  # noqa: S105 - opens nothing but the simulator


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Fixed for the life of a process; the same settings and calls give the same answers."""

    seed: int = 7
    pace: Pace = field(default_factory=Pace)
    instance_id: str = INSTANCE_ID
    access_key_id: str = ACCESS_KEY_ID
    access_key_secret: str = ACCESS_KEY_SECRET
    unknown_ids: UnknownIds = "error"
    recording_seconds: int = 3600
