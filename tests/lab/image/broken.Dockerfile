# An image that cannot start: everything of the good one, but the command
# `gateway` exits 1 at once. What an update must notice and go back from.
ARG BASE
FROM $BASE
COPY --chown=node:node broken.mjs /app/broken.mjs
RUN mv /app/openclaw.mjs /app/openclaw-good.mjs && mv /app/broken.mjs /app/openclaw.mjs
ARG RECIPE
LABEL openclaw-pipeline.lab.recipe=$RECIPE
