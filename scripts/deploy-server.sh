#!/bin/sh
# Brings the pipeline server to its own machine, and both to what the settings say now, on the cloud
# that TF_DIR names (terraform/ec2 unless it is set). For people who call it by name:
# `make server-deploy` and `make server-ls-deploy` do the same.
set -eu
cd "$(dirname "$0")/.."
case "${TF_DIR:-terraform/ec2}" in
  ec2 | */ec2 | */ec2/) exec make server-deploy ;;
  lightsail | */lightsail | */lightsail/) exec make server-ls-deploy ;;
  *) echo 'TF_DIR is terraform/ec2 or terraform/lightsail' >&2; exit 2 ;;
esac
