#!/bin/sh
# Makes a fresh Amazon Linux 2023 ready for a gateway. cloud-init runs it as root at the first boot.
# Running it again is safe: each step looks before it acts.
#
# How far it is stands in /var/lib/openclaw-pipeline/boot.json, one line that is replaced as a whole;
# what it did, in /var/log/openclaw-pipeline/boot.log; the pull of the image, in pull.log beside it.
#
# Terraform fills in the names in braces. They are base64, whose letters mean nothing to a shell.
# Braces stand after a dollar nowhere else.
set -eu
umask 022
export HOME=/root PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin

decoded() { printf %s "$1" | base64 -d; }

host_key=$(decoded "${host_key}")
image=$(decoded "${image}")
compose_version=$(decoded "${compose_version}")
compose_sha256_x86_64=$(decoded "${compose_sha256_x86_64}")
compose_sha256_aarch64=$(decoded "${compose_sha256_aarch64}")

state=/var/lib/openclaw-pipeline
logs=/var/log/openclaw-pipeline
mkdir -p "$state" "$logs"

# ------------------------------------------------------------------- telling

# report STATE STEP MESSAGE. What a tool printed is cut down to what a JSON string can hold.
report() {
  text=$(printf %s "$3" | LC_ALL=C tr -cd '[:print:]' | cut -c1-300 | sed 's/[\\"]/\\&/g')
  printf '{"state":"%s","step":"%s","message":"%s"}\n' "$1" "$2" "$text" >"$state/boot.json.new"
  mv -f "$state/boot.json.new" "$state/boot.json"
}

step() {
  current=$1
  printf '== %s: %s\n' "$1" "$2"
  report running "$1" "$2"
}

ended() {
  code=$?
  trap - EXIT
  [ "$code" -ne 0 ] || exit 0
  report failed "$current" "$(grep -v '^[[:space:]]*$' "$logs/boot.log" | tail -n 1)"
  printf 'openclaw-pipeline: step %s failed with %s\n' "$current" "$code" >&3
  tail -n 20 "$logs/boot.log" >&3
  exit "$code"
}

fail() {
  echo "$1"
  return 1
}

# retry TRIES COMMAND…: the machine's address may still change under its first downloads.
retry() {
  left=$1 pause=2
  shift
  until "$@"; do
    left=$((left - 1))
    [ "$left" -gt 0 ] || return 1
    sleep "$pause"
    pause=$((pause * 2))
  done
}

# --------------------------------------------------------------------- steps

