"""The tokenizer against a fixed table, against open_clip's, and what it does with texts that are hard to read."""

import importlib.util
import random
import re
import time
import unicodedata
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sluice.errors import InvalidArgument
from sluice.methods.grouping import tokens
from sluice.methods.grouping.pairs import LENGTH, MERGES, VOCABULARY, published
from sluice.methods.grouping.tokens import (
    END,
    INVISIBLE,
    PADDING,
    START,
    Tokenizer,
    clean,
    tokenizer,
)

# Numbers without START and END, as open_clip_torch 3.3.0 gives them.
TABLE = {
    "a": [320],
    "a photo of a cat.": [320, 1125, 539, 320, 2368, 269],
    "a bicyclist at night": [320, 9247, 1503, 545, 536, 930],
    "It's the car's 2nd WHEEL!!": [585, 568, 518, 1615, 568, 273, 1764, 6744, 748],
    "café Größe": [15304, 709, 7255, 127, 253, 324],
    "Ωμέγα": [139, 231, 138, 120, 138, 255, 138, 111, 138, 365],
    "красный свет": [27152, 16370, 16912, 23669, 22705, 45001, 140, 373, 23669, 39813, 22176, 141, 480],
    "مرحبا": [12986, 10948, 25722, 16378, 22625],
    "שלום": [147, 102, 147, 250, 147, 243, 147, 507],
    "信号機": [160, 123, 94, 34517, 115, 162, 102, 509],
    "ประเทศไทย": [1777, 249, 32225, 43920, 14076, 245, 1777, 101, 31718, 245, 33091],
    "हिन्दी": [29446, 26721, 26090, 19389, 29552, 25751],
    "👩\u200d🚒": [26304, 2730, 496],
    "&lt;b&gt; &amp;amp; schÃ¶n": [283, 321, 285, 261, 844, 7255, 333],
    "supercalifragilisticexpialidocious": [1642, 2857, 13093, 2076, 5868, 26850, 835, 639, 38466],
}

# First and last character of blocks of Unicode.
BLOCKS = [
    (0x20, 0x7E), (0x20, 0x7E), (0xA0, 0x24F), (0x370, 0x3FF), (0x400, 0x4FF), (0x590, 0x5FF), (0x600, 0x6FF),
    (0x900, 0x97F), (0xE00, 0xE7F), (0x3040, 0x30FF), (0x4E00, 0x9FFF), (0xAC00, 0xD7A3), (0x1F300, 0x1FAFF),
    (0x00, 0x1F), (0x7F, 0x9F), (0x2000, 0x206F), (0x300, 0x36F), (0xFB00, 0xFB4F), (0xFF00, 0xFFEF), (0xD800, 0xDFFF),
    (0xE000, 0x10FFFF),
]  # fmt: skip
PIECES = [
    " ", "  ", "\n", "'s", "'LL", "'ſ", "it's", "&amp;", "&amp;amp;", "&lt;b&gt;", "&#233;", "&nbsp;", "&notit",
    "&#x110000;", "Ã©", "â€œ", "â€™", "schÃ¶n", "ï»¿", "\u200d", "\u200f", "\ufe0f", "\u0000", "\x1b[31m", "ŉ", "İ",
    "ẞ", "ﬁ", "<br>", "{}", "7", "٣", "👩\u200d👩\u200d👧\u200d👦", "🏳️\u200d🌈", "👍🏽", "🇯🇵", "photo", "Bicyclist",
    "STREET", "größe", "наука", "ελληνικά", "مرحبا", "שלום", "日本語", "ประเทศ", "हिन्दी",
]  # fmt: skip


def texts(count):
    """Yield texts of one or two Unicode blocks, most of them short, a few of thousands of characters."""
    rng = random.Random(0)
    for i in range(count):
        blocks = rng.choices(BLOCKS, k=2)
        length = rng.randrange(40) if i % 200 else rng.randrange(500, 2000)
        yield "".join(
            rng.choice(PIECES) if rng.random() < 0.15 else chr(rng.randint(*rng.choice(blocks))) for _ in range(length)
        )


@pytest.fixture(scope="module")
def peer():
    """Load open_clip's tokenizer from its file alone: the package needs torchvision, which does not fit this torch."""
    found = importlib.util.find_spec("open_clip")
    if found is None or not found.submodule_search_locations:
        pytest.skip("open_clip_torch is not installed; the table of fixed numbers stands in for it")
    spec = importlib.util.spec_from_file_location(
        "open_clip_tokenizer", Path(found.submodule_search_locations[0], "tokenizer.py")
    )
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.SimpleTokenizer()


def same(peer, given):
    """Compare with open_clip, except on two texts that it reads as its own marks and we read as text."""
    read = clean(given)
    if re.search("<(start|end)_of_text>", read, re.I):
        return
    expected = peer.encode(given)
    assert tokenizer().encode(read) == expected, given[:100]
    if any(unicodedata.category(character) not in INVISIBLE for character in read):
        ids, truncated = tokenizer()([given])
        assert ids[0, 1 : LENGTH - 1].tolist() == [*expected[: LENGTH - 2], END, *[PADDING] * LENGTH][: LENGTH - 2]
        assert truncated[0] == (len(expected) > LENGTH - 2)


# ------------------------------------------------------------------------------------------------ equality


@pytest.mark.parametrize("text", TABLE)
def test_the_table(text):
    row, truncated = tokenizer()([text])
    assert row.dtype == np.int64 and row.shape == (1, LENGTH) and not truncated[0]
    assert row[0, : len(TABLE[text]) + 2].tolist() == [START, *TABLE[text], END]
    assert (row[0, len(TABLE[text]) + 2 :] == PADDING).all()


