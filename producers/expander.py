"""Requests for analysis become one event per finished job, with what the database holds of it.

People's requests are forced. The audit asks without force for finished jobs that have had no follow-up for a while:
their event was lost, or parked for too long; where the follow-up is only late, the ask changes nothing.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

import msgspec
from psycopg.rows import class_row

from runtime.clock import Clock
from runtime.dead_letters import Origin
from runtime.errors import RetryableError
from runtime.kafka import Outgoing, Publisher, outgoing
from runtime.logs import get_logger
from runtime.postgres import Database
from runtime.service import Service
from runtime.sql import statement
from schemas.followups import JobAnalysisRequested
from schemas.ids import CallJobId, EventId, RequestId, TaskId, Version, event_id_for
from schemas.jobs import Turn
from schemas.tasks import TaskAnalysisRequested
from schemas.topics import JOB_ANALYSIS_REQUESTED
