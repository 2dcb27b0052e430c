#!/bin/sh
# Makes .env for the local Docker gateway, and keeps one that is there. With --from-config it is
# made from ./openclaw.json instead. For people who call it by name: `make setup-docker-env` and
# `make clone-config` do the same. Secrets come from the environment, never as an argument.
set -eu
cd "$(dirname "$0")/.."
case "$#:${1:-}" in
  0:) exec make setup-docker-env ;;
  1:--from-config) exec make clone-config ;;
  *) echo 'usage: scripts/setup-docker-env.sh [--from-config]' >&2; exit 2 ;;
esac
