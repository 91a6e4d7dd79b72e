# syntax=docker/dockerfile:1
# One process: API on 8080, metrics on 2112, tasks in /data. Mount your own tasks over /app/handlers.
FROM python:3.13-slim AS build
COPY requirements.txt /
RUN python -m venv /opt/taskqueue && /opt/taskqueue/bin/pip install --no-cache-dir --require-hashes --requirement /requirements.txt

FROM python:3.13-slim
LABEL org.opencontainers.image.title="taskqueue" org.opencontainers.image.licenses="MIT"
RUN useradd --system --uid 10001 --home-dir /app taskqueue \
    && mkdir /data && chown taskqueue /data
COPY --from=build /opt/taskqueue /opt/taskqueue
COPY taskqueue.py /app/
COPY _taskqueue /app/_taskqueue
COPY handlers /app/handlers
RUN /opt/taskqueue/bin/python -m compileall -q /app
WORKDIR /app
USER taskqueue
ENV PATH=/opt/taskqueue/bin:$PATH PYTHONUNBUFFERED=1 TASKQUEUE_DATA_DIR=/data
VOLUME /data
EXPOSE 8080 2112
HEALTHCHECK --interval=10s --timeout=3s --start-period=5s \
    CMD ["python", "-c", "import urllib.request as u; u.urlopen('http://127.0.0.1:2112/readyz', timeout=2)"]
ENTRYPOINT ["python", "taskqueue.py"]
CMD ["--role", "all", "--host", "0.0.0.0"]
