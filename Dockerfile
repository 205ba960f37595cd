# One image for every process; which one it is, the command says (docker-compose.yml).
FROM python:3.13-slim AS build
WORKDIR /src
COPY . .
RUN python -m venv /opt/relay \
 && /opt/relay/bin/pip install --no-cache-dir --constraint constraints.txt ".[server]"

FROM python:3.13-slim
RUN useradd --system --uid 10001 --no-create-home --shell /usr/sbin/nologin relay
COPY --from=build /opt/relay /opt/relay
ENV PATH=/opt/relay/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
USER 10001
WORKDIR /tmp
EXPOSE 8000 5555
# Of the API; compose and Kubernetes have one for each process.
HEALTHCHECK --interval=10s --timeout=5s --start-period=20s \
    CMD ["python", "-c", "import urllib.request as u; u.urlopen('http://127.0.0.1:8000/healthz', timeout=3)"]
CMD ["relay", "--help"]
