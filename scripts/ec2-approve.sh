#!/bin/sh
# Lets the browsers in that wait for the deployment NAME (main), on the target that TF_DIR names
# (terraform/ec2 unless it is set). For people who call it by name: `make ec2-approve` and
# `make ls-approve` do the same.
set -eu
cd "$(dirname "$0")/.."
case "${TF_DIR:-terraform/ec2}" in
  ec2 | */ec2 | */ec2/) exec make ec2-approve ;;
  lightsail | */lightsail | */lightsail/) exec make ls-approve ;;
  *) echo 'TF_DIR is terraform/ec2 or terraform/lightsail' >&2; exit 2 ;;
esac
