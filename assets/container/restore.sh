# shellcheck shell=sh
# Puts the state and the workspace of an archive in place of the present ones, in a container that has
# the gateway's volumes. No part of it comes from outside.
#
# The archive is unpacked into the state's own volume, so that putting the state in place is renames on
# one file system. What was there is moved aside, and removed last: whatever ends this, the next run, or
# the end of this one, moves it back.
set -eu
workspace=/home/node/openclaw/workspace
cd /home/node/.openclaw

# back FROM INTO: moves what FROM holds into INTO, in the place of what came there since.
back() {
  for entry in "$1"/* "$1"/.[!.]*; do
    [ -e "$entry" ] || [ -L "$entry" ] || continue
    rm -rf "${2:?}/${entry##*/}"
    mv "$entry" "$2/"
  done
}
put_back() {
  back .replaced/state .
  back .replaced/workspace "$workspace"
  rm -rf .restored .replaced
}
end() {
  code=$?
  [ "$code" = 0 ] || put_back
  rm -rf .restored .done
  exit "$code"
}
# put FROM INTO NAME: moves what FROM holds into INTO, and what INTO held out of the way.
put() {
  mkdir -p ".replaced/$3"
  for entry in "$2"/* "$2"/.[!.]*; do
    case ${entry##*/} in '*' | '.[!.]*' | .restored | .replaced) continue ;; esac
    mv "$entry" ".replaced/$3/"
  done
  for entry in "$1"/* "$1"/.[!.]*; do
    [ -e "$entry" ] || [ -L "$entry" ] || continue
    mv "$entry" "$2/"
  done
}

rm -rf .done
put_back
trap end EXIT
trap 'exit 143' TERM INT

mkdir -p /tmp/empty .replaced
node /app/openclaw.mjs backup restore /tmp/archive.tar.gz \
  --target /home/node/.openclaw/.restored --json
find_in_archive() { find .restored -type d -path "*/payload/posix$1" | head -n 1; }
state=$(find_in_archive /home/node/.openclaw)
[ -n "$state" ] || { echo 'the backup holds no state' >&2; exit 1; }
new_workspace=$(find_in_archive "$workspace")
put "$state" . state
[ -z "$new_workspace" ] || put "$new_workspace" "$workspace" workspace
# From here on it is done, whatever happens to what was there.
mv .replaced .done
