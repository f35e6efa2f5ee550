# docs/deploying.md says how it is run, and what of it was checked.

FROM python:3.12-slim AS build
RUN python -m venv /opt/venv
COPY requirements.txt /build/
RUN /opt/venv/bin/pip install --no-cache-dir --disable-pip-version-check -r /build/requirements.txt
# The CLI that the tests run, or another one: a version of the package whose wheel brings it.
COPY requirements-cli.txt /build/
ARG CLAUDE_AGENT_SDK=
RUN if [ -n "$CLAUDE_AGENT_SDK" ]; then \
        echo "claude-agent-sdk==$CLAUDE_AGENT_SDK" > /build/requirements-cli.txt; \
    fi \
    && python -m pip install --no-cache-dir --disable-pip-version-check --no-deps --target /build/sdk \
        -r /build/requirements-cli.txt \
    && install -m 0755 /build/sdk/claude_agent_sdk/_bundled/claude /build/claude

FROM python:3.12-slim
# An init: the CLI's orphans are reaped, and a signal counts from the first moment on.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install -y --no-install-recommends tini \
    && rm -rf /var/lib/apt/lists/*
# /root/.claude is where people mount their login. It must be within reach of every user that --user names, and
# stand for itself where nothing is mounted.
RUN useradd --uid 1000 --no-create-home --home-dir /root claude \
    && chmod 0755 /root \
    && install -d -m 1777 /root/.claude
COPY --from=build /opt/venv /opt/venv
COPY --from=build /build/claude /usr/local/bin/claude
WORKDIR /app
COPY . .
# PORT and CLAUDE_WRAPPER_HOST are the names that give way to CLAUDE_API_PORT and CLAUDE_API_HOST.
ENV PATH=/opt/venv/bin:/usr/local/bin:/usr/bin:/bin \
    HOME=/root \
    LANG=C.UTF-8 \
    PYTHONDONTWRITEBYTECODE=1 \
    CLAUDE_CONFIG_DIR=/root/.claude \
    CLAUDE_STATE_DIR=/root/.claude/claude-api \
    CLAUDE_WRAPPER_HOST=0.0.0.0 \
    PORT=8000
USER 1000:1000
EXPOSE 8000
HEALTHCHECK --interval=30s --timeout=5s --start-period=90s \
    CMD ["python", "deploy/docker/health.py"]
ENTRYPOINT ["tini", "--", "deploy/docker/entrypoint.sh"]
