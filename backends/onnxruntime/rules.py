"""Checks a `config.pbtxt` against its ONNX graph, and fills in what is missing, as the C++ backend does.

Triton itself does not compare the two for a Python backend: a wrong type or shape would load READY and fail at the
first request. Everything here is plain data in, plain data out; a config is Triton's JSON form of it.

Source: behaviour of NVIDIA's onnxruntime_backend (r24.10 and later), its documentation and its source.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

# Name of the element type in ONNX Runtime's signature -> in config.pbtxt. Complex numbers and 8-bit floats are
# missing, because the C++ backend serves neither. It serves BF16 from release 26.03 on.
TYPES = {
    "bool": "TYPE_BOOL",
    "uint8": "TYPE_UINT8",
    "uint16": "TYPE_UINT16",
    "uint32": "TYPE_UINT32",
    "uint64": "TYPE_UINT64",
    "int8": "TYPE_INT8",
    "int16": "TYPE_INT16",
    "int32": "TYPE_INT32",
    "int64": "TYPE_INT64",
    "float16": "TYPE_FP16",
    "bfloat16": "TYPE_BF16",
    "float": "TYPE_FP32",
    "double": "TYPE_FP64",
    "string": "TYPE_STRING",
}

CONTROLS = ("CONTROL_SEQUENCE_START", "CONTROL_SEQUENCE_END", "CONTROL_SEQUENCE_READY", "CONTROL_SEQUENCE_CORRID")


BATCH_INPUTS = (
    "BATCH_ELEMENT_COUNT",
    "BATCH_ACCUMULATED_ELEMENT_COUNT",
    "BATCH_ACCUMULATED_ELEMENT_COUNT_WITH_ZERO",
    "BATCH_MAX_ELEMENT_COUNT_AS_SHAPE",
    "BATCH_ITEM_SHAPE",
    "BATCH_ITEM_SHAPE_FLATTEN",
)


class ConfigError(ValueError):
    """A config that the backend cannot serve; one line per problem, each with its remedy."""

    def __init__(self, model: str, problems: Sequence[str]):
        self.problems = list(problems)
        super().__init__("\n".join(f"unable to load model '{model}': {problem}" for problem in problems))


@dataclass(frozen=True)
class Tensor:
    """One input or output of a graph: type as in config.pbtxt (`onnx:...` where it has none), dims with -1 for open."""

    type: str
    dims: tuple[int, ...]

    @property
    def is_tensor(self) -> bool:
        """Return False for sequences, maps, optional and sparse values."""
        return not self.type.startswith("onnx:") or self.type.startswith("onnx:tensor(")


@dataclass(frozen=True)
class Graph:
    """The inputs and outputs of a graph. `defaults` are inputs with a value of their own, which a caller may
    leave out."""

    inputs: Mapping[str, Tensor]
    outputs: Mapping[str, Tensor]
    defaults: Mapping[str, Tensor] = field(default_factory=dict)


def entries(config: Mapping[str, Any], key: str) -> list[dict[str, Any]]:
    """Return a repeated field of a config, empty if it is missing."""
    return list(config.get(key) or [])


def batch_limit(config: Mapping[str, Any]) -> int:
    """Return max_batch_size; 0 means that the graph sees the caller's shapes as they are."""
    return int(config.get("max_batch_size") or 0)


def model_dims(entry: Mapping[str, Any]) -> tuple[int, ...]:
    """Return the shape that the graph sees (without batch): `reshape` if there is one, else `dims`."""
    shape = entry["reshape"].get("shape") if entry.get("reshape") is not None else entry.get("dims")
    return tuple(int(size) for size in shape or [])


def shown(dims: Sequence[int]) -> str:
    """Return a shape as Triton prints it: [-1,3,224,224]."""
    return "[" + ",".join(str(size) for size in dims) + "]"


def problems(config: Mapping[str, Any], graph: Graph) -> list[str]:
    """Return all in which a config disagrees with its graph, one sentence each; empty if it can be served."""
    return [
        *_form_problems(config, graph),
        *_ragged_problems(config, graph),
        *_sequence_problems(config, graph),
        *_state_problems(config, graph),
        *_count_problems(config, graph),
        *(p for entry in entries(config, "input") for p in _input_problems(entry, config, graph)),
        *(p for entry in entries(config, "output") for p in _output_problems(entry, config, graph)),
    ]


def check(config: Mapping[str, Any], graph: Graph) -> None:
    """Raise ConfigError with all problems if config and graph disagree."""
    found = problems(config, graph)
    if found:
        raise ConfigError(str(config.get("name", "")), found)


