//! Just enough HTTP/1.1 to be probed and to become a WebSocket.
//!
//! Owns reading a request's head and writing a short answer, one request per connection at a
//! time. Refuses bodies, chunking and heads above 64 KiB.

use std::collections::HashMap;
use std::io;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

const HEAD_LIMIT: usize = 64 * 1024;

/// A request's head, and what was read beyond it.
pub struct Request {
    /// The method.
    pub method: String,
    /// The target without its query.
    pub path: String,
    /// The headers, their names in lower case.
    pub headers: HashMap<String, String>,
    /// Bytes that followed the head.
    pub rest: Vec<u8>,
}

impl Request {
    /// A header's value, empty when there is none.
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", String::as_str)
    }

    /// Whether the client wants a WebSocket.
    pub fn is_websocket(&self) -> bool {
        self.header("upgrade").eq_ignore_ascii_case("websocket")
    }
}

/// Reads one head; `None` when the client has gone.
pub async fn read_request(
    stream: &mut TcpStream,
    mut buffer: Vec<u8>,
) -> io::Result<Option<Request>> {
    let end = loop {
        if let Some(end) = buffer.windows(4).position(|window| window == b"\r\n\r\n") {
            break end;
        }
        if buffer.len() > HEAD_LIMIT {
            return Err(io::Error::other("the request's head is too large"));
        }
        if stream.read_buf(&mut buffer).await? == 0 {
            return Ok(None);
        }
    };
    let head = String::from_utf8_lossy(&buffer[..end]).into_owned();
    let mut lines = head.split("\r\n");
    let mut words = lines.next().unwrap_or_default().split(' ');
    let method = words.next().unwrap_or_default().to_owned();
    let target = words.next().unwrap_or("/");
    let path = target.split('?').next().unwrap_or("/").to_owned();
    let headers = lines
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name.trim().to_lowercase(), value.trim().to_owned()))
        .collect();
    Ok(Some(Request { method, path, headers, rest: buffer.split_off(end + 4) }))
}

/// Writes an answer with a body; a `HEAD` request gets its head only.
pub async fn respond(
    stream: &mut TcpStream,
    request: &Request,
    status: u16,
    content_type: &str,
    body: &str,
) -> io::Result<()> {
    let reason = match status {
        200 => "OK",
        403 => "Forbidden",
        _ => "Service Unavailable",
    };
    let shown = if request.method == "HEAD" { "" } else { body };
    let answer = format!(
        "HTTP/1.1 {status} {reason}\r\nX-Content-Type-Options: nosniff\r\n\
         Content-Type: {content_type}; charset=utf-8\r\nCache-Control: no-store\r\n\
         Content-Length: {}\r\nConnection: keep-alive\r\n\r\n{shown}",
        body.len()
    );
    stream.write_all(answer.as_bytes()).await
}

/// Agrees to become a WebSocket.
pub async fn accept_websocket(stream: &mut TcpStream, key: &str) -> io::Result<()> {
    let accept = tokio_tungstenite::tungstenite::handshake::derive_accept_key(key.as_bytes());
    let answer = format!(
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Accept: {accept}\r\n\r\n"
    );
    stream.write_all(answer.as_bytes()).await
}
