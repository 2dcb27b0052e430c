//! What a child says, as it comes: lines, bounded.
//!
//! Owns reading a stream line by line, and keeping its end. Refuses to hold more than a bound of it,
//! or to hand on half a line as a whole one.

use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, BufReader};

/// How much of each output stream is kept, in bytes; of a longer one, the end.
pub(super) const OUTPUT_BOUND: usize = 1024 * 1024;
/// The longest line that is handed on, in bytes.
const LINE_BOUND: u64 = 64 * 1024;

/// Which stream a line came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stream {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

/// Hands each line of a stream on. Carriage returns end lines too: progress bars use them.
pub(super) async fn read_lines(
    stream: impl AsyncRead + Unpin,
    which: Stream,
    sender: tokio::sync::mpsc::Sender<(Stream, String)>,
) {
    let mut reader = BufReader::new(stream);
    let mut line = Vec::new();
    // Whether the line before this was cut: what follows up to its end would come as a line of
    // its own, and open with the second half of a secret that is then not recognised.
    let mut is_rest = false;
    loop {
        line.clear();
        let read = (&mut reader).take(LINE_BOUND).read_until(b'\n', &mut line).await;
        if !matches!(read, Ok(count) if count > 0) {
            return;
        }
        let is_cut = line.len() as u64 == LINE_BOUND && !line.ends_with(b"\n");
        let mut parts = line.split(|byte| *byte == b'\n' || *byte == b'\r').peekable();
        if is_rest {
            parts.next();
            is_rest = is_cut && parts.peek().is_none();
        }
        while let Some(part) = parts.next() {
            if part.is_empty() {
                continue;
            }
            let mut text = String::from_utf8_lossy(part).into_owned();
            if is_cut && parts.peek().is_none() {
                is_rest = true;
                text.push('…');
            }
            if sender.send((which, text)).await.is_err() {
                return;
            }
        }
    }
}

/// The end of a stream.
#[derive(Default)]
pub(super) struct Tail {
    lines: std::collections::VecDeque<String>,
    bytes: usize,
}

impl Tail {
    pub(super) fn push(&mut self, line: &str) {
        self.bytes += line.len() + 1;
        self.lines.push_back(line.to_owned());
        while self.bytes > OUTPUT_BOUND {
            match self.lines.pop_front() {
                Some(first) => self.bytes -= first.len() + 1,
                None => break,
            }
        }
    }

    pub(super) fn text(&self) -> String {
        let mut text = String::with_capacity(self.bytes);
        for line in &self.lines {
            text.push_str(line);
            text.push('\n');
        }
        text
    }
}
