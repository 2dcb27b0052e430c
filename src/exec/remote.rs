//! A child of another machine, over SSH, or of a pod.
//!
//! Owns how a program, its arguments, its working directory and its variables reach the other side:
//! the arguments quoted one by one for the login shell that SSH always asks, the variables ahead of
//! the standard input, so that no process list and no file there has them. Refuses a shell string:
//! what runs is the program that was named, with exactly these arguments.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use super::command::Cmd;

/// How a machine is reached: the program, and its arguments up to the machine's name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Remote {
    /// The client.
    pub(super) program: OsString,
    /// Its arguments, the destination last.
    pub(super) args: Vec<OsString>,
    /// The client's own working directory, where that matters to it.
    pub(super) dir: Option<PathBuf>,
    /// What serialises commands that change something there.
    pub(super) lock: Option<String>,
    /// Whether commands run as root there.
    pub(super) as_root: bool,
    /// Before which of the arguments it takes the one that asks for a terminal.
    pub(super) terminal_at: usize,
    /// What the names of variables begin with that the client itself needs.
    pub(super) variables: Vec<&'static str>,
}

/// What enters the working directory on the other side, where there is one.
const ENTER: &str = r#"cd "$1" || exit; shift; "#;
/// What reads the variables there: lines of NAME=VALUE up to an empty one, in which `printf %b`
/// undoes what [`preamble`] did. The dot keeps line ends at the end of a value.
const LOAD: &str = r#"while IFS= read -r l && [ -n "$l" ]; do v=$(printf '%b.' "${l#*=}"); export "${l%%=*}=${v%.}"; done; "#;
/// What becomes the program.
const BECOME: &str = r#"exec "$@""#;
/// How long a command waits for the one before it, in seconds: a drain takes 330.
const LOCK_WAIT_S: &str = "600";

impl Remote {
    /// A machine that this client reaches with these arguments.
    pub fn new<S: AsRef<OsStr>>(program: &str, args: impl IntoIterator<Item = S>) -> Self {
        let args = args.into_iter().map(|arg| arg.as_ref().to_owned()).collect();
        Self {
            program: program.into(),
            args,
            dir: None,
            lock: None,
            as_root: false,
            terminal_at: 0,
            variables: Vec::new(),
        }
    }

    /// The same, with the client in this directory of this machine.
    #[must_use]
    pub fn from_within(self, dir: impl Into<PathBuf>) -> Self {
        Self { dir: Some(dir.into()), ..self }
    }

    /// The same, with the file there by which commands that change something wait for each other:
    /// one whose connection broke goes on over there.
    #[must_use]
    pub fn locking(self, file: impl Into<String>) -> Self {
        Self { lock: Some(file.into()), ..self }
    }

    /// The same, with a client that is told to make a terminal behind its first argument.
    #[must_use]
    pub fn with_subcommand(self) -> Self {
        Self { terminal_at: 1, ..self }
    }

    /// The same, with variables of this program's for the client itself, by how their names begin.
    #[must_use]
    pub fn telling_client(self, prefixes: &[&'static str]) -> Self {
        Self { variables: prefixes.to_vec(), ..self }
    }

    /// The same as root, where the user may become that without a password.
    #[must_use]
    pub fn as_root(self) -> Self {
        Self { as_root: true, ..self }
    }

    /// What the login shell is given.
    pub(super) fn line(
        &self,
        program: &OsStr,
        args: &[OsString],
        cwd: Option<&Path>,
        with_variables: bool,
        changes: bool,
    ) -> OsString {
        let mut words: Vec<&OsStr> = Vec::new();
        if self.as_root {
            words.extend(["sudo", "-n"].map(OsStr::new));
        }
        if let Some(file) = self.lock.as_ref().filter(|_| changes) {
            words.extend(["flock", "-w", LOCK_WAIT_S, file].map(OsStr::new));
        }
        let script = [
            if cwd.is_some() { ENTER } else { "" },
            if with_variables { LOAD } else { "" },
            BECOME,
        ]
        .concat();
        if cwd.is_some() || with_variables {
            words.extend(["sh", "-c", &script, "sh"].map(OsStr::new));
            words.extend(cwd.map(Path::as_os_str));
        }
        words.push(program);
        words.extend(args.iter().map(OsString::as_os_str));
        let mut line = b"exec".to_vec();
        for word in words {
            line.push(b' ');
            quote(word, &mut line);
        }
        OsString::from_vec(line)
    }
}

/// Where commands run.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Place {
    /// On this machine.
    #[default]
    Here,
    /// On another one.
    There(Remote),
}

impl Place {
    /// A command of this place.
    pub fn cmd(&self, program: impl AsRef<OsStr>) -> Cmd {
        match self {
            Self::Here => Cmd::new(program),
            Self::There(remote) => Cmd::there(remote, program),
        }
    }
}

