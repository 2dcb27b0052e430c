//! Small listeners of this machine: a proxy, an address that stands for another, some that give the same
//! answer to everybody.
//!
//! Owns that each connection has a thread of its own, until either side ends. Refuses nothing, and reads
//! nothing of what it leads but where a proxy is asked to lead to.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use rustls::{ServerConnection, StreamOwned};

use super::authority::Issued;

/// A proxy, which counts who comes.
pub struct Proxy {
    /// Where it listens.
    pub address: SocketAddr,
    came: Arc<AtomicUsize>,
}

impl Proxy {
    /// Starts one for HTTPS.
    pub fn start() -> Self {
        Self::leading(Self::lead)
    }

    /// Starts one that speaks SOCKS 5.
    pub fn of_socks() -> Self {
        Self::leading(Self::lead_by_socks)
    }

    fn leading(lead: fn(TcpStream) -> Option<()>) -> Self {
        let came = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&came);
        let address = each(move |stream| {
            counted.fetch_add(1, Ordering::Relaxed);
            lead(stream)
        });
        Self { address, came }
    }

    /// How many came.
    pub fn connections(&self) -> usize {
        self.came.load(Ordering::Relaxed)
    }

    /// Leads one to where it says.
    fn lead(mut client: TcpStream) -> Option<()> {
        let (mut head, mut byte) = (Vec::new(), [0]);
        while !head.ends_with(b"\r\n\r\n") {
            client.read_exact(&mut byte).ok()?;
            head.push(byte[0]);
        }
        let head = String::from_utf8(head).ok()?;
        let place = head.strip_prefix("CONNECT ")?.split(' ').next()?;
        let server = TcpStream::connect(place).ok()?;
        client.write_all(b"HTTP/1.1 200 OK\r\n\r\n").ok()?;
        both_ways(client, server)
    }

    /// Leads one to the IPv4 address that it asks for (RFC 1928), whoever it is.
    fn lead_by_socks(mut client: TcpStream) -> Option<()> {
        let mut greeting = [0; 2];
        client.read_exact(&mut greeting).ok()?;
        client.read_exact(&mut vec![0; greeting[1].into()]).ok()?;
        client.write_all(&[5, 0]).ok()?;
        let mut asked = [0; 10];
        client.read_exact(&mut asked).ok()?;
        let [5, 1, _, 1, a, b, c, d, high, low] = asked else { return None };
        let place = SocketAddr::from(([a, b, c, d], u16::from_be_bytes([high, low])));
        let server = TcpStream::connect(place).ok()?;
        client.write_all(&[5, 0, 0, 1, 0, 0, 0, 0, 0, 0]).ok()?;
        both_ways(client, server)
    }
}

/// An address of this machine that leads to another place, as a tunnel's does.
pub fn address_of(place: &str) -> SocketAddr {
    let place = place.to_owned();
    each(move |client| both_ways(client, TcpStream::connect(&place).ok()?))
}

/// An address that answers every request over HTTP with this.
pub fn answering(kind: &str, body: &str) -> SocketAddr {
    let answer = format!(
        "HTTP/1.1 200 OK\r\ncontent-type: {kind}\r\nconnection: close\r\n\
         content-length: {}\r\n\r\n{body}",
        body.len()
    );
    each(move |mut client| {
        let _ = client.read(&mut [0; 4096]).ok()?;
        client.write_all(answer.as_bytes()).ok()
    })
}

/// An API of a cluster that refuses everything, as one that is broken or knows nobody does.
pub struct Refusing {
    /// Where it is.
    pub url: String,
    /// Whom to believe for it, PEM.
    pub authority: String,
    status: Arc<AtomicUsize>,
}

impl Refusing {
    /// Starts one that answers with this status.
    pub fn with(status: usize) -> Self {
        let issued = Issued::of(["127.0.0.1".to_owned()]);
        let (tls, status) = (issued.server(), Arc::new(AtomicUsize::new(status)));
        let says = Arc::clone(&status);
        let address = each(move |client| {
            let tls = ServerConnection::new(Arc::clone(&tls)).ok()?;
            let mut client = StreamOwned::new(tls, client);
            let _ = client.read(&mut [0; 4096]).ok()?;
            let code = says.load(Ordering::Relaxed);
            let body = format!(
                "{{\"kind\":\"Status\",\"apiVersion\":\"v1\",\"metadata\":{{}},\"status\":\"Failure\",\
                 \"message\":\"refused with {code}\",\"code\":{code}}}"
            );
            let answer = format!(
                "HTTP/1.1 {code} Refused\r\ncontent-type: application/json\r\n\
                 connection: close\r\ncontent-length: {}\r\n\r\n{body}",
                body.len()
            );
            client.write_all(answer.as_bytes()).ok()?;
            client.conn.send_close_notify();
            client.flush().ok()
        });
        Self { url: format!("https://{address}"), authority: issued.authority, status }
    }

    /// Answers with another one from now on.
    pub fn says(&self, status: usize) {
        self.status.store(status, Ordering::Relaxed);
    }
}

/// Listens, and has each connection led in a thread of its own.
fn each(lead: impl Fn(TcpStream) -> Option<()> + Send + Sync + 'static) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("its address");
    let lead = Arc::new(lead);
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let lead = Arc::clone(&lead);
            std::thread::spawn(move || lead(stream));
        }
    });
    address
}

fn both_ways(mut client: TcpStream, mut server: TcpStream) -> Option<()> {
    let (mut back, mut to_client) = (server.try_clone().ok()?, client.try_clone().ok()?);
    let answers = std::thread::spawn(move || {
        let _ = std::io::copy(&mut back, &mut to_client);
        let _ = to_client.shutdown(Shutdown::Both);
    });
    let _ = std::io::copy(&mut client, &mut server);
    let _ = server.shutdown(Shutdown::Both);
    answers.join().ok()
}
