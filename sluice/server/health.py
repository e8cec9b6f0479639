"""Answers health checks by the standard protocol grpc.health.v1, on a port of its own, from true answers of the models.

    sluice serve --health-port 8003                       service "" is everything; "detect" is that verb
    python3 -m sluice.server.health 127.0.0.1:8003        exit code 0 if everything answers; for containers without curl

A model is SERVING if it answers and every model that it asks answers. A model that is lost, silent, wrong, unloaded or
being loaded is NOT_SERVING. So is everything before the first true answers and after the request to stop. Triton's own
'ready' plays no part. The port speaks plaintext, also if the server speaks TLS, because Kubernetes' probes want that.
It tells the names of models and whether they answer, nothing else.
"""

import argparse
import sys
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

from sluice.server import ports
from sluice.server.layout import StartError

PORT = 8003
MOST = 64  # calls at a time; who watches holds one
_STATES = {True: health_pb2.HealthCheckResponse.SERVING, False: health_pb2.HealthCheckResponse.NOT_SERVING}


class Health:
    """Serve grpc.health.v1. Every service is NOT_SERVING until `tell` says otherwise.

    host, port: IPv4 address to listen on. Port 0 is any free one. Raises StartError if the port cannot be opened.
    at:         "host:port" to ask at.
    """

    def __init__(self, host: str, port: int) -> None:
        if not 0 <= port <= 65535:
            raise StartError(f"health port {port} is no port number; give one of 1 to 65535 with --health-port, 0: any")
        why = ports.trouble(host, port) if port else None
        if why:
            raise StartError(
                f"health port {port} on {host} {why}; choose another with --health-port, or stop what runs there"
            )
        pool = ThreadPoolExecutor(4, thread_name_prefix="health")
        self._servicer = health.HealthServicer(experimental_non_blocking=True, experimental_thread_pool=pool)
        self._server = grpc.server(pool, options=[("grpc.so_reuseport", 0)], maximum_concurrent_rpcs=MOST)
        health_pb2_grpc.add_HealthServicer_to_server(self._servicer, self._server)
        self._told: dict[str, bool] = {}
        try:
            bound = self._server.add_insecure_port(f"{host}:{port}")
        except RuntimeError:
            raise StartError(f"cannot listen on {host}:{port} for health; choose another with --health-port") from None
        self.at = f"{'127.0.0.1' if host == '0.0.0.0' else host}:{bound}"
        self.tell({"": False})
        self._server.start()

    def tell(self, answers: Mapping[str, bool]) -> None:
        """Set the states of services by name; "" stands for all models together."""
        for name, good in answers.items():
            if self._told.get(name) is not good:
                self._told[name] = good
                self._servicer.set(name, _STATES[good])

    def stopping(self) -> None:
        """Set everything to NOT_SERVING for good; `tell` has no effect from now on."""
        self._servicer.enter_graceful_shutdown()

    def close(self) -> None:
        """Stop listening."""
        self._server.stop(0.2).wait()


def serving(at: str, name: str = "", seconds: float = 4.0) -> str:
    """Ask the service at "host:port" about `name`. Returns "SERVING", "NOT_SERVING", or why there is no answer."""
    with grpc.insecure_channel(at) as channel:
        request = health_pb2.HealthCheckRequest(service=name)
        try:
            answer = health_pb2_grpc.HealthStub(channel).Check(request, timeout=seconds)
        except grpc.RpcError as error:
            known = error.code() is not grpc.StatusCode.NOT_FOUND
            return (error.details() or error.code().name) if known else f"no model {name} is served here"
    return health_pb2.HealthCheckResponse.ServingStatus.Name(answer.status)


def main(argv: Sequence[str] | None = None) -> int:
    """Run `python3 -m sluice.server.health`: print what the service says. Returns 0 for SERVING, else 1."""
    parser = argparse.ArgumentParser(prog="python3 -m sluice.server.health", description=__doc__.partition("\n")[0])
    parser.add_argument(
        "at",
        nargs="?",
        metavar="HOST:PORT",
        default=f"127.0.0.1:{PORT}",
        help=f"where it listens (default: 127.0.0.1:{PORT})",
    )
    parser.add_argument("--model", metavar="NAME", default="", help="a verb or another model (default: all)")
    given = parser.parse_args(argv)
    said = serving(given.at, given.model)
    print(said)
    return int(said != "SERVING")


if __name__ == "__main__":
    sys.exit(main())
