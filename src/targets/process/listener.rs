//! Dialling a port of this machine only while the gateway itself listens on it.
//!
//! While a gateway is down, anybody may listen on its port, and whatever connects to it next sends
//! its token first. Owns asking the kernel whose a listener is. Refuses a connection to another
//! user's, and to one of this user's that is not the gateway's.

use std::fs;
use std::io::{self, ErrorKind};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;

use async_trait::async_trait;

use super::record::{RunRecord, RunState};
use crate::exec::family;
use crate::gateway::{Dial, Duplex, TcpDial};

/// A listening socket's state in the kernel's table.
const LISTEN: &str = "0A";

/// Plain TCP to a gateway that runs as this user.
#[derive(Debug)]
pub(super) struct OwnTcp {
    /// Where it listens.
    pub(super) address: SocketAddr,
    /// The deployment's directory, which tells the gateway's process.
    pub(super) dir: PathBuf,
}

#[async_trait]
impl Dial for OwnTcp {
    async fn dial(&self) -> io::Result<Box<dyn Duplex>> {
        // Nobody listens: dialling says so in the usual words.
        self.check()?;
        let stream = TcpDial::new(self.address).dial().await?;
        // Whoever took the call listened between the two looks; nothing was sent to it yet.
        self.check()?;
        Ok(stream)
    }
}

impl OwnTcp {
    /// Refuses where somebody else than the gateway listens.
    fn check(&self) -> io::Result<()> {
        let Some(whose) = self.stranger()? else { return Ok(()) };
        Err(io::Error::new(
            ErrorKind::PermissionDenied,
            format!("what listens on {} is {whose}; nothing was sent to it", self.address),
        ))
    }

    /// Whose what listens is, where it is not the gateway's.
    pub(super) fn stranger(&self) -> io::Result<Option<String>> {
        let (address, user) = (self.address, rustix::process::geteuid().as_raw());
        for Listener { owner, inode } in listeners(&table()?, address) {
            if owner != user {
                return Ok(Some(format!("another user's (uid {owner})")));
            }
            if !self.is_the_gateways(inode)? {
                return Ok(Some("another program's".to_owned()));
            }
        }
        Ok(None)
    }