def _form_problems(config: Mapping[str, Any], graph: Graph) -> list[str]:
    """Return what no config can mend: a graph with values that are no tensors, or one answer for many requests."""
    found = []
    for what, tensors in (("input", {**graph.inputs, **graph.defaults}), ("output", graph.outputs)):
        for name, tensor in tensors.items():
            if not tensor.is_tensor:
                found.append(
                    f"unsupported ONNX type '{_type_name(tensor)}' of {what} '{name}', expected a tensor, also where "
                    f"the config leaves the {what} out; export the graph without it (skl2onnx: "
                    "options={'zipmap': False})"
                )
    if (config.get("model_transaction_policy") or {}).get("decoupled"):
        found.append("a graph gives one answer a request, it cannot be decoupled; remove model_transaction_policy")
    return found


def _ragged_problems(config: Mapping[str, Any], graph: Graph) -> list[str]:
    """Return problems of ragged batches: inputs laid end to end must be flat, inputs made of shapes must be numbers."""
    found = []
    inputs = [str(entry["name"]) for entry in entries(config, "input")]
    for entry in entries(config, "input"):
        tensor = graph.inputs.get(entry["name"])
        if entry.get("allow_ragged_batch") and tensor and tensor.dims != (-1,):
            found.append(
                f"configuration expects model provides input with shape [-1] for ragged input '{entry['name']}', model "
                f"provides {shown(tensor.dims)}; export it flat, or remove allow_ragged_batch and let callers pad"
            )
    for key, tensors in (("batch_input", graph.inputs), ("batch_output", graph.outputs)):
        for entry in entries(config, key):
            for target in entry.get("target_name") or [""]:
                tensor = tensors.get(target)
                if tensor is None:
                    found.append(f"{key} '{target}' is not in the model; there are: {_names(tensors)}")
                elif key == "batch_input":
                    found += _type_problems(key, {**entry, "name": target}, tensor)
            sources = list(entry.get("source_input") or [])
            if len(sources) != 1 or sources[0] not in inputs:
                found.append(f"{key} takes the shape of one input, got {_names(sources)}; name one of {_names(inputs)}")
    for entry in entries(config, "batch_input"):
        kind, type_ = str(entry.get("kind") or BATCH_INPUTS[0]), str(entry.get("data_type"))
        if kind not in BATCH_INPUTS or type_ not in ("TYPE_INT32", "TYPE_FP32"):
            found.append(f"unknown batch_input {kind} of {type_}; there are {', '.join(BATCH_INPUTS)} of INT32 or FP32")
    return found


