"""Reads the vocabulary of a CLIP: transformers' tokenizer files, or the file of pairs that CLIP and OpenCLIP read."""

from __future__ import annotations

import gzip
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from export import stored
from export.entry import ExportError
from sluice.methods.grouping import pairs
from sluice.methods.grouping.pairs import SINGLE, SUFFIX, Pairs

WHOLE, PARTS = "tokenizer.json", ("vocab.json", "merges.txt")
SPECIAL = {"bos_token": "<|startoftext|>", "eos_token": "<|endoftext|>"}


def there(folder: Path) -> bool:
    """Return whether a folder holds a vocabulary, whole or in part."""
    return any((folder / name).exists() for name in (WHOLE, *PARTS))


def read(place: Path, size: int, length: int) -> Pairs:
    """Return the vocabulary in a folder of transformers' tokenizer files, or in a file of pairs, plain or in gzip.

    size: rows of the network's table of tokens. length: tokens per text.
    Raises ExportError with one sentence where the vocabulary is missing, damaged, of another kind or of another size.
    """
    try:
        if place.is_dir():
            return _tokenizer(place, size, length)
        stored.begun(place)
        data = place.read_bytes()
        text = (gzip.decompress(data) if data[:2] == b"\x1f\x8b" else data).decode()
        return pairs.listed(text, size, length)
    except ExportError:
        raise
    except (OSError, EOFError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ExportError(f"the vocabulary in {place.name} cannot be read: {error}") from None


def _tokenizer(folder: Path, size: int, length: int) -> Pairs:
    """Return the vocabulary of a folder of tokenizer files. Raises as `read` does."""
    if (folder / WHOLE).exists():
        found = stored.settings(folder / WHOLE)
        model = found.get("model") or {}
        kind, suffix = model.get("type", "BPE"), model.get("end_of_word_suffix")
        lower = "Lowercase" in json.dumps(found.get("normalizer"))
        if kind != "BPE" or suffix != SUFFIX or not lower:
            raise ExportError(
                f"{WHOLE} in {folder.name} is no tokenizer of CLIP's kind, byte pairs of small letters with {SUFFIX} "
                f"at the end of a word: it is {kind}, {suffix or 'no mark'} ends a word, "
                f"{'small letters' if lower else 'capitals are kept'}"
            )
        numbers, lines = dict(model["vocab"]), model["merges"]
        numbers |= {one["content"]: one["id"] for one in found.get("added_tokens", ())}
    else:
        missing = [name for name in PARTS if not (folder / name).is_file()]
        if missing:
            raise ExportError(
                f"{folder.name} has no {' and no '.join(missing)}; put the tokenizer's files there "
                f"({', '.join(PARTS)} or {WHOLE}), or name their folder with --vocabulary"
            )
        for name in PARTS:
            stored.begun(folder / name)
        numbers = stored.settings(folder / PARTS[0])
        lines = [line for line in (folder / PARTS[1]).read_text(encoding="utf-8").split("\n") if line.strip()]
        lines = lines[1:] if lines and lines[0].startswith("#version") else lines
    if len(numbers) != size:
        raise ExportError(
            f"the vocabulary in {folder.name} has {len(numbers):,} tokens, the network's table {size:,}: they are not "
            "of one network; name the network's own with --vocabulary"
        )
    return _of(numbers, lines, folder, size, length)


def _of(numbers: Mapping[str, Any], lines: list[Any], folder: Path, size: int, length: int) -> Pairs:
    """Return the pairs of tables as transformers writes them. numbers: of each symbol. lines: the pairs in order."""
    merges: list[tuple[str, str]] = []
    for line in lines:
        parts = line.split(" ") if isinstance(line, str) else line
        if len(parts) != 2:
            raise ExportError(f"the vocabulary in {folder.name} has a pair that is not of two symbols: {line!r}")
        merges.append((parts[0], parts[1]))
    symbols = (*SINGLE, *(left + right for left, right in merges))
    special = _special(folder)
    lacking = [symbol for symbol in (*symbols, *special) if symbol not in numbers]
    if lacking:
        raise ExportError(
            f"the vocabulary in {folder.name} lacks {len(lacking):,} symbols that a text may need, such as "
            f"{lacking[0]!r}; it is not whole"
        )
    start, end = (numbers[symbol] for symbol in special)
    return Pairs(tuple(merges), tuple(numbers[symbol] for symbol in symbols), start, end, length, size)


def _special(folder: Path) -> list[str]:
    """Return the symbols of start and end, as the tokenizer's settings name them or as they usually are."""
    path = folder / "tokenizer_config.json"
    said = stored.settings(path) if path.exists() else {}
    named = [said.get(key) or usual for key, usual in SPECIAL.items()]
    return [one["content"] if isinstance(one, Mapping) else str(one) for one in named]