    /// Whether a socket is held by the gateway's process, or by one that it started.
    fn is_the_gateways(&self, inode: u64) -> io::Result<bool> {
        let record =
            RunRecord::read(&self.dir).map_err(|failure| io::Error::other(failure.message))?;
        let Some(RunRecord { state: RunState::Running { gateway }, .. }) = record else {
            return Ok(false);
        };
        if !gateway.is_alive() {
            return Ok(false);
        }
        if holds(gateway.pid, inode)? {
            return Ok(true);
        }
        for process in family::descendants(gateway.pid)? {
            if holds(process.pid, inode)? {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

/// Whether a process has this socket open. Of one that may not be looked at, its user says it all.
fn holds(pid: i32, inode: u64) -> io::Result<bool> {
    let entries = match fs::read_dir(format!("/proc/{pid}/fd")) {
        Ok(entries) => entries,
        Err(error) if error.kind() == ErrorKind::PermissionDenied => return Ok(true),
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(error),
    };
    let socket = format!("socket:[{inode}]");
    let mut links = entries.flatten().filter_map(|entry| fs::read_link(entry.path()).ok());
    Ok(links.any(|link| link.as_os_str() == socket.as_str()))
}

/// The kernel's table of TCP sockets.
fn table() -> io::Result<String> {
    let mut table = std::fs::read_to_string("/proc/net/tcp")?;
    // Absent where there is no IPv6.
    table.push_str(&std::fs::read_to_string("/proc/net/tcp6").unwrap_or_default());
    Ok(table)
}

/// A socket that would take a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Listener {
    /// The user whose it is.
    owner: u32,
    /// What its descriptors are known by.
    inode: u64,
}

/// Those that listen on this address; for the one that stands for every address, on any.
fn listeners(table: &str, address: SocketAddr) -> impl Iterator<Item = Listener> {
    table.lines().filter_map(move |line| listener(line, address))
}

/// The socket of a line, if it listens and would take a call to the address, or would keep another
/// one from listening on every address.
///
/// `sl local_address rem_address st tx_queue:rx_queue tr:tm->when retrnsmt uid timeout inode …`
fn listener(line: &str, address: SocketAddr) -> Option<Listener> {
    let mut fields = line.split_whitespace();
    let (host, port) = fields.nth(1)?.split_once(':')?;
    let state = fields.nth(1)?;
    let host = host_of(host)?;
    let all = address.ip().is_unspecified() && address.is_ipv4() == host.is_ipv4();
    let takes = host == address.ip() || host.is_unspecified() || all;
    if state != LISTEN || u16::from_str_radix(port, 16).ok()? != address.port() || !takes {
        return None;
    }
    let owner = fields.nth(3)?.parse().ok()?;
    Some(Listener { owner, inode: fields.nth(1)?.parse().ok()? })
}

/// The address that the kernel wrote, each 32 bits of it as a number of this machine.
fn host_of(hex: &str) -> Option<IpAddr> {
    let word = |at: usize| Some(u32::from_str_radix(hex.get(at..at + 8)?, 16).ok()?.to_ne_bytes());
    match hex.len() {
        8 => Some(Ipv4Addr::from(word(0)?).into()),
        32 => {
            let mut bytes = [0; 16];
            for (index, part) in bytes.chunks_exact_mut(4).enumerate() {
                part.copy_from_slice(&word(index * 8)?);
            }
            // A socket for both may listen on an IPv4 address in IPv6's form.
            Some(Ipv6Addr::from(bytes).to_canonical())
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exec::ProcessId;

    /// 127.0.0.1:8080 of 1000, 0.0.0.0:8081 of 1001, 10.0.0.5:8082 of 1001, a connection from
    /// port 8083; and in IPv6 `[::1]:8080` of 1002, `[::]:8084` of 1002, 127.0.0.1:8085 of 1002.
    const TABLE: &str = "\
  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000  1000        0 1 1
   1: 00000000:1F91 00000000:0000 0A 00000000:00000000 00:00000000 00000000  1001        0 2 1
   2: 0500000A:1F92 00000000:0000 0A 00000000:00000000 00:00000000 00000000  1001        0 3 1
   3: 0100007F:1F93 0100007F:1F90 01 00000000:00000000 00:00000000 00000000  1001        0 4 1
  sl  local_address                         remote_address                        st tx_queue
   0: 00000000000000000000000001000000:1F90 00000000000000000000000000000000:0000 0A \
00000000:00000000 00:00000000 00000000  1002        0 5 1
   1: 00000000000000000000000000000000:1F94 00000000000000000000000000000000:0000 0A \
00000000:00000000 00:00000000 00000000  1002        0 6 1
   2: 0000000000000000FFFF00000100007F:1F95 00000000000000000000000000000000:0000 0A \
00000000:00000000 00:00000000 00000000  1002        0 7 1
";

    /// Whose the listeners on an address are: user and inode.
    fn asked(address: &str) -> Vec<(u32, u64)> {
        let address = address.parse().expect("one");
        listeners(TABLE, address).map(|it| (it.owner, it.inode)).collect()
    }

    #[test]
    #[cfg(target_endian = "little")]
    fn listeners_are_found_by_their_address() {
        assert_eq!(asked("127.0.0.1:8080"), [(1000, 1)]);
        assert_eq!(asked("127.0.0.1:8081"), [(1001, 2)], "on every address");
        assert_eq!(asked("127.0.0.1:8082"), [], "on another address");
        assert_eq!(asked("10.0.0.5:8082"), [(1001, 3)]);
        assert_eq!(asked("127.0.0.1:8083"), [], "a connection is no listener");
        assert_eq!(asked("[::1]:8080"), [(1002, 5)]);
        assert_eq!(asked("127.0.0.1:8084"), [(1002, 6)], "a socket for both");
        assert_eq!(asked("127.0.0.1:8085"), [(1002, 7)], "in IPv6's form");
        assert_eq!(asked("0.0.0.0:8082"), [(1001, 3)], "for every address, on one");
        assert_eq!(asked("0.0.0.0:8080"), [(1000, 1)], "and not on IPv6's own");
        assert_eq!(asked("127.0.0.1:9999"), [], "nobody listens");
    }

    /// The directory of a deployment with this gateway.
    fn of_process(gateway: ProcessId) -> tempfile::TempDir {
        let dir = tempfile::tempdir().expect("a directory");
        let record = RunRecord { state: RunState::Running { gateway }, restarts: 0 };
        record.write(dir.path()).expect("written");
        dir
    }

    fn own() -> ProcessId {
        ProcessId::of(rustix::process::getpid().as_raw_pid()).expect("it lives")
    }

    #[tokio::test]
    async fn the_gateways_own_listener_is_dialled() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("listens");
        let address = listener.local_addr().expect("has one");
        let dir = of_process(own());
        let gateway = OwnTcp { address, dir: dir.path().into() };
        assert!(gateway.dial().await.is_ok());
        // A port that is held, so that nobody else comes to listen there meanwhile.
        let held = tokio::net::TcpSocket::new_v4().expect("a socket");
        held.bind(([127, 0, 0, 1], 0).into()).expect("a port");
        let gateway = OwnTcp { address: held.local_addr().expect("has one"), ..gateway };
        let error = gateway.dial().await.err().expect("nobody listens");
        assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused);
    }

    #[tokio::test]
    async fn nothing_is_sent_to_another_programs_listener() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("listens");
        listener.set_nonblocking(true).expect("is set");
        let address = listener.local_addr().expect("has one");
        let inode = listeners(&table().expect("reads"), address).next().expect("it listens").inode;
        let own = own();
        assert!(holds(own.pid, inode).expect("looks"));
        assert!(!holds(own.pid, 1).expect("looks"));
        // One that had this process's number before it.
        let dir = of_process(ProcessId { start: own.start + 1, ..own });
        let none = tempfile::tempdir().expect("a directory");
        for dir in [dir.path(), none.path()] {
            let gateway = OwnTcp { address, dir: dir.into() };
            let error = gateway.dial().await.err().expect("refused");
            assert_eq!(error.kind(), io::ErrorKind::PermissionDenied);
            assert!(error.to_string().contains("is another program's; nothing"), "{error}");
        }
        let called = listener.accept().expect_err("nobody calls");
        assert_eq!(called.kind(), io::ErrorKind::WouldBlock);
    }

    #[tokio::test]
    async fn nothing_is_sent_to_another_users_listener() {
        // Only root may make a listener that is another user's; it takes a thread that is one.
        if !rustix::process::geteuid().is_root() {
            return;
        }
        let listener = std::thread::spawn(|| {
            rustix::thread::set_thread_uid(rustix::process::Uid::from_raw(65_534)).expect("is it");
            let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("listens");
            listener.set_nonblocking(true).expect("is set");
            listener
        });
        let listener = listener.join().expect("no panic");
        let address = listener.local_addr().expect("has one");
        let dir = of_process(own());
        let gateway = OwnTcp { address, dir: dir.path().into() };
        let error = gateway.dial().await.err().expect("refused");
        assert_eq!(error.kind(), io::ErrorKind::PermissionDenied);
        assert!(error.to_string().contains("is another user's (uid 65534)"), "{error}");
        let called = listener.accept().expect_err("nobody calls");
        assert_eq!(called.kind(), io::ErrorKind::WouldBlock);
    }
}
