"""Stands in for Triton's C++ ONNX Runtime backend on servers without it, such as the wheel nvidia-pytriton.

Put this folder as `onnxruntime/` into the server's backend directory, and `backend: "onnxruntime"` in a config.pbtxt
means what it means in NVIDIA's container: the same files, rules, parameters and batching. The folder stands alone: it
needs numpy and onnxruntime (and openvino where a config asks for it), nothing else of this project.

These differences are not refused:
 * Every instance is a process of its own, so `share_session_between_instances` has no effect, and a global thread pool
   exists once per instance.
 * Strings must be UTF-8; a string with a zero byte in it is kept whole (C++ cuts it there).
 * OpenVINO runs the whole graph, where the C++ backend leaves what OpenVINO does not know to ONNX Runtime; its
   parameters `precision`, `num_of_threads` and `programs` are additions of this backend.
 * An output that nobody in the batch asked for is not computed.
 * A request that the graph refuses fails alone, as INVALID_ARGUMENT; C++ fails its whole batch, as INTERNAL.
 * A batch of which the graph makes more or fewer rows is an error; C++ cuts it, or reads beyond it.
 * A rank-0 input belongs to one request, run as one row; C++ takes the batch's first number and drops the others.
 * Only the CPU is used: GPU accelerators and `cc_model_filenames` are read and left alone. The accelerator
   `tensorrt_rtx` alone is heeded, an addition of this backend (`rtx`).
"""

from __future__ import annotations

import functools
import importlib.util
import json
import sys
import traceback
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import triton_python_backend_utils as pb_utils  # exists in Triton's stub only

HERE = Path(__file__).resolve().parent
PACKAGE = "onnxruntime_backend"

if PACKAGE not in sys.modules:
    # The files beside this one become a package of their own name. Adding the folder to sys.path instead would let a
    # model's own files shadow them, and the folder's name, `onnxruntime`, belongs to the library.
    spec = importlib.util.spec_from_loader(PACKAGE, None, is_package=True)
    assert spec is not None  # a package needs no loader
    package = importlib.util.module_from_spec(spec)
    package.__path__ = [str(HERE)]
    sys.modules[PACKAGE] = package

from onnxruntime_backend import (  # noqa: E402  # the package made above
    batches,
    bfloat16,
    engines,
    options,
    outcomes,
    rules,
    states,
)


class TritonPythonModel:
    """One instance of one version of a model."""

    @staticmethod
    def auto_complete_config(auto_complete_model_config: Any) -> Any:
        """Fill in inputs, outputs and batch limit from the graph where the config leaves them out."""
        try:
            return _completed(auto_complete_model_config)
        except rules.ConfigError as error:
            raise error.with_traceback(None) from None
        except Exception as error:
            raise _unforeseen(str(auto_complete_model_config.as_dict().get("name", "")), error) from None

    def initialize(self, args: Mapping[str, str]) -> None:
        """Load the graph and check the config against it. Raises an error with every problem, one line each."""
        try:
            self._load(args)
        except rules.ConfigError as error:
            raise error.with_traceback(None) from None
        except Exception as error:
            raise _unforeseen(args["model_name"], error) from None

    def _load(self, args: Mapping[str, str]) -> None:
        config = json.loads(args["model_config"])
        name, version = args["model_name"], args["model_version"]
        flags = options.server_flags()
        chosen, wrong = options.read(config, flags)
        path = _graph_file(Path(args["model_repository"]) / version, config)
        if wrong:
            raise rules.ConfigError(name, [*wrong, *_disagreements(config, path)])
        try:
            engine = engines.load(path, chosen)
        except engines.GraphError as error:
            raise rules.ConfigError(name, [str(error), *_disagreements(config, path)]) from None
        rules.check({**config, "name": name}, engine.graph)
        self._runner = batches.Runner(engine, config)
        self._states = states.States(config) if rules.states(config) else None
        self._bfloats = {
            each["name"]
            for key in ("input", "output")
            for each in rules.entries(config, key)
            if each["data_type"] == "TYPE_BF16"
        }
        self._counted = flags.get("outcomes-metric") or outcomes.METRIC, name, version
        kept = "the server's start keeps it so, for what it made before" if options.kept_plain(config, flags) else ""
        self._precision = (
            flags.get("precision-metric") or outcomes.PRECISION,
            {
                "precision": engine.precision,
                "library": engine.library,
                "reason": kept or flags.get(f"{engine.precision}-reason", ""),
            },
        )
        for sentence in chosen.left_alone:
            pb_utils.Logger.log_warn(f"{name}: {sentence}")
        pb_utils.Logger.log_info(f"{args['model_instance_name']} version {version}: {engine.described()}")

    @functools.cached_property
    def _outcomes(self) -> Any:
        # Made at the first request, because made at load they can end a stub while other models are loading (2.51).
        made = outcomes.Outcomes(*self._counted)
        made.tell_precision(*self._precision)
        return made

    def execute(self, requests: Sequence[Any]) -> list[Any]:
        """Run once for all requests of equal shape, and answer each request by itself."""
        responses: list[Any] = [None] * len(requests)
        ended = ["cancelled"] * len(requests)
        items, places = [], []
        for place, request in enumerate(requests):
            if request.is_cancelled():
                responses[place] = _refusal("the request was cancelled", pb_utils.TritonError.CANCELLED)
                continue
            inputs = {tensor.name(): self._array(tensor) for tensor in request.inputs()}
            outputs = set(request.requested_output_names())
            if self._states:
                inputs |= self._states.given(request.correlation_id(), request.flags(), inputs)
                outputs |= set(self._states.outputs)
            items.append(batches.Item(inputs, tuple(outputs)))
            places.append(place)
        try:
            answers = self._runner.run(items)
        except Exception as error:  # of any kind, because Triton would send its traceback to the caller
            pb_utils.Logger.log_error(f"{type(error).__name__}: {error}")
            failure = batches.Failure("internal error of the ONNX Runtime backend; the server's log has it")
            answers = [failure] * len(items)
        for place, answer in zip(places, answers, strict=True):
            if isinstance(answer, batches.Failure):
                ended[place] = "invalid" if answer.caller else "failed"
                code = pb_utils.TritonError.INVALID_ARG if answer.caller else pb_utils.TritonError.INTERNAL
                responses[place] = _refusal(answer.message, code)
            else:
                ended[place] = "ok"
                responses[place] = self._response(requests[place], answer)
        self._outcomes.count(ended)
        return responses

    def _array(self, tensor: Any) -> Any:
        return bfloat16.received(tensor) if tensor.name() in self._bfloats else tensor.as_numpy()

    def _tensor(self, name: str, array: Any) -> Any:
        if name in self._bfloats:
            return pb_utils.Tensor.from_dlpack(name, bfloat16.value(array))
        return pb_utils.Tensor(name, array)

    def _response(self, request: Any, answer: Mapping[str, Any]) -> Any:
        if self._states:
            self._states.keep(request.correlation_id(), request.flags(), answer)
            answer = {name: answer[name] for name in request.requested_output_names() if name in answer}
        return pb_utils.InferenceResponse([self._tensor(name, array) for name, array in answer.items()])

    def finalize(self) -> None:
        """Free the graph."""
        self._runner = None


