"""Shows where the time of one picture of `segment` goes, and that known class names do not ask the text encoder."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Sequence
from contextlib import ExitStack
from statistics import median

import tritonclient.grpc as triton
from sluice_client import Sluice

from bench import report
from bench.class_names import CAMVID
from bench.clock import clocked
from bench.segment_process import InProcess
from sluice.methods import grouping
from sluice.verbs import segment
from sluice.wire import pictures

STEPS = ("decoding", "network", "text", "painting", "encoding")
COLUMNS = (*STEPS, "server and the rest")
FUNCTIONS = {  # the functions of the verb that make up each step
    "decoding": (pictures, "read"),
    "painting": (grouping, "segment"),
    "encoding": (segment, "encoded"),
}


def once(here: InProcess, data: bytes, names: Sequence[str]) -> dict[str, float]:
    """Return the seconds of each of `STEPS` for one encoded picture in this process, one thread."""
    seconds: dict[str, float] = defaultdict(float)
    here.forget()
    with ExitStack() as stack:
        for step, (module, function) in FUNCTIONS.items():
            stack.enter_context(clocked(module, function, seconds, step))
        here.segment([data], names)
    return {**seconds, "network": here.seconds["image_grouper"], "text": here.seconds["text_embedder"]}


def measure(here: InProcess, client: Sluice, encoded: Sequence[bytes], title: str, rounds: int) -> None:
    """Print ms per picture and the share of each step; one caller, one picture per call, known names.

    New names cost once what the column after says.
    """
    fresh = median(once(InProcess(here.root), encoded[0], CAMVID)["text"] for _ in range(3))
    times: list[dict[str, float]] = []
    client.segment([encoded[0]], classes=CAMVID)
    once(here, encoded[0], CAMVID)
    for i in range(rounds):
        data = encoded[i % len(encoded)]
        begin = time.perf_counter()
        client.segment([data], classes=CAMVID)
        whole = time.perf_counter() - begin
        steps = once(here, data, CAMVID)
        times.append({**steps, COLUMNS[-1]: whole - sum(steps.values()), "whole": whole})
    middle = {name: median(turn[name] for turn in times) for name in (*COLUMNS, "whole")}
    report.table(
        f"segment, {title}: one picture at a time, {len(CAMVID)} names, median of {rounds}",
        ["", *COLUMNS, "whole", "text, new names"],
        [
            ["ms", *(1000 * middle[name] for name in (*COLUMNS, "whole")), 1000 * fresh],
            ["share", *(middle[name] / middle["whole"] for name in (*COLUMNS, "whole")), fresh / middle["whole"]],
        ],
    )


def counted(client: Sluice, address: str, encoded: Sequence[bytes]) -> None:
    """Print how many requests of `text_encoder` Triton counts for new class names and for the same again, and the
    claim."""
    names = ["tram", "lantern", "kerb", "shop window"]
    asked = []
    with triton.InferenceServerClient(address) as statistics:
        for part in (encoded[:1], encoded):
            before = requests(statistics)
            client.segment(list(part), classes=names)
            asked.append(requests(statistics) - before)
    if not asked[0]:
        raise SystemExit("Triton counts no request of text_encoder for names that are new; its count cannot be trusted")
    report.table(
        "requests of text_encoder, by Triton's count",
        ["new names, one image", f"the same names, {len(encoded)} images"],
        [asked],
    )
    report.claim("text encoder's requests for names that are known", asked[1], 0, asked[1] == 0, "requests")


def requests(statistics: triton.InferenceServerClient) -> int:
    """Return how many requests of the text encoder have been answered."""
    return int(statistics.get_inference_statistics("text_encoder").model_stats[0].inference_stats.success.count)
