//! Programs that tests write.
//!
//! Owns that one can be started at once: a child of its own writes it. A file that this process has open
//! for writing is open in what another test's thread starts in that instant, too, and a program that
//! somebody may write to is refused as busy. Refuses to know what it does.

use std::io::Write as _;
use std::path::Path;
use std::process::Stdio;

use super::lab::command;

/// Writes a program, in the place of what is there.
#[track_caller]
pub fn executable(path: &Path, text: &str) {
    let script = "cat >\"$0.new\" && chmod 755 \"$0.new\" && mv -f \"$0.new\" \"$0\"";
    let mut writes = command("/bin/sh");
    writes.env("PATH", "/usr/bin:/bin").args(["-c", script]).arg(path);
    let mut child = writes.stdin(Stdio::piped()).spawn().expect("run a shell");
    let mut stdin = child.stdin.take().expect("its input");
    stdin.write_all(text.as_bytes()).expect("it reads");
    drop(stdin);
    assert!(child.wait().expect("it ends").success(), "{} cannot be written", path.display());
}
