//! The system's OpenSSH client.
//!
//! Owns how a machine is reached: one key, one `known_hosts` of its own that is checked strictly, a
//! bound on every wait, and one connection that all commands share. The user's own configuration
//! and agent keep working beside it. Refuses to trust a machine on first use, to forward anything
//! of the user's to it, and to ask anybody anything.

mod refusal;

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::domain::Failure;
use crate::exec::{Cmd, ExecError, Place, Remote};
use crate::secrets::private::create_private_directory;

pub use refusal::{Refusal, failure};

/// The client.
const CLIENT: &str = "ssh";
/// How long connecting may take, in seconds.
const CONNECT_S: u32 = 10;
/// After how many seconds of silence the other side is asked whether it lives, and how often.
const ALIVE: (u32, u32) = (10, 3);
/// How long a shared connection outlives the last command on it, in seconds.
const PERSIST_S: u32 = 60;
/// How long opening the shared connection may take.
const OPEN_DEADLINE: Duration = Duration::from_secs(30);
/// How long one that is open may take to answer.
const SHARED_DEADLINE: Duration = Duration::from_secs(10);
/// How long a child may live that is ended by whoever wanted it.
const ENDLESS: Duration = Duration::from_secs(10 * 365 * 24 * 3600);

/// A machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Machine {
    /// Its address, or its name.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// The user there.
    pub user: String,
    /// The file of the private key.
    pub key: PathBuf,
    /// The file of the keys that the machine may show.
    pub known_hosts: PathBuf,
    /// The name under which they stand there, whatever its address is.
    pub alias: String,
    /// The directory of shared connections.
    pub sockets: PathBuf,
    /// The file there by which commands that change something wait for each other.
    pub lock: String,
}

impl Machine {
    /// What every call begins with.
    fn options(&self) -> Vec<OsString> {
        let mut options: Vec<OsString> = Vec::new();
        let mut say = |name: &str, value: &dyn AsRef<std::ffi::OsStr>| {
            let mut option = OsString::from(format!("{name}="));
            option.push(value.as_ref());
            options.extend(["-o".into(), option]);
        };
        for (name, value) in [
            ("BatchMode", "yes"),
            ("StrictHostKeyChecking", "yes"),
            ("GlobalKnownHostsFile", "/dev/null"),
            ("UpdateHostKeys", "no"),
            ("VerifyHostKeyDNS", "no"),
            ("CheckHostIP", "no"),
            ("HostKeyAlgorithms", "ssh-ed25519"),
            ("IdentitiesOnly", "yes"),
            ("PreferredAuthentications", "publickey"),
            ("ForwardAgent", "no"),
            ("ForwardX11", "no"),
            ("PermitLocalCommand", "no"),
            ("SendEnv", "-*"),
            ("EscapeChar", "none"),
            ("LogLevel", "ERROR"),
        ] {
            say(name, &value);
        }
        say("ConnectTimeout", &CONNECT_S.to_string());
        say("ServerAliveInterval", &ALIVE.0.to_string());
        say("ServerAliveCountMax", &ALIVE.1.to_string());
        say("HostKeyAlias", &self.alias);
        // The client splits what is no quoted word, and takes a percent sign for its own.
        say("UserKnownHostsFile", &quoted(&self.known_hosts));
        say("IdentityFile", &quoted(&self.key));
        say("Port", &self.port.to_string());
        say("User", &self.user);
        options
    }

    /// The name of the shared connection's socket. The client is started within its directory, so
    /// that no path is too long for one.
    fn socket(&self) -> String {
        let id = format!("{}|{}|{}|{}", self.user, self.host, self.port, self.alias);
        let digest = <sha2::Sha256 as sha2::Digest>::digest(id);
        let name = digest.iter().take(8).fold(0_u64, |sum, byte| sum << 8 | u64::from(*byte));
        format!("{name:016x}")
    }

