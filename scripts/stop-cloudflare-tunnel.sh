#!/bin/sh
# Takes the Cloudflare tunnel of the deployment NAME (main) away: plain HTTP again. On the
# target that TF_DIR names (terraform/ec2 unless it is set). For people who call it by name:
# `make ec2-cloudflare-stop` and `make ls-cloudflare-stop` do the same.
set -eu
cd "$(dirname "$0")/.."
case "${TF_DIR:-terraform/ec2}" in
  ec2 | */ec2 | */ec2/) exec make ec2-cloudflare-stop ;;
  lightsail | */lightsail | */lightsail/) exec make ls-cloudflare-stop ;;
  *) echo 'TF_DIR is terraform/ec2 or terraform/lightsail' >&2; exit 2 ;;
esac
