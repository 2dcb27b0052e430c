#!/bin/sh
# Puts a Cloudflare tunnel with HTTPS in front of the gateway of the deployment NAME (main), on the
# target that TF_DIR names (terraform/ec2 unless it is set). For people who call it by name:
# `make ec2-cloudflare-tunnel` and `make ls-cloudflare-tunnel` do the same.
set -eu
cd "$(dirname "$0")/.."
case "${TF_DIR:-terraform/ec2}" in
  ec2 | */ec2 | */ec2/) exec make ec2-cloudflare-tunnel ;;
  lightsail | */lightsail | */lightsail/) exec make ls-cloudflare-tunnel ;;
  *) echo 'TF_DIR is terraform/ec2 or terraform/lightsail' >&2; exit 2 ;;
esac
