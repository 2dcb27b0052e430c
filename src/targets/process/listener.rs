//! Dialling a port of this machine only while this user's own process listens on it.
//!
//! While a gateway is down, any user may listen on its port, and whatever connects to it next
//! sends its token first. Owns asking the kernel whose a listener is. Refuses a connection to
//! somebody else's.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use async_trait::async_trait;

use crate::gateway::{Dial, Duplex, TcpDial};

/// A listening socket's state in the kernel's table.
const LISTEN: &str = "0A";

/// Plain TCP to a gateway that runs as this user.
#[derive(Debug)]
pub(super) struct OwnTcp(pub(super) SocketAddr);

#[async_trait]
impl Dial for OwnTcp {
    async fn dial(&self) -> io::Result<Box<dyn Duplex>> {
        let (address, user) = (self.0, rustix::process::geteuid().as_raw());
        // Nobody listens: dialling says so in the usual words.
        if let Some(owner) = foreign(&table()?, address, user) {
            return Err(refused(address, owner));
        }
        let stream = TcpDial::new(address).dial().await?;
        // Whoever took the call listened between the two looks; nothing was sent to it yet.
        match foreign(&table()?, address, user) {
            Some(owner) => Err(refused(address, owner)),
            None => Ok(stream),
        }
    }
}

fn refused(address: SocketAddr, owner: u32) -> io::Error {
    io::Error::new(
        io::ErrorKind::PermissionDenied,
        format!(
            "what listens on {address} is another user's (uid {owner}); nothing was sent to it"
        ),
    )
}

/// The kernel's table of TCP sockets.
fn table() -> io::Result<String> {
    let mut table = std::fs::read_to_string("/proc/net/tcp")?;
    // Absent where there is no IPv6.
    table.push_str(&std::fs::read_to_string("/proc/net/tcp6").unwrap_or_default());
    Ok(table)
}

/// The owner of a socket that listens on this address and is another user's.
fn foreign(table: &str, address: SocketAddr, user: u32) -> Option<u32> {
    let mut listeners = table.lines().filter_map(|line| listener(line, address));
    listeners.find(|owner| *owner != user)
}

/// The owner of the socket of a line, if it listens and would take a call to the address.
///
/// `sl local_address rem_address st tx_queue:rx_queue tr:tm->when retrnsmt uid …`
fn listener(line: &str, address: SocketAddr) -> Option<u32> {
    let mut fields = line.split_whitespace();
    let (host, port) = fields.nth(1)?.split_once(':')?;
    let state = fields.nth(1)?;
    let host = host_of(host)?;
    let takes = host == address.ip() || host.is_unspecified();
    if state != LISTEN || u16::from_str_radix(port, 16).ok()? != address.port() || !takes {
        return None;
    }
    fields.nth(3)?.parse().ok()
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

    #[test]
    #[cfg(target_endian = "little")]
    fn a_listener_is_told_by_its_owner() {
        let asked = |address: &str, user| foreign(TABLE, address.parse().expect("one"), user);
        assert_eq!(asked("127.0.0.1:8080", 1000), None, "one's own");
        assert_eq!(asked("127.0.0.1:8080", 1001), Some(1000));
        assert_eq!(asked("127.0.0.1:8081", 1000), Some(1001), "on every address");
        assert_eq!(asked("127.0.0.1:8082", 1000), None, "on another address");
        assert_eq!(asked("10.0.0.5:8082", 1000), Some(1001));
        assert_eq!(asked("127.0.0.1:8083", 1000), None, "a connection is no listener");
        assert_eq!(asked("[::1]:8080", 1000), Some(1002));
        assert_eq!(asked("127.0.0.1:8084", 1000), Some(1002), "a socket for both");
        assert_eq!(asked("127.0.0.1:8085", 1000), Some(1002), "in IPv6's form");
        assert_eq!(asked("127.0.0.1:9999", 1000), None, "nobody listens");
    }

    #[tokio::test]
    async fn ones_own_listener_is_dialled_and_told_apart() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("listens");
        let address = listener.local_addr().expect("has one");
        assert!(OwnTcp(address).dial().await.is_ok());
        let user = rustix::process::geteuid().as_raw();
        assert_eq!(foreign(&table().expect("reads"), address, user + 1), Some(user));
        drop(listener);
        let error = OwnTcp(address).dial().await.err().expect("nobody listens");
        assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused);
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
        let error = OwnTcp(address).dial().await.err().expect("refused");
        assert_eq!(error.kind(), io::ErrorKind::PermissionDenied);
        assert!(error.to_string().contains("is another user's (uid 65534)"), "{error}");
        let called = listener.accept().expect_err("nobody calls");
        assert_eq!(called.kind(), io::ErrorKind::WouldBlock);
    }
}
