# shellcheck shell=sh
# Puts the state and the workspace of an archive in place of the present ones, in a pod that has both
# volumes whole. No part of it comes from outside.
#
# The archive is unpacked on the workspace's volume, which is the large one. What is in place is set
# aside there, whole, before anything of it is touched: whatever ends this, the next run, or the end of
# this one, puts it back.
set -eu
state=/volumes/config/state
work=/volumes/workspace/workspace
scratch=/volumes/workspace/scratch
new=$scratch/restored
old=$scratch/aside
export TMPDIR="$scratch/tmp"

# In KiB.
used() { du -sk "$1" | { read -r it _ && echo "$it"; }; }
free() { df -Pk "$1" | tail -n 1 | { read -r _ _ _ it _ && echo "$it"; }; }
room() { [ "$(free "$1")" -ge "$2" ] || { echo "$3" >&2; exit 1; }; }

empty() { find "$1" -mindepth 1 -delete; }

put_back() {
  if [ -d "$old/workspace" ]; then
    rm -rf "$scratch/dropped"
    [ ! -e "$work" ] || mv "$work" "$scratch/dropped"
    mv "$old/workspace" "$work"
  fi
  if [ -d "$old/state" ]; then
    empty "$state"
    cp -a "$old/state/." "$state/"
    mv "$old/state" "$scratch/state.back"
  fi
  rm -rf "$old" "$scratch/state.back" "$scratch/dropped"
}

tidy() {
  rm -rf "$new" "$TMPDIR" "$scratch/done" "$scratch/state.back" "$scratch/dropped" \
    "$scratch/archive.tar.gz"
}

end() {
  code=$?
  [ "$code" = 0 ] || put_back
  tidy
  exit "$code"
}

rm -rf "$new" "$scratch/done"
put_back
trap end EXIT
trap 'exit 143' TERM INT

mkdir -p "$TMPDIR"
node /app/openclaw.mjs backup restore "$scratch/archive.tar.gz" --target "$new" --json
rm -f "$scratch/archive.tar.gz"
find_in_archive() { find "$new" -type d -path "*/payload/posix$1" | head -n 1; }
new_state=$(find_in_archive /home/node/.openclaw)
new_work=$(find_in_archive /home/node/openclaw/workspace)
[ -n "$new_state" ] || { echo 'the backup holds no state' >&2; exit 1; }

room "$scratch" "$(used "$state")" \
  "the workspace's volume has no room for the present state beside the backup: raise its claim"
room "$state" "$(($(used "$new_state") - $(used "$state")))" \
  "the state's volume has no room for the state of the backup: raise its claim"
mkdir -p "$old"
cp -a "$state" "$old/part"
mv "$old/part" "$old/state"
if [ -n "$new_work" ]; then
  mv "$work" "$old/workspace"
  chmod 0700 "$new_work"
  mv "$new_work" "$work"
fi
empty "$state"
cp -a "$new_state/." "$state/"
sync
# From here on it is done, whatever happens to what was there.
mv "$old" "$scratch/done"
