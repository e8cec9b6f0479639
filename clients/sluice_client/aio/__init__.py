"""The asyncio client. `python clients/unasync.py` makes the synchronous client from the other modules of this package.

Edit `aio/client.py`, `aio/streaming.py` and `aio/delivery.py`, never the generated modules of the same names above.
"""

from .client import AsyncSluice

__all__ = ["AsyncSluice"]