def states(config: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the implicit state of a sequence model: entries with input_name, output_name, data_type and dims."""
    return entries(config.get("sequence_batching") or {}, "state")


def controls(config: Mapping[str, Any]) -> dict[str, tuple[str, str]]:
    """Return the inputs that the sequence batcher adds to every request: name -> (kind, type)."""
    found = {}
    for entry in entries(config.get("sequence_batching") or {}, "control_input"):
        for control in entries(entry, "control"):
            kind = str(control.get("kind", CONTROLS[0]))
            if control.get("int32_false_true"):
                type_ = "TYPE_INT32"
            elif control.get("fp32_false_true"):
                type_ = "TYPE_FP32"
            elif control.get("bool_false_true"):
                type_ = "TYPE_BOOL"
            else:
                type_ = str(control.get("data_type", "TYPE_UINT64"))
            found[str(entry["name"])] = (kind, type_)
    return found


def _of_sequences(config: Mapping[str, Any]) -> set[str]:
    """Return the names of the inputs that the caller does not send: controls and state."""
    return set(controls(config)) | {str(state["input_name"]) for state in states(config)}


def _sequence_problems(config: Mapping[str, Any], graph: Graph) -> list[str]:
    found = []
    skip = 1 if batch_limit(config) > 0 else 0
    for name, (_kind, type_) in controls(config).items():
        tensor = graph.inputs.get(name)
        if tensor is None:
            found.append(
                f"configuration specified sequence control '{name}', but the model does not provide that input; "
                f"its inputs are: {_names(graph.inputs)}"
            )
            continue
        if tensor.dims[skip:] != (1,):
            found.append(
                f"sequence control '{name}' has dims {shown(tensor.dims[skip:])} in the model, but dims [1] is "
                "expected; export the graph with that shape"
            )
        if tensor.type != type_:
            found.append(
                f"sequence control '{name}': the model expects {_type_name(tensor)}, the configuration specifies "
                f"{type_}; write the control as {_type_name(tensor)}"
            )
    return found


def _state_problems(config: Mapping[str, Any], graph: Graph) -> list[str]:
    found = []
    for state in states(config):
        for what, tensors in (("input", graph.inputs), ("output", graph.outputs)):
            entry = {**state, "name": state[f"{what}_name"]}
            tensor = tensors.get(entry["name"])
            if tensor is None:
                found.append(f"state {what} '{entry['name']}' is not in the model; its {what}s are: {_names(tensors)}")
            else:
                found += _type_problems(f"state {what}", entry, tensor)
    return found


def _count_problems(config: Mapping[str, Any], graph: Graph) -> list[str]:
    required = [entry["name"] for entry in entries(config, "input") if not entry.get("optional")]
    given = len(required) + len(entries(config, "batch_input")) + len(controls(config)) + len(states(config))
    if given == len(graph.inputs):
        return []
    known = {entry["name"] for entry in entries(config, "input")} | _of_sequences(config)
    known |= {name for entry in entries(config, "batch_input") for name in entry.get("target_name", [])}
    unknown = {name: tensor for name, tensor in graph.inputs.items() if name not in known}
    missing = [f"'{name}' ({_type_name(tensor)}, shape {shown(tensor.dims)})" for name, tensor in unknown.items()]
    too_many = [name for name in required if name not in graph.inputs]
    optional = [e["name"] for e in entries(config, "input") if e.get("optional") and e["name"] in graph.inputs]
    if missing:
        remedy = f"add {', '.join(missing)}"
        if not given:
            remedy += ", or let the server fill them in (--auto-complete-config)"
    elif optional:
        remedy = f"the graph has no default for {_names(optional)}: remove 'optional'"
    elif too_many:
        remedy = f"remove {_names(too_many)}, or mark it optional if the graph has a default for it"
    else:
        remedy = f"write each of {_names(graph.inputs)} once"
    return [f"configuration expects {given} inputs, model provides {len(graph.inputs)}; {remedy}"]


def _input_problems(entry: Mapping[str, Any], config: Mapping[str, Any], graph: Graph) -> list[str]:
    name = entry["name"]
    found = []
    if entry.get("optional") and batch_limit(config) != 0:
        found.append(
            f"optional input '{name}' is not supported for models that support batching; "
            "remove 'optional' or set max_batch_size: 0"
        )
    tensor = graph.inputs.get(name) or graph.defaults.get(name)
    if tensor is None:
        allowed = _names([*graph.inputs, *graph.defaults])
        return [*found, f"unexpected inference input '{name}', allowed inputs are: {allowed}; rename or remove it"]
    if entry.get("allow_ragged_batch"):
        return found + _type_problems("input", entry, tensor)  # its shape has a rule of its own, see `ragged`
    return found + _type_problems("input", entry, tensor) + _dims_problems("input", entry, tensor, config)


def _output_problems(entry: Mapping[str, Any], config: Mapping[str, Any], graph: Graph) -> list[str]:
    name = entry["name"]
    tensor = graph.outputs.get(name)
    if tensor is None:
        allowed = _names(graph.outputs)
        return [f"unexpected inference output '{name}', allowed outputs are: {allowed}; rename or remove it"]
    found = _type_problems("output", entry, tensor)
    if any(name in each.get("target_name", []) for each in entries(config, "batch_output")):
        return found  # its shape is taken from an input
    return found + _dims_problems("output", entry, tensor, config)


def _type_problems(what: str, entry: Mapping[str, Any], tensor: Tensor) -> list[str]:
    name, type_ = entry["name"], str(entry.get("data_type", "TYPE_INVALID"))
    if tensor.type not in TYPES.values():
        return [_unsupported(what, name, tensor)] if tensor.is_tensor else []  # reported already
    if type_ == tensor.type:
        return []
    remedy = f"write data_type: {tensor.type}"
    if type_ not in TYPES.values():
        return [f"unsupported datatype {type_} for {what} '{name}'; {remedy}"]
    return [f"configuration expects datatype {type_} for {what} '{name}', model provides {tensor.type}; {remedy}"]


def _dims_problems(what: str, entry: Mapping[str, Any], tensor: Tensor, config: Mapping[str, Any]) -> list[str]:
    """Return problems of a shape. Outputs must equal the graph's shape; an input may fix what the graph leaves open."""
    name, dims, batching = entry["name"], model_dims(entry), batch_limit(config) > 0
    if not tensor.dims:
        if all(size == 1 for size in dims):
            return []
        return [
            f"scalar {what} '{name}' should only provide 1 in the model configuration, configuration provided "
            f"{shown(dims)}; write dims: [ 1 ]"
        ]
    if batching and tensor.dims[0] != -1:
        return [
            f"{what} '{name}': for the model to support batching the shape should have at least 1 dimension and the "
            f"first dimension must be -1; but shape expected by the model is {shown(tensor.dims)}; "
            "export with an open first dimension or set max_batch_size: 0"
        ]
    full = (-1, *dims) if batching else dims
    agrees = len(full) == len(tensor.dims) and all(
        have == want or (want == -1 and what == "input") for have, want in zip(full, tensor.dims, strict=True)
    )
    if agrees:
        return []
    written = "dims (or reshape)" if entry.get("reshape") is not None else "dims"
    wanted = tensor.dims[1:] if batching else tensor.dims
    remedy = f"write {written}: [ {', '.join(map(str, wanted))} ]"
    if batching and not wanted:
        remedy = "write dims: [ 1 ] with reshape: { shape: [ ] }"
    because = " (a batch dimension because max_batch_size > 0, then the explicit shape)" if batching else ""
    return [
        f"{what} '{name}': the model expects {len(tensor.dims)} dimensions (shape {shown(tensor.dims)}) but the model "
        f"configuration specifies {len(full)} dimensions{because}, making complete shape {shown(full)}; {remedy}"
    ]


def complete(config: Mapping[str, Any], graph: Graph, default_batch: int = 4) -> dict[str, Any]:
    """Return a config with its missing inputs, outputs and batch limit taken from the graph, as the C++ backend does.

    A config that has both inputs and outputs comes back as it is, batch limit included. Raises ConfigError if the
    config asks for batches that the graph cannot take, the graph has a type that Triton's configs cannot name, or the
    sequence batcher adds inputs of its own, which C++ fills in a second time and refuses.
    """
    done = copy.deepcopy(dict(config))
    has_inputs = bool(entries(config, "input") or entries(config, "batch_input"))
    has_outputs = bool(entries(config, "output"))
    if has_inputs and has_outputs:
        return done
    name = str(config.get("name", ""))
    added = _of_sequences(config)
    if added and not has_inputs:
        raise ConfigError(
            name,
            [
                f"sequence_batching adds the inputs {_names(sorted(added))} itself, which filling in would write once "
                "more; write the model's other inputs and its outputs into config.pbtxt"
            ],
        )
    unknown = _form_problems(config, graph) + [
        _unsupported(what, key, tensor)
        for what, tensors in (("input", graph.inputs), ("output", graph.outputs))
        for key, tensor in tensors.items()
        if tensor.is_tensor and tensor.type not in TYPES.values()
    ]
    if unknown:
        raise ConfigError(name, unknown)
    fixed = [key for key, t in [*graph.inputs.items(), *graph.outputs.items()] if not t.dims or t.dims[0] != -1]
    if fixed and batch_limit(config) > 0:
        raise ConfigError(
            name,
            [
                f"autofill failed: the model does not support batching (first dimension of {_names(fixed)} is not -1) "
                f"while max_batch_size is {batch_limit(config)}; set max_batch_size: 0 or export an open batch"
            ],
        )
    if not fixed:
        done["max_batch_size"] = batch_limit(config) or max(default_batch, 0)
        if done["max_batch_size"] > 1 and not (config.get("dynamic_batching") or config.get("sequence_batching")):
            done["dynamic_batching"] = config.get("dynamic_batching") or {}
    skip = 1 if batch_limit(done) > 0 else 0
    if not has_inputs:
        done["input"] = [_entry(key, tensor, skip) for key, tensor in graph.inputs.items()]
    if not has_outputs:
        done["output"] = [_entry(key, tensor, skip) for key, tensor in graph.outputs.items()]
    return done


def _entry(name: str, tensor: Tensor, skip: int) -> dict[str, Any]:
    dims = list(tensor.dims[skip:])
    entry: dict[str, Any] = {"name": name, "data_type": tensor.type, "dims": dims or [1]}
    if not dims and skip:
        # Without batching Triton refuses an empty reshape, so dims [1] stands for the scalar.
        entry["reshape"] = {"shape": []}
    return entry


def _type_name(tensor: Tensor) -> str:
    return tensor.type.removeprefix("onnx:")


def _unsupported(what: str, name: str, tensor: Tensor) -> str:
    known = ", ".join(sorted(type_.removeprefix("TYPE_") for type_ in TYPES.values()))
    return f"unsupported type {_type_name(tensor)} of {what} '{name}' in the model; export it as a tensor of {known}"


def _names(names: Any) -> str:
    return ", ".join(f"'{name}'" for name in names) or "none"
