"""Uses a gallery in a process of its own, for tests that kill it, starve it of space or let it race. A script, not a
test.

    python -m tests.made.gallery_process COMMAND FOLDER ...

    add FOLDER SEED FIRST COUNT  adds made-up frames FIRST, FIRST + 1 ... in an order that SEED shuffles; after each
                                 batch prints its receipts as one line of JSON
    fill FOLDER                  adds until the disk is full, makes room, adds again
    look FOLDER                  uses a folder that it may not write
"""

import json
import random
import sys
from pathlib import Path

from sluice.gallery import upkeep
from sluice.gallery.store import Frame, Full, Gallery, ReadOnly, Search
from tests.made.gallery_frames import CHANNELS, MODEL, TALL, WIDE, batch, embedded, features, picture, template

BATCH = 8


def add(folder: str, seed: str, first: str, count: str) -> None:
    names = [str(int(first) + i) for i in range(int(count))]
    random.Random(seed).shuffle(names)
    with Gallery(folder, MODEL, CHANNELS, threads=1) as store:
        print("ready", flush=True)
        for start in range(0, len(names), BATCH):
            some = names[start : start + BATCH]
            shapes = [TALL if int(name) % 5 == 0 else WIDE for name in some]
            frames = [Frame(f"{name} of {seed}" if int(name) % 2 else name) for name in some]
            maps = [features(name, shape) for name, shape in zip(some, shapes, strict=True)]
            pictures = [picture(name) for name in some]
            receipts = store.add(frames, pictures, maps, shapes, embedded=embedded(some))
            print(json.dumps([[name, r.status, r.id] for name, r in zip(some, receipts, strict=True)]), flush=True)


def fill(folder: str) -> None:
    ballast = Path(folder, "ballast")
    ballast.write_bytes(bytes(1 << 20))
    acknowledged, failures, i = [], 0, 0
    with Gallery(Path(folder, "gallery"), MODEL, CHANNELS, threads=1) as store:
        try:
            while True:
                names = [f"{i}-{j}" for j in range(BATCH)]
                acknowledged += [receipt.id for receipt in store.add(*batch(names)) if receipt.status == "stored"]
                i += 1
        except Full as error:
            print(error, file=sys.stderr)
        for _ in range(3):
            try:
                store.add(*batch(names))
            except Full:
                failures += 1
        during = store.search(template("0-0"), Search(k=10_000))
        images = all(store.image(id_) == picture(id_) for id_ in acknowledged)
        full_size = store.describe()["bytes"]
        ballast.unlink()
        again = [receipt.status for receipt in store.add(*batch(names))]
        after = store.search(template(names[0]), Search(k=1)).ids
        damage = list(upkeep.verify(store))
        told = store.describe()
    print(
        json.dumps(
            {
                "acknowledged": len(acknowledged),
                "refused_while_full": failures,
                "found_while_full": sorted(during.ids) == sorted(acknowledged),
                "images_while_full": images,
                "bytes_while_full": full_size,
                "again": again,
                "found_after": after == (names[0],),
                "damage": damage,
                "frames": told["frames"],
                "unreferenced_bytes": told["unreferenced_bytes"],
            }
        )
    )


def look(folder: str) -> None:
    told = {}
    with Gallery(Path(folder, "gallery"), MODEL, CHANNELS, threads=1) as store:
        told["found"] = store.search(template("a"), Search(k=1)).ids
        told["image"] = store.image("a") == picture("a")
        told["writable"] = store.describe()["writable"]
        for name, change in (
            ("add", lambda: store.add(*batch("z"))),
            ("delete", lambda: store.delete(["a"])),
            ("compact", lambda: upkeep.compact(store)),
        ):
            try:
                told[name] = str(change())
            except ReadOnly as error:
                told[name] = f"ReadOnly: {error}"
        told["after"] = store.search(template("a"), Search(k=1)).ids
    try:
        Gallery(Path(folder, "new"), MODEL, CHANNELS)
    except ReadOnly as error:
        told["new"] = f"ReadOnly: {error}"
    print(json.dumps(told))


if __name__ == "__main__":
    {"add": add, "fill": fill, "look": look}[sys.argv[1]](*sys.argv[2:])
