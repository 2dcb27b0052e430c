//! The one door to child processes.
//!
//! Owns how a child is started, bounded, watched and ended, the locks that outlive the program, and
//! what the kernel says of this machine. A child starts from an empty environment plus a named
//! allow-list, gets arguments as a vector and secrets by environment or standard input, has a
//! deadline and a bound on its output, and is ended by SIGINT first and SIGKILL last. Refuses shell
//! strings: there is no way to give one.

pub mod addresses;
pub mod children;
pub mod command;
pub mod family;
pub mod identity;
mod lines;
pub mod lock;
pub mod relay;
pub mod remote;
pub mod wait;

pub use command::{Cmd, ExecError, Output};
pub use identity::{ProcessId, boot_id, boottime};
pub use lock::LockFile;
pub use relay::Relay;
pub use remote::{Place, Remote};

/// Lets this process open as many files, and take as many connections, as the system lets it.
pub fn raise_descriptor_limit() {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    if let Err(error) = setrlimit(Resource::Nofile, limit) {
        tracing::debug!(%error, "the limit of open files stays as it is");
    }
}

/// The file of a program: a path as it is, a name as `PATH` has it.
pub fn find_program(name: &str) -> Option<std::path::PathBuf> {
    if name.contains('/') {
        return Some(name.into());
    }
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|dir| dir.join(name)).find(|it| it.is_file())
}

/// How many bytes are free for this user where a path lies.
pub fn free_bytes(path: &std::path::Path) -> std::io::Result<u64> {
    let stat = rustix::fs::statvfs(path)?;
    Ok(stat.f_bavail.saturating_mul(stat.f_frsize))
}