    /// The client, with what it is called with, within the directory of the sockets.
    fn client(&self, args: Vec<OsString>) -> Cmd {
        let mut cmd = Cmd::new(CLIENT);
        cmd.allow(&["SSH_AUTH_SOCK"]).args(args).cwd(self.directory());
        cmd
    }

    /// The directory of the sockets, made where it is not there: no client starts without it.
    fn directory(&self) -> &Path {
        if let Err(failure) = create_private_directory(&self.sockets) {
            tracing::warn!(%failure, "no place for shared connections");
        }
        &self.sockets
    }

    fn arguments(&self, more: &[&str]) -> Vec<OsString> {
        let mut args = self.options();
        args.extend(["-o".into(), format!("ControlPath={}", self.socket()).into()]);
        args.extend(more.iter().map(OsString::from));
        args.extend(["--".into(), self.host.clone().into()]);
        args
    }

    /// Where commands of the machine's user run. They use the shared connection where there is one,
    /// and connect themselves where there is none.
    pub fn remote(&self) -> Remote {
        Remote::new(CLIENT, self.arguments(&["-o", "ControlMaster=no"]))
            .from_within(self.directory())
            .locking(&self.lock)
    }

    /// Where commands run as root.
    pub fn root(&self) -> Remote {
        self.remote().as_root()
    }

    /// A command of the machine's user.
    pub fn cmd(&self, program: &str) -> Cmd {
        Place::There(self.remote()).cmd(program)
    }

    /// Opens the shared connection, unless it is open. It ends by itself a minute after the last
    /// command. One that is open and dead, because the network was changed or asleep, is replaced.
    pub async fn open(&self) -> Result<(), Refusal> {
        create_private_directory(&self.sockets)
            .map_err(|error| Refusal::Other(error.to_string()))?;
        let socket = self.sockets.join(self.socket());
        if !socket.exists() {
            return self.connect(OPEN_DEADLINE).await;
        }
        match self.connect(SHARED_DEADLINE).await {
            Err(refusal) if refusal.may_pass() => {
                // What others still do by it goes on.
                let mut cmd = self.client(self.arguments(&["-O", "stop"]));
                let _ = cmd.deadline(Duration::from_secs(2)).output().await;
                let _ = std::fs::remove_file(socket);
                self.connect(OPEN_DEADLINE).await
            }
            answer => answer,
        }
    }

    async fn connect(&self, within: Duration) -> Result<(), Refusal> {
        let persist = format!("ControlPersist={PERSIST_S}");
        // Of several that open it at once, one listens and the others connect by themselves.
        let more = ["-o", "ControlMaster=auto", "-o", &persist, "-n", "-N", "-f"];
        let mut cmd = self.client(self.arguments(&more));
        let output = cmd.deadline(within).output().await.map_err(Refusal::not_run)?;
        if output.success() { Ok(()) } else { Err(Refusal::of(&output.stderr)) }
    }

    /// Ends the shared connection, where there is one.
    pub async fn close(&self) {
        if self.sockets.join(self.socket()).exists() {
            let mut cmd = self.client(self.arguments(&["-O", "exit"]));
            let _ = cmd.deadline(Duration::from_secs(5)).output().await;
        }
    }

    /// A child whose standard streams are a connection to a port of the machine's loopback.
    pub fn dial(&self, port: u16) -> Cmd {
        let to = format!("127.0.0.1:{port}");
        self.client(self.arguments(&["-o", "ControlMaster=no", "-W", &to]))
    }

    /// A child that forwards a port of this machine's loopback to one of the other's, on a
    /// connection of its own, until it is ended.
    pub fn forward(&self, local: u16, port: u16) -> Cmd {
        let forward = format!("127.0.0.1:{local}:127.0.0.1:{port}");
        let mut args = self.options();
        let more =
            ["-o", "ControlPath=none", "-o", "ExitOnForwardFailure=yes", "-N", "-L", &forward];
        args.extend(more.map(OsString::from));
        args.extend(["--".into(), self.host.clone().into()]);
        let mut cmd = self.client(args);
        cmd.deadline(ENDLESS);
        cmd
    }
}