# The first connection knows the machine by a key that was sent along. It serves that once: over it
# the machine's own key is read, and openclaw-pipeline-own-host-key puts that in its place.
ssh_server() {
  settings=/etc/ssh/sshd_config.d/00-openclaw-pipeline
  mkdir -p /etc/ssh/sshd_config.d
  grep -Eqi '^[[:space:]]*include[[:space:]]+/etc/ssh/sshd_config\.d/' /etc/ssh/sshd_config ||
    sed -i '1i Include /etc/ssh/sshd_config.d/*.conf' /etc/ssh/sshd_config
  printf 'PasswordAuthentication no\nKbdInteractiveAuthentication no\n' >"$settings.conf"
  # Once only: on a later run the machine has long had its own.
  if [ -n "$host_key" ] && [ ! -e "$state/host-key" ]; then
    once=/etc/ssh/openclaw-one-time-host-key own=/etc/ssh/openclaw-own-host-key
    (umask 077 && printf '%s\n' "$host_key" >"$once")
    ssh-keygen -y -f "$once" >"$once.pub"
    [ -e "$own" ] || ssh-keygen -q -t ed25519 -N '' -C openclaw-pipeline -f "$own"
    switch=/usr/local/sbin/openclaw-pipeline-own-host-key
    cat >"$switch" <<'END'
#!/bin/sh
# From the one-time host key to the machine's own. Safe to run again.
set -eu
echo 'HostKey /etc/ssh/openclaw-own-host-key' >/etc/ssh/sshd_config.d/00-openclaw-pipeline-host-key.conf
sshd -t
systemctl restart sshd
rm -f /etc/ssh/openclaw-one-time-host-key /etc/ssh/openclaw-one-time-host-key.pub
END
    chmod 755 "$switch"
    # Host keys add up, so no other may be named.
    sed -i 's/^[[:space:]]*HostKey[[:space:]]/#&/I' /etc/ssh/sshd_config /etc/ssh/sshd_config.d/*.conf
    echo "HostKey $once" >"$settings-host-key.conf"
    [ "$(sshd -T | sed -n 's/^hostkey //p')" = "$once" ] || fail 'sshd would show another host key'
    touch "$state/host-key"
  fi
  sshd -T | grep -qx 'passwordauthentication no' || fail 'sshd would take passwords'
  systemctl restart sshd
}

# No container reads the instance's metadata: what a gateway runs, an AI chose. Before each start of
# the engine, so before any container.
block_metadata() {
  block=/usr/local/sbin/openclaw-pipeline-block-metadata
  cat >"$block" <<'END'
#!/bin/sh
set -eu
iptables -w 30 -n -L DOCKER-USER >/dev/null 2>&1 || iptables -w 30 -N DOCKER-USER
iptables -w 30 -C DOCKER-USER -d 169.254.169.254/32 -j DROP 2>/dev/null ||
  iptables -w 30 -I DOCKER-USER -d 169.254.169.254/32 -j DROP
END
  chmod 755 "$block"
  mkdir -p /etc/systemd/system/docker.service.d
  printf '[Service]\nExecStartPre=%s\n' "$block" \
    >/etc/systemd/system/docker.service.d/openclaw-pipeline.conf
  systemctl daemon-reload
  "$block"
}

docker_engine() {
  command -v docker >/dev/null 2>&1 || retry 5 dnf install -y docker
  mkdir -p /etc/docker
  block_metadata
  if [ ! -e /etc/docker/daemon.json ]; then
    cat >/etc/docker/daemon.json.new <<'END'
{
  "log-driver": "json-file",
  "log-opts": { "max-size": "10m", "max-file": "3" },
  "live-restore": true
}
END
    mv /etc/docker/daemon.json.new /etc/docker/daemon.json
    systemctl try-restart docker
  fi
  systemctl enable docker
  systemctl start docker
  if id ec2-user >/dev/null 2>&1; then usermod -aG docker ec2-user; fi
  docker version
}

# Beside the other steps. An image that is there is kept, whatever its tag names by now.
pull_image() {
  [ -n "$image" ] || return 0
  if docker image inspect "$image" >/dev/null 2>&1; then return 0; fi
  # One pull at a time: that of an earlier run may still go on, and holds this for as long.
  exec 8>"$state/pull-lock"
  if flock -n 8; then
    (
      trap '' HUP
      exec 3>&- 9>&- </dev/null >"$logs/pull.log" 2>&1
      if retry 6 docker pull "$image"; then
        echo "openclaw-pipeline: pulled $image"
      else
        echo "openclaw-pipeline: failed to pull $image"
      fi
    ) &
  fi
  exec 8>&-
}

fetch_compose() {
  curl --fail --silent --show-error --location --proto =https --connect-timeout 10 --max-time 300 \
    --output "$plugins/docker-compose.new" \
    "https://github.com/docker/compose/releases/download/v$compose_version/docker-compose-linux-$machine" &&
    echo "$sha256  $plugins/docker-compose.new" | sha256sum --check
}

compose_plugin() {
  if docker compose version || docker-compose version; then return 0; fi
  machine=$(uname -m)
  case $machine in
    x86_64) sha256=$compose_sha256_x86_64 ;;
    aarch64) sha256=$compose_sha256_aarch64 ;;
    *) fail "there is no Docker Compose for $machine" ;;
  esac
  plugins=/usr/local/lib/docker/cli-plugins
  mkdir -p "$plugins"
  retry 5 fetch_compose
  chmod 755 "$plugins/docker-compose.new"
  mv -f "$plugins/docker-compose.new" "$plugins/docker-compose"
  docker compose version
}

# A machine that is sold with 4 GB shows some 3.9 million of them.
swap_file() {
  memory_kib=$(sed -n 's/^MemTotal: *\([0-9]*\) kB$/\1/p' /proc/meminfo)
  if [ "$memory_kib" -ge 3500000 ] || grep -q '^/swapfile ' /proc/swaps; then return 0; fi
  if [ ! -e /swapfile ]; then
    (umask 077 && dd if=/dev/zero of=/swapfile.new bs=1M count=2048)
    mkswap /swapfile.new
    mv /swapfile.new /swapfile
  fi
  grep -q '^/swapfile ' /etc/fstab || echo '/swapfile none swap defaults 0 0' >>/etc/fstab
  swapon /swapfile
}

# ----------------------------------------------------------------------- all

# What is said here goes to the log, and the end of a failure to cloud-init's as well.
current=begin
exec 3>&1 9>"$state/lock" >>"$logs/boot.log" 2>&1
flock 9
trap ended EXIT
trap 'exit 143' HUP INT TERM

step ssh 'preparing the SSH server'
ssh_server
step docker 'installing Docker'
docker_engine
step pull 'beginning to pull the image'
pull_image
step compose 'installing Docker Compose'
compose_plugin
step swap 'looking at the memory'
swap_file
report 'done' 'done' 'ready'
