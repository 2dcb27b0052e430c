#!/bin/sh
# Brings a machine and its gateway to what the settings say now: the deployment NAME (main), on the
# target that TF_DIR names (terraform/ec2 unless it is set). For people who call it by name:
# `make deploy-ec2` and `make deploy-ls` do the same.
set -eu
cd "$(dirname "$0")/.."
case "${TF_DIR:-terraform/ec2}" in
  ec2 | */ec2 | */ec2/) exec make deploy-ec2 ;;
  lightsail | */lightsail | */lightsail/) exec make deploy-ls ;;
  *) echo 'TF_DIR is terraform/ec2 or terraform/lightsail' >&2; exit 2 ;;
esac