/// A word that every shell takes for exactly this text.
fn quote(word: &OsStr, into: &mut Vec<u8>) {
    into.push(b'\'');
    for byte in word.as_bytes() {
        match byte {
            b'\'' => into.extend_from_slice(b"'\\''"),
            byte => into.push(*byte),
        }
    }
    into.push(b'\'');
}

/// The variables, as they stand before a command's own input.
pub(super) fn preamble(variables: &BTreeMap<OsString, OsString>) -> Vec<u8> {
    let mut text = Vec::new();
    for (name, value) in variables {
        text.extend_from_slice(name.as_bytes());
        text.push(b'=');
        for byte in value.as_bytes() {
            match byte {
                b'\\' => text.extend_from_slice(b"\\\\"),
                b'\n' => text.extend_from_slice(b"\\n"),
                byte => text.push(*byte),
            }
        }
        text.push(b'\n');
    }
    text.push(b'\n');
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::secrets::Secret;

    /// A client that has a shell of this machine do what the other one's login shell would: ssh
    /// joins what follows the destination in the same way.
    fn local(dir: &Path) -> Remote {
        use std::os::unix::fs::PermissionsExt as _;
        let client = dir.join("client");
        std::fs::write(&client, "#!/bin/sh\n[ \"$1\" != -t ] || shift\nexec sh -c \"$2\"\n")
            .expect("a file");
        let mode = std::fs::Permissions::from_mode(0o755);
        std::fs::set_permissions(&client, mode).expect("executable");
        Remote::new(client.to_str().expect("a path"), ["machine"])
    }

    #[tokio::test]
    async fn arguments_and_variables_arrive_as_they_are() {
        let dir = tempfile::tempdir().expect("a directory");
        let remote = local(dir.path());
        let odd =
            ["", "a b", "it's", "$HOME `id` $(id)", "a\nb", "*", "\\", "ä\t;&|<>\"#~!", "-n", "--"];
        let output = Cmd::there(&remote, "printf").arg("[%s]\n").args(odd).output().await;
        let expected = odd.map(|word| format!("[{word}]\n")).concat();
        assert_eq!(output.expect("runs").stdout, expected);
        for value in odd.into_iter().chain(["x\n\n", "\\n", "%b %s", "=a=b"]) {
            let mut cmd = Cmd::there(&remote, "sh");
            cmd.args(["-c", r#"printf '%s|' "$OTHER" "$VALUE"; cat"#]);
            cmd.env("OTHER", "1").secret_env("VALUE", &Secret::new(value)).stdin("input\nto it");
            let output = cmd.output().await.expect("runs");
            let end = if value.is_empty() { "" } else { value };
            // What is kept of an output is its lines.
            let expected = format!("1|{end}|input\nto it");
            let lines = |text: &str| -> Vec<String> {
                text.split('\n').filter(|it| !it.is_empty()).map(str::to_owned).collect()
            };
            assert_eq!(lines(&output.stdout), lines(&expected), "{value:?}");
        }
    }

    #[tokio::test]
    async fn nothing_of_this_machines_environment_goes_there_and_no_value_stands_in_an_argument() {
        let remote = Remote::new("ssh", ["user@machine"]).locking("/run/lock/x");
        let mut cmd = Cmd::there(&remote, "docker");
        cmd.arg("ps").secret_env("KEY", &Secret::new("a-secret"));
        assert_eq!(cmd.variable("PATH"), None);
        let line =
            remote.line(OsStr::new("docker"), &["ps".into()], Some(Path::new("/a b")), true, true);
        let line = line.to_string_lossy();
        assert!(line.starts_with("exec 'flock' '-w' '600' '/run/lock/x' 'sh' '-c' "), "{line}");
        assert!(
            line.ends_with(" 'sh' '/a b' 'docker' 'ps'") && !line.contains("a-secret"),
            "{line}"
        );
        let line = remote.line(OsStr::new("docker"), &["ps".into()], None, false, false);
        assert_eq!(line, "exec 'docker' 'ps'");
        let line = remote.as_root().line(OsStr::new("id"), &[], None, false, true);
        assert_eq!(line, "exec 'sudo' '-n' 'flock' '-w' '600' '/run/lock/x' 'id'");
    }

    #[test]
    fn variables_do_not_go_where_nothing_carries_them() {
        let remote = Remote::new("ssh", ["user@machine"]);
        let mut cmd = Cmd::there(&remote, "docker");
        cmd.env("A", "1");
        assert!(cmd.interactive().is_err_and(|error| error.to_string().contains("no variables")));
        assert!(cmd.relay().is_err());
    }

    #[tokio::test]
    async fn a_working_directory_is_entered() {
        let dir = tempfile::tempdir().expect("a directory");
        let output = Cmd::there(&local(dir.path()), "pwd").cwd("/usr").output().await;
        assert_eq!(output.expect("runs").stdout, "/usr\n");
    }
}
