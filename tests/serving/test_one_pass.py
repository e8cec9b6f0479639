"""One pass over a frame: the joined network gives the bits of the three, and `ingest` stores what the verbs answer."""

from __future__ import annotations

import io

import numpy as np
import pytest
import tritonclient.grpc as triton
from PIL import Image
from sluice_client import NewFrame, Query, Sluice

import scenes
from sluice.models.frame_view import NETWORKS, PARTS


def ask(client, model, image):
    given = triton.InferInput("IMAGE", image.shape, "UINT8")
    given.set_data_from_numpy(image)
    answer = client.infer(model, [given])
    return {out.name: answer.as_numpy(out.name) for out in answer.get_response().outputs}


def executed(client, *models):
    """Return how many requests each model has answered."""
    found = {}
    for model in models:
        (stats,) = client.get_inference_statistics(model).model_stats
        found[model] = stats.inference_stats.success.count
    return found


@pytest.fixture(scope="module")
def picture():
    return scenes.render(5, (640, 480), time_of_day="day").image


@pytest.mark.parametrize("height, width", [(480, 640), (96, 64)])
def test_the_joined_network_gives_the_bits_of_the_three(server, picture, height, width):
    image = np.ascontiguousarray(picture[None, :height, :width])
    client = triton.InferenceServerClient(server.grpc)
    joined = ask(client, NETWORKS, image)
    given = {name: values for model in PARTS for name, values in ask(client, model, image).items()}
    assert set(joined) == set(given)
    for name, values in given.items():
        np.testing.assert_array_equal(joined[name], values, err_msg=name)


def test_ingest_looks_at_a_frame_once_and_stores_what_the_verbs_answer(server, picture):
    file = io.BytesIO()
    Image.fromarray(picture).save(file, "PNG")
    client = triton.InferenceServerClient(server.grpc)
    with Sluice(server.grpc) as sluice:
        before = executed(client, NETWORKS, *PARTS)
        (receipt,) = sluice.ingest([NewFrame(file.getvalue(), id="one-pass")])
        after = executed(client, NETWORKS, *PARTS)
        assert receipt.status == "stored" and receipt.scored and receipt.embedded
        assert {name: after[name] - before[name] for name in after} == {NETWORKS: 1, **dict.fromkeys(PARTS, 0)}
        # Scores and embeddings of another version would not be found.
        chosen = sluice.select(n=1)
        assert "one-pass" in [*(one.id for one in chosen), *chosen.without_objects]
        assert "one-pass" not in chosen.unscored
        assert "one-pass" in [hit.id for hit in sluice.retrieve(texts=["a road"]).matches]
        # The whole frame as its own query has the score of equal features, 1 in each cell.
        found = sluice.retrieve(Query(file.getvalue(), rois=[[0, 0, 640, 480]]), k=1).matches
        assert found[0].id == "one-pass" and found[0].score == pytest.approx(1, abs=2e-3)
