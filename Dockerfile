# One image, three programs: plystra-authz, plystra-audit, plystractl. PostgreSQL's own programs are among the packages, for
# plystractl to back up with, and to test that a backup can be restored.
FROM python:3.11-slim AS build
WORKDIR /build
RUN python -m venv /opt/plystra
COPY requirements/build.txt requirements/image.txt requirements/
RUN pip install --no-cache-dir --require-hashes --requirement requirements/build.txt \
    && /opt/plystra/bin/pip install --no-cache-dir --require-hashes --requirement requirements/image.txt
COPY pyproject.toml README.md ./
COPY services services
COPY shared shared
COPY migrations migrations
RUN pip wheel --no-cache-dir --no-deps --no-build-isolation --wheel-dir dist . \
    && /opt/plystra/bin/pip install --no-cache-dir --no-deps --no-index dist/*.whl

FROM python:3.11-slim
RUN groupadd --gid 10001 plystra \
    && useradd --uid 10001 --gid 10001 --no-create-home --home-dir /nonexistent --shell /usr/sbin/nologin plystra \
    && install --directory --owner=plystra --group=plystra --mode=0700 /backups
# Belongs to root, and no byte code is written at run time: so the container's root may be read-only.
COPY --from=build /opt/plystra /opt/plystra
COPY --chmod=0755 deploy/entrypoint.sh /usr/local/bin/plystra-entrypoint
COPY --chmod=0755 deploy/migrate.sh /usr/local/bin/plystra-migrate
ENV PATH=/opt/plystra/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1
# Last, as they differ from build to build. Left out, they are empty here, and the entrypoint drops them.
ARG BUILD_COMMIT
ARG BUILD_TIME
ENV PLYSTRA_BUILD_COMMIT=$BUILD_COMMIT \
    PLYSTRA_BUILD_TIME=$BUILD_TIME
USER 10001:10001
STOPSIGNAL SIGTERM
ENTRYPOINT ["plystra-entrypoint"]
CMD ["plystractl", "--help"]