def test_four_thousand_texts_of_many_scripts(peer):
    for text in [*TABLE, *PIECES, *texts(4000)]:
        same(peer, text)


@settings(max_examples=200, deadline=None)
@given(st.text(max_size=60))
def test_any_text(peer, text):
    same(peer, text)


@settings(max_examples=300, deadline=None)
@given(st.text(st.characters(max_codepoint=127), max_size=100))
def test_any_plain_text(peer, text):
    same(peer, text)  # which takes a shorter way through `clean`


@settings(max_examples=100, deadline=None)
@given(st.text("abcdeé日", min_size=1, max_size=120))
def test_long_words_of_few_letters(peer, text):
    same(peer, text)


def test_every_pair_is_learned_after_its_parts():
    joined = tokenizer()._joined
    assert list(joined.values()) == list(range(512, START)) and VOCABULARY == END + 1 == START + 2
    # Each pair makes a symbol that no other pair makes: what lets `word` take the pairs from a heap.
    assert all(max(pair) < number for pair, number in joined.items())


@settings(max_examples=200, deadline=None)
@given(st.text("abcdest'é", min_size=1, max_size=40))
def test_a_word_is_joined_as_published(text):
    """Join the pair of least rank wherever it stands, again and again."""
    one = tokenizer()
    numbers = [one._number_of_byte[byte] for byte in text.encode()]
    numbers[-1] += 256
    while pairs := [pair for pair in pairwise(numbers) if pair in one._joined]:
        first = min(pairs, key=one._joined.__getitem__)
        after, i = [], 0
        while i < len(numbers):
            if tuple(numbers[i : i + 2]) == first:
                after.append(one._joined[first])
                i += 2
            else:
                after.append(numbers[i])
                i += 1
        numbers = after
    assert one.word(text) == tuple(numbers)


def test_rows_are_those_of_open_clip(peer):
    given = ["a cat", "cat " * 75, "cat " * 76, "日" * 300]
    assert tokenizer()(given).ids.tolist() == peer(given).tolist()


# ------------------------------------------------------------------------------------------------ hard texts


def test_truncation_keeps_the_end_and_says_so():
    one = tokenizer()
    fits, long, word = " ".join(["cat"] * 75), " ".join(["cat"] * 76), "xq" * 200
    ids, truncated = one([fits, long, "cat", word])
    assert truncated.tolist() == [False, True, False, True]
    assert (ids[:, 0] == START).all() and ids[[0, 1, 3], -1].tolist() == [END] * 3
    assert ids[0].tolist() == ids[1].tolist() and (ids == END).sum(axis=1).tolist() == [1] * 4
    assert ids[2].tolist() == [START, *one.encode("cat"), END] + [PADDING] * 74


def test_case_and_white_space_do_not_matter():
    ids = tokenizer()(["Traffic Light", "traffic  light\n", "TRAFFIC LIGHT", "&nbsp;traffic light"]).ids
    assert (ids == ids[0]).all()


def test_texts_of_marks_are_text():
    for text in ("<start_of_text>", "<end_of_text>", "<|startoftext|>", "<|endoftext|>", "a<end_of_text>b"):
        row = tokenizer()([text]).ids[0]
        assert (row == START).sum() == 1 and (row == END).sum() == 1 and len(row[row > 0]) > 5


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (["cat", ""], "text 1 is empty: ''; give at least one visible character"),
        (["\u0000\u0007"], "text 0 is empty"),
        (["&nbsp;&#32; \u3000"], "text 0 is empty"),
        (["\u200b\u200e \u2060"], "text 0 is empty"),
        (["x" * 5001], "text 0 has 5,001 characters, more than the limit of 5,000"),
        ([b"cat"], "text 0 is no text but bytes"),
        ([None], "text 0 is no text but NoneType"),
        ("cat", "expected a list of texts, got str"),
        (b"cat", "expected a list of texts, got bytes"),
        (3, "expected a list of texts, got int"),
    ],
)
def test_what_is_refused(given, message):
    with pytest.raises(InvalidArgument, match=re.escape(message)):
        tokenizer()(given)


def test_the_message_says_what_is_read():
    with pytest.raises(InvalidArgument, match="class name 0 is empty"):
        tokenizer()([" "], "class name")


def test_no_texts_are_no_rows():
    assert tokenizer()([]).ids.shape == (0, LENGTH)


@pytest.mark.parametrize("text", ["a" * 5000, "日" * 5000, "Ã©" * 2500, "&amp;" * 1000, "ab" * 2500, "\u0301" * 5000])
def test_the_longest_texts_take_no_time(text):
    begun = time.process_time()
    assert tokenizer()([text]).truncated[0]
    assert time.process_time() - begun < 2


def test_what_is_remembered_is_bounded():
    one = Tokenizer(published())
    for i in range(200):
        one([f"word{chr(97 + i % 26) * (i // 26)} {'y' * 100}{i}"])
    kept = one._remembered.cache_info()
    assert kept.maxsize == tokens.REMEMBERED and 0 < kept.currsize < 250
    hits = kept.hits
    one(["y" * 100])  # too long to be remembered
    assert one._remembered.cache_info()[:2] == (hits, kept.misses)


def test_another_file_is_no_vocabulary(tmp_path):
    other = tmp_path / "merges.gz"
    other.write_bytes(MERGES.read_bytes()[:-1])
    with pytest.raises(ValueError, match="is not the published file of merges"):
        published(other)
    with pytest.raises(FileNotFoundError):
        published(tmp_path / "none.gz")
