"""The client of a Sluice server: `Sluice`, `AsyncSluice`, and what they take, answer and raise."""

from .aio import AsyncSluice
from .client import Sluice
from .compared import Compared, Likeness
from .connection import Tls
from .detections import Detected, Detections, Object, Pick, Selection, Uncertainties
from .enhance import Packet, Planes
from .enhanced import Enhanced
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
from .events import End, Preview, Progress, Result
from .ingest import NewFrame
from .no_effect import NoEffect
from .query import Query
from .results import Box, Features, Found, Frame, Health, Match, Receipt, Scores
from .retrieve import Options
from .retry import Retry
from .samples import Latents, Samples
from .segmented import Segmentation, Segmented, Share
from .wording import Words
from .words import Vocabulary

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
