"""Tests what the stand-in for the C++ ONNX Runtime backend refuses in a config and fills in from the graph."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.made.onnxruntime_stub import FP32, Graph, Tensor, config, entry, only, rules

IMAGES = Graph({"X": Tensor(FP32, (-1, 3, -1, -1))}, {"Y": Tensor(FP32, (-1, 10))})


# What the C++ backend refuses


def test_a_config_that_equals_its_graph_has_no_problems():
    assert rules.problems(config([entry("X", [3, -1, -1])], [entry("Y", [10])]), IMAGES) == []


def test_an_input_may_be_narrower_than_the_graph():
    assert rules.problems(config([entry("X", [3, 224, 224])], [entry("Y", [10])]), IMAGES) == []


def test_an_input_may_not_be_wider_than_the_graph():
    problem = only(rules.problems(config([entry("X", [-1, -1, -1])], [entry("Y", [10])]), IMAGES))
    assert "the model expects 4 dimensions (shape [-1,3,-1,-1])" in problem
    assert "complete shape [-1,-1,-1,-1]" in problem
    assert problem.endswith("write dims: [ 3, -1, -1 ]")


@pytest.mark.parametrize("dims", [[-1], [11], [10, 1], []])
def test_an_output_must_equal_the_graph_exactly(dims):
    problem = only(rules.problems(config([entry("X", [3, -1, -1])], [entry("Y", dims)]), IMAGES))
    assert "output 'Y': the model expects 2 dimensions (shape [-1,10])" in problem
    assert problem.endswith("write dims: [ 10 ]")


def test_an_output_that_the_graph_leaves_open_must_be_open_in_the_config():
    graph = Graph({"X": Tensor(FP32, (-1, 3))}, {"Y": Tensor(FP32, (-1, -1))})
    assert "shape [-1,-1]" in only(rules.problems(config([entry("X", [3])], [entry("Y", [7])]), graph))


def test_batching_needs_an_open_first_dimension_on_both_sides():
    graph = Graph({"X": Tensor(FP32, (1, 3))}, {"Y": Tensor(FP32, (4, 2))})
    problems = rules.problems(config([entry("X", [3])], [entry("Y", [2])]), graph)
    assert len(problems) == 2
    for problem in problems:
        assert "first dimension must be -1" in problem
        assert "set max_batch_size: 0" in problem
    assert rules.problems(config([entry("X", [1, 3])], [entry("Y", [4, 2])], batch=0), graph) == []


def test_types_must_be_equal():
    problem = only(rules.problems(config([entry("X", [3, -1, -1], "TYPE_UINT8")], [entry("Y", [10])]), IMAGES))
    assert problem == (
        "configuration expects datatype TYPE_UINT8 for input 'X', model provides TYPE_FP32; write data_type: TYPE_FP32"
    )


def test_a_type_that_the_backend_does_not_know_is_refused():
    problem = only(rules.problems(config([entry("X", [3, -1, -1], "TYPE_INVALID")], [entry("Y", [10])]), IMAGES))
    assert "unsupported datatype TYPE_INVALID for input 'X'" in problem


@pytest.mark.parametrize("type_", ["seq(map(int64,tensor(float)))", "map(string,tensor(float))", "sparse_tensor(x)"])
def test_a_graph_with_more_than_tensors_is_refused_though_the_config_leaves_it_out(type_):
    graph = Graph(IMAGES.inputs, {**IMAGES.outputs, "probabilities": Tensor(f"onnx:{type_}", ())})
    problem = only(rules.problems(config([entry("X", [3, -1, -1])], [entry("Y", [10])]), graph))
    assert problem.startswith(f"unsupported ONNX type '{type_}' of output 'probabilities', expected a tensor")
    named = config([entry("X", [3, -1, -1])], [entry("Y", [10]), entry("probabilities", [1])])
    assert len(rules.problems(named, graph)) == 1, "said once"


def test_a_tensor_that_no_config_can_name_may_be_left_out():
    graph = Graph(IMAGES.inputs, {**IMAGES.outputs, "Z": Tensor("onnx:tensor(float8e4m3fn)", (-1,))})
    assert rules.problems(config([entry("X", [3, -1, -1])], [entry("Y", [10])]), graph) == []


def test_a_decoupled_graph_is_refused():
    more = {"model_transaction_policy": {"decoupled": True}}
    problem = only(rules.problems(config([entry("X", [3, -1, -1])], [entry("Y", [10])], **more), IMAGES))
    assert "cannot be decoupled; remove model_transaction_policy" in problem
    more["model_transaction_policy"]["decoupled"] = False
    assert rules.problems(config([entry("X", [3, -1, -1])], [entry("Y", [10])], **more), IMAGES) == []


def test_unknown_names_are_answered_with_the_known_ones():
    problems = rules.problems(config([entry("IN", [3, -1, -1])], [entry("OUT", [10])]), IMAGES)
    assert "unexpected inference input 'IN', allowed inputs are: 'X'; rename or remove it" in problems
    assert "unexpected inference output 'OUT', allowed outputs are: 'Y'; rename or remove it" in problems


def test_a_missing_input_is_named_with_its_type_and_shape():
    graph = Graph({**IMAGES.inputs, "Z": Tensor("TYPE_INT64", (-1, 2))}, IMAGES.outputs)
    problem = only(rules.problems(config([entry("X", [3, -1, -1])], [entry("Y", [10])]), graph))
    assert problem == "configuration expects 1 inputs, model provides 2; add 'Z' (TYPE_INT64, shape [-1,2])"


def test_a_config_without_inputs_is_told_of_what_fills_them_in():
    problem = only(rules.problems(config([], [entry("Y", [10])]), IMAGES))
    assert problem.endswith("add 'X' (TYPE_FP32, shape [-1,3,-1,-1]), or let the server fill them in "
                            "(--auto-complete-config)")  # fmt: skip


def test_outputs_may_be_left_out():
    graph = Graph(IMAGES.inputs, {**IMAGES.outputs, "Z": Tensor(FP32, (-1, 2))})
    assert rules.problems(config([entry("X", [3, -1, -1])], [entry("Y", [10])]), graph) == []


def test_optional_inputs_are_those_with_a_default_and_only_without_batching():
    graph = Graph({"X": Tensor(FP32, (1,))}, {"Y": Tensor(FP32, (1,))}, {"D": Tensor(FP32, (1,))})
    both = [entry("X", [1]), entry("D", [1], optional=True)]
    assert rules.problems(config(both, [entry("Y", [1])], batch=0), graph) == []
    batched = rules.problems(config(both, [entry("Y", [1])]), graph)
    assert any("optional input 'D' is not supported for models that support batching" in each for each in batched)
    required = [entry("X", [1], optional=True)]
    assert "remove 'optional'" in only(rules.problems(config(required, [entry("Y", [1])], batch=0), graph))


def test_one_number_an_item_needs_a_reshape_to_nothing():
    graph = Graph({"X": Tensor(FP32, (-1,))}, {"Y": Tensor(FP32, (-1,))})
    empty = {"shape": []}
    good = config([entry("X", [1], reshape=empty)], [entry("Y", [1], reshape=empty)])
    assert rules.problems(good, graph) == []
    problem = rules.problems(config([entry("X", [1])], [entry("Y", [1], reshape=empty)]), graph)
    assert only(problem).endswith("write dims: [ 1 ] with reshape: { shape: [ ] }")


@pytest.mark.parametrize("batch", [0, 8])
def test_a_scalar_is_written_as_ones(batch):
    graph = Graph({"X": Tensor(FP32, ())}, {"Y": Tensor(FP32, ())})
    assert rules.problems(config([entry("X", [1])], [entry("Y", [1, 1])], batch), graph) == []
    assert "write dims: [ 1 ]" in only(rules.problems(config([entry("X", [2])], [entry("Y", [1])], batch), graph))


def test_reshape_is_what_the_graph_is_compared_with():
    graph = Graph({"X": Tensor(FP32, (-1, 3))}, {"Y": Tensor(FP32, (-1, 10, 1, 1))})
    reshaped = entry("Y", [10], reshape={"shape": [10, 1, 1]})
    assert rules.problems(config([entry("X", [3])], [reshaped]), graph) == []


def _sequence(kind="CONTROL_SEQUENCE_START", **switch):
    return {"control_input": [{"name": "START", "control": [{"kind": kind, **switch}]}]}


def test_sequence_controls_count_as_inputs_and_must_fit():
    graph = Graph(
        {"X": Tensor("TYPE_INT32", (-1, 1)), "START": Tensor("TYPE_INT32", (-1, 1))},
        {"Y": Tensor("TYPE_INT32", (-1, 1))},
    )
    io = [entry("X", [1], "TYPE_INT32")], [entry("Y", [1], "TYPE_INT32")]
    assert rules.problems(config(*io, sequence_batching=_sequence(int32_false_true=[0, 1])), graph) == []
    wrong = rules.problems(config(*io, sequence_batching=_sequence(fp32_false_true=[0, 1])), graph)
    assert "the model expects TYPE_INT32, the configuration specifies TYPE_FP32" in only(wrong)
    absent = rules.problems(config(*io, sequence_batching=_sequence(int32_false_true=[0, 1])), IMAGES)
    assert any("sequence control 'START', but the model does not provide that input" in each for each in absent)


FLAT = Graph({"X": Tensor(FP32, (-1,)), "COUNT": Tensor(FP32, (-1,))}, {"Y": Tensor(FP32, (-1,))})
COUNTED = {"kind": rules.BATCH_INPUTS[0], "target_name": ["COUNT"], "data_type": FP32, "source_input": ["X"]}
SCATTERED = {"kind": "BATCH_SCATTER_WITH_INPUT_SHAPE", "target_name": ["Y"], "source_input": ["X"]}


def _ragged(graph=FLAT, made=COUNTED, parted=SCATTERED):
    inputs, outputs = [entry("X", [-1], allow_ragged_batch=True)], [entry("Y", [-1])]
    return rules.problems(config(inputs, outputs, batch_input=[made], batch_output=[parted]), graph)


def test_a_ragged_input_is_flat_in_the_graph_and_its_output_has_its_shape():
    assert _ragged() == []
    square = Graph({**FLAT.inputs, "X": Tensor(FP32, (-1, -1))}, FLAT.outputs)
    assert "input with shape [-1] for ragged input 'X', model provides [-1,-1]" in only(_ragged(square))


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"made": {**COUNTED, "kind": "BATCH_MEAN"}}, "unknown batch_input BATCH_MEAN of TYPE_FP32"),
        ({"made": {**COUNTED, "data_type": "TYPE_INT32"}}, "datatype TYPE_INT32 for batch_input 'COUNT'"),
        ({"made": {**COUNTED, "source_input": ["COUNT"]}}, "the shape of one input, got 'COUNT'; name one of 'X'"),
        ({"parted": {**SCATTERED, "target_name": ["Z"]}}, "batch_output 'Z' is not in the model; there are: 'Y'"),
    ],
)
def test_what_a_ragged_batch_is_made_of_must_fit(more, said):
    assert any(said in problem for problem in _ragged(**more))


def test_every_problem_is_said_one_line_each_with_the_model():
    wrong = config([entry("X", [4], "TYPE_INT8")], [entry("Y", [3])])
    with pytest.raises(rules.ConfigError) as caught:
        rules.check(wrong, IMAGES)
    lines = str(caught.value).splitlines()
    assert len(lines) == 3 == len(caught.value.problems)
    assert all(line.startswith("unable to load model 'm': ") for line in lines)


# What it fills in


def test_an_empty_config_gets_inputs_outputs_and_batches():
    done = rules.complete({"name": "m", "max_batch_size": 0, "input": [], "output": []}, IMAGES)
    assert done["max_batch_size"] == 4
    assert done["dynamic_batching"] == {}
    assert done["input"] == [entry("X", [3, -1, -1])]
    assert done["output"] == [entry("Y", [10])]
    assert rules.problems(done, IMAGES) == []


def test_a_full_config_is_left_alone():
    full = config([entry("X", [3, -1, -1])], [entry("Y", [10])], batch=0)
    assert rules.complete(full, IMAGES) == full


def test_the_servers_default_and_the_configs_own_batch_size_count():
    assert rules.complete({"name": "m"}, IMAGES, default_batch=6)["max_batch_size"] == 6
    assert rules.complete({"name": "m", "max_batch_size": 3}, IMAGES, default_batch=6)["max_batch_size"] == 3
    single = rules.complete({"name": "m"}, IMAGES, default_batch=1)
    assert single["max_batch_size"] == 1
    assert "dynamic_batching" not in single
    assert rules.complete({"name": "m"}, IMAGES, default_batch=0)["input"] == [entry("X", [-1, 3, -1, -1])]


def test_a_graph_without_open_batch_is_filled_in_without_batching():
    graph = Graph({"X": Tensor(FP32, ())}, {"Y": Tensor(FP32, (2, 3))})
    done = rules.complete({"name": "m"}, graph)
    assert rules.batch_limit(done) == 0
    assert done["input"] == [entry("X", [1])]
    assert done["output"] == [entry("Y", [2, 3])]
    assert rules.problems(done, graph) == []
    with pytest.raises(rules.ConfigError, match="does not support batching"):
        rules.complete({"name": "m", "max_batch_size": 8}, graph)


def test_inputs_beside_sequence_controls_are_not_filled_in():
    graph = Graph(
        {"X": Tensor("TYPE_INT32", (-1, 1)), "START": Tensor("TYPE_INT32", (-1, 1))}, {"Y": Tensor(FP32, (-1,))}
    )
    controlled = {"name": "m", "sequence_batching": _sequence(int32_false_true=[0, 1])}
    with pytest.raises(rules.ConfigError, match=r"adds the inputs 'START' itself.*write the model's other inputs"):
        rules.complete(controlled, graph)
    done = rules.complete({**controlled, "max_batch_size": 4, "input": [entry("X", [1], "TYPE_INT32")]}, graph)
    assert [each["name"] for each in done["output"]] == ["Y"]
    assert "dynamic_batching" not in done
    assert rules.problems(done, graph) == []


dims = st.lists(st.sampled_from([-1, 1, 3, 16]), min_size=0, max_size=4).map(tuple)
tensors = st.dictionaries(
    st.sampled_from(["A", "B", "C"]), st.builds(Tensor, st.sampled_from(sorted(rules.TYPES.values())), dims), min_size=1
)


@given(inputs=tensors, outputs=tensors, batch=st.integers(0, 5))
def test_what_is_filled_in_always_passes_the_check(inputs, outputs, batch):
    graph = Graph(inputs, {f"OUT_{name}": tensor for name, tensor in outputs.items()})
    assert rules.problems(rules.complete({"name": "m"}, graph, batch), graph) == []
