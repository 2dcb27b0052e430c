# What is done on the pipeline server's own machine, as root: `sh -c THIS sh VERB ARGUMENT…`, sent by
# SSH. Each verb looks before it acts and can be told twice; what replaces something does so as a
# whole. No argument is a secret: those come on standard input.
#
#   programs/SHA256      what was shipped, by its digest
#   releases/ID/         what one deploy brought: links to its programs, unit, settings
#   current              the release that is in force
set -eu
umask 022
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
base=/usr/local/lib/openclaw-pipeline
etc=/etc/openclaw-pipeline
units=/etc/systemd/system
unit=openclaw-pipeline
data=/var/lib/openclaw-pipeline/server

digest() { sha256sum "$1" | cut -d ' ' -f 1; }

# link TARGET PATH
link() {
  ln -sfn "$1" "$2.new"
  mv -fT "$2.new" "$2"
}

# replace FROM PATH
replace() {
  install -D -m 644 "$1" "$2.new"
  mv -f "$2.new" "$2"
}

# last_words PID SINCE: the last line that a process wrote which has ended, and not what systemd says
# of it. The journal knows the unit of its lines only where it looked before the process was gone,
# and may take a line in after that.
last_words() {
  for _ in 1 2 3 4 5 6 7 8 9 10; do
    journalctl --sync 2>/dev/null || true
    line=$(journalctl --no-pager --output=cat --since="@$2" "_PID=$1" _TRANSPORT=stdout |
      grep -v '^[[:space:]]*$' | tail -n 1)
    if [ -n "$line" ]; then
      printf '%s\n' "$line"
      return
    fi
    sleep 0.2
  done
}

verb=$1
shift
case $verb in
  # has SHA256: whether that program is there.
  has)
    [ -f "$base/programs/$1" ] && [ "$(digest "$base/programs/$1")" = "$1" ]
    ;;

  # program SHA256: takes one in.
  program)
    mkdir -p "$base/programs"
    path=$base/programs/$1
    cat >"$path.new"
    if [ "$(digest "$path.new")" != "$1" ]; then
      rm -f "$path.new"
      echo 'what arrived is not what was sent' >&2
      exit 1
    fi
    chmod 755 "$path.new"
    mv -f "$path.new" "$path"
    ;;

  # file RELEASE NAME MODE: takes a file of a release in.
  file)
    mkdir -p "$base/releases/$1"
    path=$base/releases/$1/$2
    (umask 077 && cat >"$path.new")
    chmod "$3" "$path.new"
    mv -f "$path.new" "$path"
    ;;

  # prepare RELEASE PROGRAM TERRAFORM: the links to its programs; user, key and directories.
  prepare)
    release=$base/releases/$1
    link "../../programs/$2" "$release/openclaw-pipeline"
    link "../../programs/$3" "$release/terraform"
    replace "$release/openclaw-pipeline.sysusers" /etc/sysusers.d/openclaw-pipeline.conf
    systemd-sysusers /etc/sysusers.d/openclaw-pipeline.conf
    mkdir -p "$etc"
    if [ ! -s "$etc/sealing.key" ]; then
      (umask 077 && head -c 32 /dev/urandom | base64 >"$etc/sealing.key.new")
      mv -f "$etc/sealing.key.new" "$etc/sealing.key"
    fi
    ;;

  # current: the release in force; nothing where there is none.
  current)
    if [ -L "$base/current" ]; then basename "$(readlink "$base/current")"; fi
    ;;

  # run RELEASE ARGUMENT…: its program, as the service runs it.
  run)
    program=$base/releases/$1/openclaw-pipeline
    shift
    own=$unit-$$
    exec systemd-run --quiet --pipe --wait --collect --unit="$own" --service-type=exec \
      --property=User="$unit" --property=Group="$unit" --property=UMask=0077 \
      --property=StateDirectory=openclaw-pipeline/server --property=StateDirectoryMode=0700 \
      --property=WorkingDirectory="$data" --property=NoNewPrivileges=yes \
      --property=LoadCredential=sealing.key:"$etc/sealing.key" \
      --setenv=OPENCLAW_PIPELINE_HOME="$data" --setenv=XDG_CONFIG_HOME=/etc \
      --setenv=OPENCLAW_PIPELINE_KEY_FILE="/run/credentials/$own.service/sealing.key" \
      "$program" "$@"
    ;;

  # switch RELEASE: puts it in force, and waits until it takes work.
  switch)
    test -x "$base/releases/$1/openclaw-pipeline"
    link "releases/$1" "$base/current"
    link "$base/current/openclaw-pipeline" /usr/local/bin/openclaw-pipeline
    link "$base/current/terraform" /usr/local/bin/terraform
    link "$base/current/server.env" "$etc/server.env"
    replace "$base/current/openclaw-pipeline.service" "$units/$unit.service"
    replace "$base/current/machine.conf" "$units/$unit.service.d/machine.conf"
    systemctl daemon-reload
    systemctl enable --quiet "$unit"
    systemctl reset-failed "$unit" 2>/dev/null || true
    began=$(date +%s)
    if ! systemctl restart "$unit" 2>/dev/null; then
      # Both by one look: systemd tries again by itself.
      ended=$(systemctl show --property=ExecMainPID,ExecMainStatus "$unit")
      pid=$(echo "$ended" | sed -n 's/^ExecMainPID=//p')
      echo "it ended with $(echo "$ended" | sed -n 's/^ExecMainStatus=//p')" >&2
      last_words "$pid" "$began" >&2
      exit 1
    fi
    ;;

  # prune RELEASE PREVIOUS: removes all others, and what only they need.
  prune)
    for path in "$base"/releases/*; do
      case ${path##*/} in "$1" | "$2") ;; *) rm -rf "$path" ;; esac
    done
    for path in "$base"/programs/*; do
      used=
      for one in "$base"/releases/*/openclaw-pipeline "$base"/releases/*/terraform; do
        [ "$(readlink "$one")" != "../../programs/${path##*/}" ] || used=1
      done
      [ -n "$used" ] || rm -f "$path"
    done
    ;;

  # stop: lets what runs come to its end as a restart does, and nothing begins any more.
  stop)
    systemctl disable --quiet "$unit" 2>/dev/null || true
    systemctl stop "$unit"
    ;;

  *)
    echo "no such verb: $verb" >&2
    exit 2
    ;;
esac
