//! Putting an archive back on a gateway's volumes: the scripts that do it in a pod and in a container,
//! with the tools of Debian and volumes that have an end. Where one ends half-way, what was there comes
//! back.

use crate::support::engine::Engine;
use crate::support::lab::{Lab, Part, skip};

/// The lab's Debian root.
const BASE: &str = "openclaw-lab/base:bookworm";
const IN_POD: &str = include_str!("../../assets/cluster/restore.sh");
const IN_CONTAINER: &str = include_str!("../../assets/container/restore.sh");

/// A gateway's volumes with something on them, an archive, and the gateway's own tool as far as the
/// script calls it.
const BEGIN: &str = r#"
set -eu
mkdir -p "$state/db" "$work/notes" "$scratch" /tmp/bin
echo old >"$state/db/old"; echo old >"$state/.hidden"; echo old >"$work/notes/old"
printf '#!/bin/sh\nmkdir -p "$6" && tar --extract --file "$4" --directory "$6"\n' >/tmp/bin/node
chmod +x /tmp/bin/node
export PATH=/tmp/bin:$PATH
# archive STATE_KIB [WORKSPACE]: of a state so large, with a workspace or without one.
archive() {
  rm -rf /tmp/made
  mkdir -p /tmp/made/a/payload/posix/home/node/.openclaw/db
  head -c "$1"K /dev/zero >/tmp/made/a/payload/posix/home/node/.openclaw/db/new
  if [ -n "${2-}" ]; then
    mkdir -p /tmp/made/a/payload/posix/home/node/openclaw/workspace
    echo new >/tmp/made/a/payload/posix/home/node/openclaw/workspace/new
  fi
  tar --create --file "$archive" --directory /tmp/made a
}
# at TOOL COUNT WHAT: does that in the place of the so-many-th call of cp, or mv.
at() {
  echo 0 >/tmp/calls
  printf '#!/bin/sh\nread -r n </tmp/calls; n=$((n + 1)); echo $n >/tmp/calls\n' >"/tmp/bin/$1"
  printf '[ $n != %s ] || { %s; }\nexec /bin/%s "$@"\n' "$2" "$3" "$1" >>"/tmp/bin/$1"
  chmod +x "/tmp/bin/$1"
}
restore() { code=0; sh -c "$RESTORE" || code=$?; echo "ended $code"; }
files() { cd "$root"; find . -type f | sort; }
"#;
/// Where what lies, in a pod that has the volumes whole.
const POD: &str = "root=/volumes state=/volumes/config/state work=/volumes/workspace/workspace
scratch=/volumes/workspace/scratch archive=/volumes/workspace/scratch/archive.tar.gz";
/// The same in a container.
const CONTAINER: &str =
    "root=/home/node state=/home/node/.openclaw work=/home/node/openclaw/workspace
scratch=/tmp archive=/tmp/archive.tar.gz";

/// Runs a script after that one on volumes of these sizes, in MiB; what it printed, and its errors.
fn run(sizes: (u32, u32), script: &str) -> Option<(Vec<String>, String)> {
    run_in((POD, IN_POD), sizes, script)
}

fn run_in(
    (place, restore): (&str, &str),
    sizes: (u32, u32),
    script: &str,
) -> Option<(Vec<String>, String)> {
    Lab::require(Part::Engine)?;
    let engine = Engine::get()?;
    if !engine.has_image(BASE) {
        return skip("no base image: run tests/lab/setup image 2026.9.6");
    }
    let volume = |path: &str, size: u32| format!("{path}:size={size}m,mode=1777");
    let output = engine
        .command()
        .args(["run", "--rm", "--network", "none", "--user", "1000:1000"])
        .args(["--name", &Engine::name("archives")])
        .args(["--tmpfs", &volume("/volumes/config", sizes.0)])
        .args(["--tmpfs", &volume("/volumes/workspace", sizes.1)])
        .args(["--tmpfs", &volume("/home/node", sizes.0)])
        .args(["--env", &format!("RESTORE={restore}"), BASE])
        .args(["bash", "-c", &format!("{place}\n{BEGIN}{script}")])
        .output()
        .expect("docker runs");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{said}");
    let lines = String::from_utf8_lossy(&output.stdout).lines().map(str::to_owned).collect();
    Some((lines, said))
}

/// What was there before, and nothing else.
const OLD: [&str; 3] =
    ["./config/state/.hidden", "./config/state/db/old", "./workspace/workspace/notes/old"];

