"""The client of a Sluice server: `Sluice`, `AsyncSluice`, and the types that their methods take, return and raise."""

from .aio import AsyncSluice
from .answers.compare import Compared, Likeness
from .answers.detect import Detected, Detections, Object, Uncertainties
from .answers.embed import Features
from .answers.enhance import Enhanced
from .answers.health import Health
from .answers.ingest import Receipt
from .answers.no_effect import NoEffect
from .answers.retrieve import Found, Match, Scores
from .answers.sample import Latents, Samples
from .answers.sample_events import End, Preview, Progress, Result
from .answers.segment import Segmentation, Segmented, Share
from .answers.select import Pick, Selection
from .answers.words import Words
from .client import Sluice
from .errors import (
    Cancelled,
    CannotWrite,
    Conflict,
    DeadlineExceeded,
    InvalidRequest,
    NotFound,
    Refused,
    RequestIgnored,
    ServerFailed,
    SluiceError,
    TooLarge,
    Unavailable,
    UnexpectedAnswer,
    Unsupported,
    Untrusted,
)
from .frames import Box, Frame
from .query import Query
from .transport.connection import Tls
from .transport.retry import Retry
from .verbs.enhance import Packet, Planes
from .verbs.ingest import NewFrame
from .verbs.retrieve import Options
from .verbs.words import Vocabulary

__all__ = [
    "AsyncSluice",
    "Box",
    "Cancelled",
    "CannotWrite",
    "Compared",
    "Conflict",
    "DeadlineExceeded",
    "Detected",
    "Detections",
    "End",
    "Enhanced",
    "Features",
    "Found",
    "Frame",
    "Health",
    "InvalidRequest",
    "Latents",
    "Likeness",
    "Match",
    "NewFrame",
    "NoEffect",
    "NotFound",
    "Object",
    "Options",
    "Packet",
    "Pick",
    "Planes",
    "Preview",
    "Progress",
    "Query",
    "Receipt",
    "Refused",
    "RequestIgnored",
    "Result",
    "Retry",
    "Samples",
    "Scores",
    "Segmentation",
    "Segmented",
    "Selection",
    "ServerFailed",
    "Share",
    "Sluice",
    "SluiceError",
    "Tls",
    "TooLarge",
    "Unavailable",
    "Uncertainties",
    "UnexpectedAnswer",
    "Unsupported",
    "Untrusted",
    "Vocabulary",
    "Words",
]