def _completed(given: Any) -> Any:
    config = given.as_dict()
    if rules.entries(config, "input") and rules.entries(config, "output"):
        return given
    name = str(config.get("name", ""))
    wrong: list[str] = []
    default = options.default_batch(options.server_flags(), wrong)
    if wrong:
        raise rules.ConfigError(name, wrong)
    path = _graph_file(Path(pb_utils.get_model_dir()), config)
    try:
        graph = engines.signature(path, options.op_libraries(config))
    except engines.GraphError as error:
        raise rules.ConfigError(name, [str(error)]) from None
    # Written into the dict itself, because add_input() refuses a reshape, which scalars need.
    config.update(rules.complete(config, graph, default))
    return given


def _unforeseen(model: str, error: Exception) -> Exception:
    """Return an error that hides the text of another one, because Triton shows it to whoever asked for the load."""
    pb_utils.Logger.log_error(f"{model}: {''.join(traceback.format_exception(error))}")
    problem = f"{type(error).__name__} in the ONNX Runtime backend; the server's log has it"
    return rules.ConfigError(model, [problem])


def _disagreements(config: Mapping[str, Any], path: Path) -> list[str]:
    """Return what else is wrong with a config that cannot be served anyway."""
    try:
        return rules.problems(config, engines.signature(path, options.op_libraries(config)))
    except engines.GraphError:
        return []


def _graph_file(folder: Path, config: Mapping[str, Any]) -> Path:
    """Return <version>/model.onnx, or the file that default_model_filename names.

    A folder of that name holds model.onnx and its data. `cc_model_filenames` chooses by the compute capability of a GPU
    and does not matter on a CPU.
    """
    name = config.get("default_model_filename") or "model.onnx"
    path = folder / name
    if path.is_dir():
        name, path = f"{name}/model.onnx", path / "model.onnx"
    if not path.is_file():
        model = str(config.get("name", ""))
        place = f"{model}/{folder.name}/{name}"
        problem = f"unable to find '{place}'; put the graph there, or set default_model_filename"
        raise rules.ConfigError(model, [problem])
    return path


def _refusal(message: str, code: int) -> Any:
    return pb_utils.InferenceResponse(error=pb_utils.TritonError(message, code))


# Triton adds where a failed load was raised. The path of this file must not reach whoever asked for the load.
for _method in (TritonPythonModel.initialize, TritonPythonModel.auto_complete_config):
    _method.__code__ = _method.__code__.replace(co_filename="onnxruntime/model.py")
