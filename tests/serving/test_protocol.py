"""docs/protocol.md is true: its programs run, and its tables are what the server takes and refuses."""

import json
import queue
import re
import shutil
import subprocess
import sys

import numpy as np
import pytest
import tritonclient.grpc as triton
from tritonclient.utils import InferenceServerException, np_to_triton_dtype

from sluice import contracts
from tests.made.encoded_pictures import jpeg
from tests.made.protocol_page import PAGE, SECTIONS, TABLES

GLUE = {"encoding", "nan", "dtype"}
RANGE = re.compile(r"(whole number|a number),? ([\d.,e+-]+?) (?:to ([\d.,e+-]+)|or more)(?:,|$)")
CHOICES = re.compile(r"`([^`]+)`")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Make the folder in which the page's programs run, with two pictures."""
    folder = tmp_path_factory.mktemp("protocol")
    (folder / "street.jpg").write_bytes(jpeg(7001, (160, 120)))
    (folder / "other.jpg").write_bytes(jpeg(7002, (128, 96)))
    return folder


def blocks(language):
    return re.findall(rf"^```{language}\n(.*?)^```$", PAGE, re.M | re.S)


def run(server, folder, command, program):
    program = program.replace("localhost:8000", server.http.removeprefix("http://")).replace(
        "localhost:8001", server.grpc
    )
    done = subprocess.run(command, input=program, capture_output=True, text=True, cwd=folder, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    assert '{"error"' not in done.stdout
    return done.stdout


def test_the_programs_in_python_run(server, folder):
    shown = run(server, folder, [sys.executable, "-"], "\n".join(blocks("python")))
    assert "(1, 60, 80, 64)" in shown and "result" in shown and "'end'" not in shown
    assert (folder / "mask.png").read_bytes().startswith(b"\x89PNG")


def test_the_programs_with_curl_run(server, folder):
    if shutil.which("curl") is None:
        pytest.skip("curl is not installed")
    shown = run(server, folder, ["sh", "-e"], "set -u\n" + "\n".join(blocks("sh")))
    assert shown.count('"outputs"') + shown.count("data: ") >= len(blocks("sh")) - 1


def test_the_programs_in_node_run(server, folder):
    if shutil.which("node") is None:
        pytest.skip("Node is not installed")
    (folder / "mask.png").unlink(missing_ok=True)
    setup, *verbs = blocks("js")
    program = (
        setup + "(async () => {\n" + "\n".join(verbs) + "\n})().catch((e) => { console.error(e); process.exit(1); });"
    )
    shown = run(server, folder, ["node", "-"], program)
    assert "[ 1, 60, 80, 64 ]" in shown and "-2" in shown, "a number stands for NaN"
    assert (folder / "mask.png").read_bytes().startswith(b"\x89PNG")


# ------------------------------------------------------------------------------------------------ the tables


@pytest.fixture(scope="module")
def refusal(server, folder):
    """Return a function that asks a verb with wrong options and gives the sentence of the refusal."""
    roi, word = np.array([[8, 8, 60, 60]], np.float32), np.array(["road"], object)
    picture = np.array([(folder / "street.jpg").read_bytes()], object)
    given = {
        "embed": {"ENCODED": picture[None]},
        "ingest": {"IMAGES": picture, "FRAMES": np.array(["{}"], object)},
        "retrieve": {"QUERY_IMAGES": picture, "ROIS": roi, "TEXTS": word},
        "match": {"QUERY_IMAGES": picture, "ROIS": roi, "IMAGES": picture},
        "detect": {"IMAGES": picture},
        "select": {},
        "segment": {"IMAGES": picture, "CLASSES": word},
        "compare": {"IMAGES": picture, "TEXTS": word},
        "sample": {"LABELS": np.array([1], np.int64)},
        "enhance": {"IMAGES": picture},
    }

    def refusal(verb, options):
        text = np.array([json.dumps(options)], object)
        tensors = []
        for name, array in {**given[verb], "OPTIONS": text[None] if verb == "embed" else text}.items():
            tensors.append(triton.InferInput(name, list(array.shape), np_to_triton_dtype(array.dtype)))
            tensors[-1].set_data_from_numpy(array)
        with triton.InferenceServerClient(server.grpc) as client:
            if verb not in ("sample", "enhance"):
                try:
                    client.infer(verb, tensors, client_timeout=60)
                except InferenceServerException as error:
                    assert "INVALID_ARGUMENT" in str(error.status()), error
                    return error.message()
                return None

            answers = queue.Queue()
            client.start_stream(lambda result, error: answers.put((result, error)))
            client.async_stream_infer(verb, tensors)
            _, error = answers.get(timeout=60)
            client.stop_stream(cancel_requests=True)
            return error.message() if error else None

    return refusal


def test_every_verb_has_a_section():
    assert set(SECTIONS) == {path.parent.name for path in contracts.ROOT.glob("ensembles/*/config.pbtxt")}


@pytest.mark.parametrize("verb", sorted(TABLES))
def test_the_table_names_the_options_that_the_server_knows(refusal, verb):
    sentence = refusal(verb, {"no_such_option": 1})
    known = set(re.findall(r"\w+", re.split(r"known (?:are|is): |knows ", sentence)[-1]))
    verbs_own = {"keep_scores"} if verb == "detect" else set()  # the others are the aggregator's, which says so
    assert set(TABLES[verb]) == (known | verbs_own) - GLUE


def number(text):
    return float(text.replace(",", "")) if "e" in text or "." in text else int(text.replace(",", ""))


def beyond():
    """Yield (verb, option, value): for each option in the tables a value just outside what the table states."""
    for verb, table in TABLES.items():
        for name, values in table.items():
            limits = RANGE.match(values)
            choices = CHOICES.findall(values) if values.startswith("`") else []
            if limits:
                kind, low, high = limits[1], number(limits[2]), limits[3] and number(limits[3])
                yield verb, name, low - 1 if kind == "whole number" else low - abs(low) / 2 - 1e-3
                if high is not None:
                    yield verb, name, high + 1 if kind == "whole number" else high * 1.5 + 1e-3
            elif choices:
                yield verb, name, "no such choice"
            elif values.startswith("true"):
                yield verb, name, "yes"
            else:
                yield verb, name, {"no": "such value"}


@pytest.mark.parametrize(("verb", "name", "value"), list(beyond()))
def test_a_value_beyond_what_the_table_says_is_refused(refusal, verb, name, value):
    options = {name: value}
    if verb == "enhance" and name in ("bitrate", "fps"):
        options = {"bitrate": 1000, "fps": 25, name: value}
    sentence = refusal(verb, options)
    assert sentence and name in sentence, sentence
    values = TABLES[verb][name]
    for choice in CHOICES.findall(values) if values.startswith("`") and name != "statistics" else ():
        assert choice in sentence


def test_keep_scores_is_for_stored_frames(refusal):
    assert "IDS" in refusal("detect", {"keep_scores": True})