/// A path as the client takes one for a single word, whatever stands in it.
fn quoted(path: &Path) -> OsString {
    use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
    let mut word = b"\"".to_vec();
    for byte in path.as_os_str().as_bytes() {
        match byte {
            b'%' => word.extend_from_slice(b"%%"),
            b'"' | b'\\' => word.extend_from_slice(&[b'\\', *byte]),
            byte => word.push(*byte),
        }
    }
    word.push(b'"');
    OsString::from_vec(word)
}

/// Refuses to begin without the client.
pub async fn require() -> Result<(), Failure> {
    let mut cmd = Cmd::new(CLIENT);
    cmd.arg("-V").deadline(Duration::from_secs(10)).output().await.map_err(no_ssh).map(drop)
}

/// Makes a pair of keys; answers the public one. A pair that is there stays.
pub async fn make_key(path: &Path, kind: KeyKind, comment: &str) -> Result<String, Failure> {
    let public = path.with_extension("pub");
    if !path.exists() {
        // A public half alone is what a killed run left.
        let _ = std::fs::remove_file(&public);
        let half = path.with_extension("new");
        // What ssh-keygen calls the public one.
        let made = PathBuf::from(format!("{}.pub", half.display()));
        for file in [&half, &made] {
            let _ = std::fs::remove_file(file);
        }
        let mut cmd = Cmd::new("ssh-keygen");
        cmd.args(["-q", "-N", "", "-C", comment]).args(kind.arguments()).arg("-f").arg(&half);
        let output = cmd.deadline(Duration::from_secs(60)).output().await.map_err(no_ssh)?;
        if !output.success() {
            return Err(Failure::failed(format!("no key could be made: {}", output.last_line())));
        }
        std::fs::rename(&made, &public)?;
        std::fs::rename(&half, path)?;
    }
    public_key(path).await
}

/// The public half of a private key, from the key itself.
pub async fn public_key(path: &Path) -> Result<String, Failure> {
    let mut cmd = Cmd::new("ssh-keygen");
    cmd.args(["-y", "-P", "", "-f"]).arg(path);
    let output = cmd.output().await.map_err(no_ssh)?;
    if output.success() {
        return Ok(output.stdout.trim().to_owned());
    }
    Err(refusal::of_key(path, &output.stderr))
}

/// The public keys that a file of known hosts has for a host.
pub async fn known_keys(file: &Path, host: &str) -> Result<Vec<String>, Failure> {
    if !file.is_file() {
        return Ok(Vec::new());
    }
    let mut cmd = Cmd::new("ssh-keygen");
    cmd.args(["-F", host, "-f"]).arg(file);
    let output = cmd.output().await.map_err(no_ssh)?;
    // What it does not find is no error.
    let lines = output.stdout.lines().filter(|line| !line.starts_with(['#', '@']));
    let keys = lines.filter_map(|line| {
        let mut words = line.split_whitespace().skip(1);
        Some(format!("{} {}", words.next()?, words.next()?))
    });
    Ok(keys.collect())
}

fn no_ssh(error: ExecError) -> Failure {
    let missing = matches!(error, ExecError::NotFound(_));
    let failure = Failure::from(error);
    if missing {
        return failure.remedy("install OpenSSH's client (Debian: apt-get install openssh-client)");
    }
    failure
}

/// What a key is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyKind {
    /// Ed25519.
    Ed25519,
    /// RSA of 4096 bits, where nothing else is taken.
    Rsa4096,
}

impl KeyKind {
    fn arguments(self) -> &'static [&'static str] {
        match self {
            Self::Ed25519 => &["-t", "ed25519"],
            Self::Rsa4096 => &["-t", "rsa", "-b", "4096"],
        }
    }
}

#[cfg(test)]
mod tests;
