# The image contains only Python, the service and its packages. Any base image with Python 3.11 or newer works if its
# venv module can create an environment:
#   docker build --tag checkpoint-ready --build-arg REVISION=$(git rev-parse HEAD) .
# With tracing: --build-arg EXTRAS=otel. With `checkpoint-ready poll`, or the trigger and the public
# keys of `ingest`: --build-arg EXTRAS=sources. For tokens of OAUTHBEARER: aws, azure, gcp, or oauth (private_key_jwt)
# Pass settings of pip (another index, the certificate of a proxy) as secrets, which leave no trace in the image:
#   --secret id=pip.conf,src=pip.conf --secret id=ca.pem,src=ca.pem      with `cert = /run/secrets/ca.pem` in pip.conf
ARG BASE=python:3.11-slim-bookworm

FROM ${BASE} AS build
# A compiler for the C extension. It is optional: without it the image has the slower pure-Python table of the ids.
RUN if command -v apt-get && ! command -v gcc; then \
        include=$(python3 -c 'import sysconfig; print(sysconfig.get_path("include"))'); \
        { apt-get update && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends gcc libc6-dev \
            $([ -f "$include/Python.h" ] || echo python3-dev); } || echo "the image is built without a compiler"; \
    fi
# pip is in a separate environment that the final image does not contain.
RUN python3 -m venv /tools && python3 -m venv --without-pip /opt/checkpoint-ready
WORKDIR /source
COPY requirements/aws.txt requirements/azure.txt requirements/build.txt requirements/gcp.txt requirements/oauth.txt \
    requirements/otel.txt requirements/runtime.txt requirements/sources.txt requirements/
ARG EXTRAS=
RUN --mount=type=secret,id=pip.conf,target=/etc/pip.conf --mount=type=secret,id=ca.pem \
    /tools/bin/python -m pip install --no-cache-dir --only-binary :all: --require-hashes -r requirements/build.txt \
    && /tools/bin/python -m pip --python /opt/checkpoint-ready/bin/python install --no-cache-dir --only-binary :all: \
        --require-hashes -r requirements/runtime.txt ${EXTRAS:+-r requirements/$EXTRAS.txt}
COPY pyproject.toml README.md LICENSE ./
COPY consumer consumer
COPY schemas schemas
RUN /tools/bin/python -m pip wheel --no-index --no-deps --no-build-isolation --wheel-dir dist . \
    && /tools/bin/python -m pip --python /opt/checkpoint-ready/bin/python install --no-index --no-deps dist/*.whl

FROM ${BASE}
COPY --from=build /opt/checkpoint-ready /opt/checkpoint-ready
# Base images contain a pip, which is removed. Most omit the bytecode of the standard library, and a read-only root file
# system does not allow Python to write it later. One import as root writes the bytecode that the service loads, so no
# start has to compile it.
RUN cd /usr/local/lib && rm -rf python3*/ensurepip python3*/site-packages/* ../bin/pip* ../bin/wheel* \
    && cd /usr/lib && rm -rf python3*/ensurepip python3/dist-packages/pip* python3/dist-packages/setuptools* \
        ../share/python-wheels ../bin/pip* \
    && /opt/checkpoint-ready/bin/python -c "import consumer.cli, consumer.service.app, consumer.service.http"
ENV PATH=/opt/checkpoint-ready/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1
# A number, because Kubernetes cannot check whether a name is root.
USER 65532:65532
WORKDIR /
EXPOSE 8080
# No shell: the service itself is process 1 and receives SIGTERM.
ENTRYPOINT ["/opt/checkpoint-ready/bin/checkpoint-ready"]
CMD ["run"]

# Last, because the labels change with every commit and the layers above do not.
ARG VERSION=0.1.0
ARG REVISION=unknown
ARG SOURCE=unknown
LABEL org.opencontainers.image.title="checkpoint-ready" \
      org.opencontainers.image.description="Publishes each fine-tuning checkpoint as a ready event on Kafka exactly once" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.source="${SOURCE}" \
      org.opencontainers.image.licenses="Apache-2.0"