#[test]
fn what_is_in_the_archive_takes_the_place_of_what_was_there() {
    let Some((lines, _)) = run((16, 64), "archive 100 workspace; restore; files") else { return };
    let new = ["ended 0", "./config/state/db/new", "./workspace/workspace/new"];
    assert_eq!(lines, new);
    // One of the state alone leaves the workspace as it is.
    let Some((lines, _)) = run((16, 64), "archive 100; restore; files") else { return };
    assert_eq!(lines, ["ended 0", "./config/state/db/new", OLD[2]]);
    // More than half of the state's volume.
    let large = "head -c 10M /dev/zero >$state/large; archive 12000 workspace; restore; files";
    let Some((lines, _)) = run((16, 64), large) else { return };
    assert_eq!(lines, new);
}

#[test]
fn what_was_there_comes_back_where_it_ends_half_way() {
    let failed = "at cp 2 'exit 1'; archive 100 workspace; restore; files";
    let Some((lines, _)) = run((16, 64), failed) else { return };
    assert_eq!(lines, [&["ended 1"], &OLD[..]].concat());
    // It was killed, and the next try cannot even read its archive.
    for copy in [1, 2] {
        let killed = format!(
            "at cp {copy} 'kill -KILL $PPID; sleep 1'; archive 100 workspace; restore; sleep 1; restore; files"
        );
        let Some((lines, _)) = run((16, 64), &killed) else { return };
        assert_eq!(lines[0], "ended 137");
        assert_ne!(lines[1], "ended 0");
        assert_eq!(lines[2..], OLD, "copy {copy}");
    }
    // It was killed, and the next try comes to its end.
    let again = "at cp 2 'kill -KILL $PPID; sleep 1'; archive 100 workspace; restore; sleep 1
        archive 100 workspace; restore; files";
    let Some((lines, _)) = run((16, 64), again) else { return };
    let new = ["ended 137", "ended 0", "./config/state/db/new", "./workspace/workspace/new"];
    assert_eq!(lines, new);
}

#[test]
fn what_has_no_room_is_refused_and_changes_nothing() {
    let refused = |sizes, script: &str, words: &str| {
        let Some((lines, said)) = run(sizes, &format!("{script}; restore; files")) else { return };
        assert_eq!(lines, [&["ended 1"], &OLD[..]].concat());
        assert!(said.contains(words), "{said}");
    };
    refused((1, 64), "archive 2000 workspace", "the state's volume has no room");
    let nearly_full = "archive 100 workspace; head -c 800K /dev/zero >$state/db/old
        head -c 1200K /dev/zero >$work/notes/old";
    refused((2, 2), nearly_full, "the workspace's volume has no room for the present state");
    let other = "archive 100; echo >$scratch/none; tar --create --file $scratch/archive.tar.gz $scratch/none
        rm $scratch/none";
    refused((16, 64), other, "the backup holds no state");
}

#[test]
fn in_a_container_it_is_the_same() {
    let old = ["./.openclaw/.hidden", "./.openclaw/db/old", "./openclaw/workspace/notes/old"];
    let new = ["./.openclaw/db/new", "./openclaw/workspace/new"];
    let run = |script: &str| Some(run_in((CONTAINER, IN_CONTAINER), (16, 16), script)?.0);
    let Some(lines) = run("archive 100 workspace; restore; files") else { return };
    assert_eq!(lines, [&["ended 0"], &new[..]].concat());
    let Some(lines) = run("archive 100; restore; files") else { return };
    assert_eq!(lines, ["ended 0", new[0], old[2]]);
    // Each move is the last one: it fails, or is killed, and the next try cannot read its archive.
    for moved in 1..=5 {
        let failed = format!("at mv {moved} 'exit 1'; archive 100 workspace; restore; files");
        let Some(lines) = run(&failed) else { return };
        assert_eq!(lines, [&["ended 1"], &old[..]].concat(), "move {moved}");
        let killed = format!(
            "at mv {moved} 'kill -KILL $PPID; sleep 1'; archive 100 workspace; restore; sleep 1
            rm $archive; restore; files"
        );
        let Some(lines) = run(&killed) else { return };
        assert_eq!(lines[0], "ended 137");
        assert_ne!(lines[1], "ended 0");
        let is_back = old.iter().all(|it| lines.iter().any(|line| line == it));
        assert!(is_back, "move {moved}: {lines:?}");
    }
}
