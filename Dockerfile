# The production image: NVIDIA's Triton with its C++ backends, the two repositories, and `sluice serve` in front.
#
#   make export && docker build -t sluice .
#   docker run --rm --gpus all --shm-size 2g -p 127.0.0.1:8001:8001 -v sluice-gallery:/gallery sluice
#
# To build engines for this machine's GPU, once, into a volume that the server then gets with the same -v:
#
#   docker run --rm --gpus all -u root -v sluice-models:/opt/sluice/model_repository --entrypoint sluice sluice \
#       export --format plan
#
# With a read-only root file system add: --read-only --tmpfs /tmp
# 25.07 is the oldest release without known remote-code flaws in Triton's HTTP server and Python backend.
FROM nvcr.io/nvidia/tritonserver:26.07-py3

# The packages that the models import. The image has its own Triton, so nvidia-pytriton is not needed, nor is torch.
RUN python3 -m pip install --no-cache-dir --break-system-packages \
        "numpy>=1.26" "pillow>=10" "onnx>=1.16" "onnxruntime>=1.20" "tritonclient[grpc]>=2.60" "tqdm>=4.66" \
        "ftfy>=6.1" "regex>=2023.12" "av>=18" "grpcio-health-checking>=1.60" "shtab>=1.13" "jinja2>=3.1"

# The package lies beside the repositories, where it looks for them.
WORKDIR /opt/sluice
COPY pyproject.toml README.md LICENSE NOTICE ./
COPY sluice sluice
COPY clients clients
RUN python3 -m pip install --no-cache-dir --break-system-packages --no-deps --editable .
# ROOT=roots/free takes the engines of the weights for commercial use (docs/commercial.md).
ARG ROOT=.
COPY ${ROOT}/model_repository model_repository
COPY ${ROOT}/ensembles ensembles
# `sluice export --format plan` builds TensorRT engines from model.onnx on the GPU that runs them, without torch.
COPY export export

# Root owns code and models; the server may write nothing but the gallery and /tmp.
RUN install -d -o triton-server -g triton-server /gallery
VOLUME /gallery
USER triton-server
WORKDIR /gallery
ENV PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1

EXPOSE 8000 8001 8002 8003
# Healthy means that every model answers correctly, by grpc.health.v1. Kubernetes asks port 8003 itself; see
# docs/decisions/serving.md, Health.
HEALTHCHECK --start-period=120s --interval=30s --timeout=10s CMD ["python3", "-m", "sluice.server.health"]
# Running requests get 8 s and unloading takes up to 4 s, but docker stop waits only 10 s by default, so use -t 15.
STOPSIGNAL SIGTERM

# `sluice serve` brings explicit models, no auto-completion, exit on error, strict readiness, administration behind a
# random key, and a watchdog. Give --admin-key to know the key, --profile cpu to serve model.onnx where a plan exists
# (--profile auto is the same here: bf16 belongs to the stand-in backend outside this image).
ENTRYPOINT ["python3", "-m", "sluice.server", "--root", "/opt/sluice", "--gallery", "/gallery", "--host", "0.0.0.0", "--show-log"]
CMD ["--profile", "gpu"]
