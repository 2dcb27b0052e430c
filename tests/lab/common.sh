# shellcheck shell=bash
# What every script of the lab shares: the versions, the places, the progress
# lines, and the one way to say that this machine cannot have a part.
# Sourced, never run.
#
# shellcheck disable=SC2034 # these are for the scripts that source this one

# The versions the lab is made of. This is the one place that names them.
LAB_CURRENT=2026.9.6
LAB_PREVIOUS=2026.9.5
# Only installed from npm, to hold the shipped configuration against them.
LAB_OLDER=(2026.8.1 2026.7.1)
LAB_NODE=24.21.0
LAB_SUITE=bookworm
LAB_TFLINT=0.64.0

LAB_REPOSITORY=ghcr.io/openclaw/openclaw
LAB_BASE_IMAGE=openclaw-lab/base:$LAB_SUITE
LAB_COMPILER_IMAGE=openclaw-lab/compiler:$LAB_SUITE
LAB_BUILDER_IMAGE=openclaw-lab/builder:$LAB_SUITE
LAB_SERVER_IMAGE=openclaw-lab/server:latest
LAB_SYSTEMD_IMAGE=openclaw-lab/systemd:$LAB_SUITE
LAB_INSTANCE_IMAGE=openclaw-lab/instance:$LAB_SUITE

LAB_SOURCE=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
LAB_HOME=${OPENCLAW_PIPELINE_LAB:-${XDG_CACHE_HOME:-$HOME/.cache}/openclaw-pipeline-lab}
LAB_LOG=$LAB_HOME/log
# The simulated cloud: its Python, Terraform's settings, the images' registry.
LAB_CLOUD=$LAB_HOME/cloud

# One engine per machine, wherever the cache stands. The path is short because
# a Unix socket's may not pass 107 bytes, and containerd nests its own below.
LAB_RUN=/run/openclaw-lab
LAB_SOCKET=$LAB_RUN/docker.sock
LAB_DOCKER_HOST=unix://$LAB_SOCKET

# Addresses that belong to the lab's engine alone.
LAB_BRIDGE=oclab0
LAB_NET=10.213.0.0/16
LAB_BRIDGE_CIDR=10.213.0.1/20
LAB_BRIDGE_MAC=02:0c:1a:b0:00:01
LAB_POOL=10.213.64.0/18

# Debian keeps dockerd, iptables and debootstrap there; a user's PATH may not.
PATH=$PATH:/usr/sbin:/sbin
export PATH

say() { printf 'lab: %s\n' "$*" >&2; }

die() {
  say "error: $*"
  exit 1
}

# skip REASON: a part this machine cannot have. That is a failure under CI, and
# a line that names the reason (and exit code 0) for anybody else.
skip() {
  say "skipped: $*"
  [[ ${CI:-} != true ]] || exit 1
  exit 0
}

# logged NAME COMMAND…: runs the command quietly; on failure shows the end of
# what it wrote, because that is where the reason stands.
logged() {
  local file=$LAB_LOG/$1.log
  shift
  mkdir -p "$LAB_LOG"
  if ! "$@" </dev/null >"$file" 2>&1; then
    tail -n 25 "$file" >&2
    die "'$1' failed; all of its output: $file"
  fi
}

# digest_of WORD…: a short name for a set of inputs. A word that is a file
# counts by its content.
digest_of() {
  local word
  for word in "$@"; do
    if [[ -f $word ]]; then cat "$word"; else printf '%s\n' "$word"; fi
  done | sha256sum | cut -c1-16
}
