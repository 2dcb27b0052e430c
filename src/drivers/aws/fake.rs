//! AWS on loopback, for the tests of this driver: it gives the answers that it was told to, one
//! after the other, and keeps what it was asked.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};

use super::client::{Aws, Pace};
use super::environment::of;

/// What it was asked: the first line and the headers, and the body.
#[derive(Debug, Clone)]
pub(super) struct Asked {
    pub(super) head: String,
    pub(super) body: String,
}

/// The server. It ends with the test.
pub(super) struct Fake {
    pub(super) url: String,
    asked: Arc<Mutex<Vec<Asked>>>,
}

impl Fake {
    /// Gives these answers in their order, then none.
    pub(super) async fn answering<S: Into<String>>(
        answers: impl IntoIterator<Item = (u16, S)>,
    ) -> Self {
        let answers: Vec<(u16, String)> =
            answers.into_iter().map(|(status, body)| (status, body.into())).collect();
        let mut answers = answers.into_iter();
        Self::with(move |_| answers.next().unwrap_or((410, "no answer is left".into()))).await
    }

    /// Answers what this makes of each request.
    pub(super) async fn with(
        mut answer: impl FnMut(&Asked) -> (u16, String) + Send + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("listens");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        let asked = Arc::new(Mutex::new(Vec::new()));
        let kept = asked.clone();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let request = read(&mut stream).await;
                let (status, body) = answer(&request);
                kept.lock().expect("no panic").push(request);
                let head = format!(
                    "HTTP/1.1 {status} X\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
                    body.len()
                );
                // Whoever asked may have gone.
                let _ = stream.write_all(format!("{head}{body}").as_bytes()).await;
            }
        });
        Self { url, asked }
    }

    /// What it was asked so far.
    pub(super) fn asked(&self) -> Vec<Asked> {
        self.asked.lock().expect("no panic").clone()
    }

    /// The bodies of what it was asked.
    pub(super) fn bodies(&self) -> Vec<String> {
        self.asked().into_iter().map(|asked| asked.body).collect()
    }

    /// A driver that speaks to it.
    pub(super) fn aws(&self) -> Aws {
        let environment = of(&[
            ("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE"),
            ("AWS_SECRET_ACCESS_KEY", "s3cr3t-k3y"),
            ("AWS_ENDPOINT_URL", &self.url),
        ]);
        let pace = Pace { first: Duration::from_millis(1), longest: Duration::from_millis(4) };
        Aws::paced(environment, Some("us-east-1"), pace).expect("a driver")
    }
}

async fn read(stream: &mut TcpStream) -> Asked {
    let mut reader = BufReader::new(stream);
    let (mut head, mut length) = (String::new(), 0);
    loop {
        let mut line = String::new();
        let read = reader.read_line(&mut line).await.expect("a line");
        if let Some((_, value)) = line
            .to_ascii_lowercase()
            .split_once("content-length:")
            .filter(|(name, _)| name.is_empty())
        {
            length = value.trim().parse().expect("a length");
        }
        if read == 0 || line == "\r\n" {
            break;
        }
        head.push_str(&line);
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).await.expect("a body");
    Asked { head, body: String::from_utf8(body).expect("text") }
}
