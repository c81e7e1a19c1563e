# The image of the harness: docker build -t agent-run-harness .
# For the Locust Kubernetes operator, whose images run locust: docker build --target locust -t agent-run-harness:locust .
# It works with a read-only root and any user: only /results and /tmp are written to.

FROM python:3.13 AS build
WORKDIR /src
COPY requirements-image.lock ./
RUN python -m venv --without-pip /opt/harness \
    && python -m pip --python /opt/harness install --no-cache-dir --require-hashes -r requirements-image.lock
COPY pyproject.toml README.md LICENSE ./
COPY harness ./harness
COPY conformance ./conformance
COPY locustfiles ./locustfiles
COPY reports ./reports
RUN python -m pip --python /opt/harness install --no-cache-dir --no-deps --no-build-isolation .

FROM python:3.13-slim AS runtime
COPY --from=build /opt/harness /opt/harness
RUN mkdir /results && chown 65532:65532 /results
ENV PATH="/opt/harness/bin:$PATH" \
    HOME=/tmp \
    MPLCONFIGDIR=/tmp \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1
WORKDIR /results
USER 65532:65532

FROM runtime AS locust
ENTRYPOINT ["locust"]

FROM runtime AS harness
ENTRYPOINT ["harness"]
CMD ["--help"]
