# Two images from one file: `web` (Gradio, no torch) and `worker` (torch, no Gradio). Versions are those of requirements.txt.
# Packages and Nearmiss itself are layers of their own, so that an upgrade does not fetch gigabytes again.
ARG BASE_IMAGE=python:3.11-slim-bookworm

FROM ${BASE_IMAGE} AS build
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
WORKDIR /src
RUN python3 -m venv /opt/nearmiss && echo /own > "$(/opt/nearmiss/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/own.pth"
COPY requirements.txt pyproject.toml ./
# named in pyproject.toml; copied, a change of theirs would fetch the packages again
RUN touch README.md LICENSE NOTICE

FROM build AS own
COPY . .
RUN /opt/nearmiss/bin/pip install --no-deps --target /own .

# without our code there is nothing to install but what it needs
FROM build AS build-web
RUN /opt/nearmiss/bin/pip install --constraint requirements.txt ".[ui,s3]" && /opt/nearmiss/bin/pip uninstall -y nearmiss

FROM build AS build-worker
# a CPU-only PyTorch: --build-arg TORCH_INDEX=…
ARG TORCH_INDEX=""
RUN /opt/nearmiss/bin/pip install ${TORCH_INDEX:+--extra-index-url "$TORCH_INDEX"} --constraint requirements.txt ".[worker,demo,s3]" \
    && /opt/nearmiss/bin/pip uninstall -y nearmiss

FROM ${BASE_IMAGE} AS run
RUN useradd --uid 10001 --create-home nearmiss && install -d -o nearmiss /data
ENV PATH=/own/bin:/opt/nearmiss/bin:$PATH PYTHONUNBUFFERED=1 NEARMISS_HOME=/data
USER 10001
WORKDIR /data
VOLUME /data

FROM run AS web
COPY --from=build-web /opt/nearmiss /opt/nearmiss
COPY --from=own /own /own
EXPOSE 7860
CMD ["nearmiss", "web"]

FROM run AS worker
COPY --from=build-worker /opt/nearmiss /opt/nearmiss
COPY --from=own /own /own
CMD ["nearmiss", "worker", "cpu"]
