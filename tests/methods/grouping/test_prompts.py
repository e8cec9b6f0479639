"""The sentences that class names become."""

import importlib.util
import re
from pathlib import Path

import pytest

from sluice.errors import InvalidArgument
from sluice.methods.grouping import tokens
from sluice.methods.grouping.prompts import TEMPLATES, prompts, templates


def test_the_sets_have_the_published_sizes():
    assert {name: len(one) for name, one in TEMPLATES.items()} == {"identity": 1, "simple": 1, "subset": 7, "full": 80}
    assert all(len(set(one)) == len(one) and all(x.count("{}") == 1 for x in one) for one in TEMPLATES.values())
    assert set(TEMPLATES["subset"]) < set(TEMPLATES["full"]) and TEMPLATES["simple"][0] in TEMPLATES["full"]


def test_the_sets_are_the_published_ones():
    found = importlib.util.find_spec("open_clip")
    if found is None or not found.submodule_search_locations:
        pytest.skip("open_clip_torch is not installed; it carries the published templates")
    # Read, not imported: open_clip wants torchvision, which has no build beside this torch.
    source = Path(found.submodule_search_locations[0], "zero_shot_metadata.py").read_text()
    lists = (source.split(f"{name}_IMAGENET_TEMPLATES = ")[1].split(")\n")[0] for name in ("OPENAI", "SIMPLE"))
    eighty, seven = ({one.replace("{c}", "{}") for one in re.findall(r"f'([^']*)'", part)} for part in lists)
    assert set(TEMPLATES["full"]) == eighty and set(TEMPLATES["subset"]) == seven


def test_all_sentences_of_a_class_come_together():
    assert prompts(["car", "road"]) == ["a photo of a car.", "a photo of a road."]
    many = prompts(["car", "road"], "subset")
    assert len(many) == 14 and all("car" in x for x in many[:7]) and all("road" in x for x in many[7:])


def test_braces_in_a_name_mean_nothing():
    assert prompts(["{}", "{0.__class__}"]) == ["a photo of a {}.", "a photo of a {0.__class__}."]


def test_names_of_any_script():
    names = ["自転車", "سيارة", "אופניים", "🧑‍🚒", "Straße", "Ωμέγα"]
    assert len(set(prompts(names, "full"))) == 480


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["x"] * 10_000, "class names 0 and 1, 'x' and 'x', are one to the network"),
        (["car", "&lt;b&gt;", "<B>"], "class names 1 and 2, '&lt;b&gt;' and '<B>', are one to the network"),
        (["car", ""], "class name 1 is empty"),
        (["car", " \t\n"], "class name 1 is empty"),
        (["car", "x" * 5001], "class name 1 has 5,001 characters"),
        (["car", 3], "class name 1 is no text but int"),
        (["car", None], "class name 1 is no text"),
        ("car", "list of class names, got str"),
        (7, "list of class names, got int"),
        (["Car", "road", "CAR"], "class names 0 and 2, 'Car' and 'CAR', are one to the network"),
        (["traffic  light", "traffic light"], "are one to the network"),
        (["ﬁre", "fire"], "are one to the network"),
    ],
)
def test_names_that_are_refused(names, message):
    with pytest.raises(InvalidArgument, match=re.escape(message)):
        tokens.cleaned(names, "class name", distinct=True)


def test_as_many_names_as_a_caller_has():
    names = [f"Thing  {i}" for i in range(5_000)]
    cleaned = tokens.cleaned(names, "class name", distinct=True)
    assert cleaned == [f"thing {i}" for i in range(5_000)] and len(prompts(cleaned)) == 5_000
    assert tokens.cleaned(["x" * 5000], distinct=True) == ["x" * 5000]
    assert tokens.cleaned(["Car", "car"]) == ["car", "car"]  # texts may be equal; classes may not


def test_a_clean_name_makes_clean_sentences():
    for name in tokens.cleaned(["  Traffic\tLight", "&amp;amp;amp;", "rue de l\u2019\u00c9cole"]):
        for sentence in prompts([name], "full"):
            assert " ".join(sentence.split()).lower() == sentence


def test_an_unknown_set():
    for name in ("all", None, ["full"]):
        with pytest.raises(InvalidArgument, match="templates is one of identity, simple, subset, full"):
            templates(name)


def test_every_sentence_of_a_short_name_fits():
    assert not tokens.tokenizer()(prompts(["bicyclist"], "full")).truncated.any()
