//! A provider of models on loopback: it answers every prompt with the same words and remembers
//! what it was sent.
//!
//! Owns the smallest streamed answer of each API that the gateway speaks. Refuses to check
//! anything: a wrong key is answered like a right one, and the test looks at what came.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};

use serde_json::{Value, json};

/// What it answers.
pub const ANSWER: &str = "STUB-OK";

/// A request that came.
#[derive(Debug, Clone)]
pub struct Received {
    /// `POST`, mostly.
    pub method: String,
    /// The path, with the query.
    pub path: String,
    /// The headers, their names in lower case.
    pub headers: BTreeMap<String, String>,
    /// The model that the body names; Google's stands in the path.
    pub model: Option<String>,
}

impl Received {
    /// A header's value.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(String::as_str)
    }
}

/// The provider. Its threads end with the test's process.
#[derive(Debug)]
pub struct StubProvider {
    port: u16,
    received: Arc<Mutex<Vec<Received>>>,
}

impl StubProvider {
    /// Starts one.
    pub fn start() -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).expect("listen on loopback");
        let port = listener.local_addr().expect("its address").port();
        let received = Arc::new(Mutex::new(Vec::new()));
        let stub = Self { port, received: Arc::clone(&received) };
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let received = Arc::clone(&received);
                std::thread::spawn(move || serve(&stream, &received));
            }
        });
        stub
    }

    /// Its address with a path in front of every API path, which tells the callers apart.
    pub fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}/{path}", self.port)
    }

    /// What came since the last call, oldest first.
    pub fn take(&self) -> Vec<Received> {
        std::mem::take(&mut self.received.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Answers one request and hangs up; `None` for what is no request.
fn serve(mut stream: &TcpStream, received: &Mutex<Vec<Received>>) -> Option<()> {
    let mut reader = BufReader::new(stream);
    let first = line(&mut reader)?;
    let (method, path) = first.strip_suffix(" HTTP/1.1")?.split_once(' ')?;
    let mut headers = BTreeMap::new();
    loop {
        let line = line(&mut reader)?;
        let Some((name, value)) = line.split_once(':') else { break };
        headers.insert(name.to_ascii_lowercase(), value.trim().to_owned());
    }
    let body: Value = serde_json::from_slice(&body(&mut reader, &headers)?).unwrap_or_default();
    let model = body["model"].as_str().map(str::to_owned);
    let answer = answer(path, model.as_deref().unwrap_or_default());
    let (path, method) = (path.to_owned(), method.to_owned());
    received.lock().unwrap_or_else(PoisonError::into_inner).push(Received {
        method,
        path,
        headers,
        model,
    });
    let (status, kind, answer) = match answer {
        Some(events) => ("200 OK", "text/event-stream", events),
        None => ("404 Not Found", "application/json", r#"{"error":{"message":"stub"}}"#.into()),
    };
    let length = answer.len();
    let response = format!(
        "HTTP/1.1 {status}\r\ncontent-type: {kind}\r\ncontent-length: {length}\r\n\
         connection: close\r\n\r\n{answer}"
    );
    stream.write_all(response.as_bytes()).ok()
}

fn line(reader: &mut impl BufRead) -> Option<String> {
    let mut line = String::new();
    reader.read_line(&mut line).ok().filter(|length| *length > 0)?;
    Some(line.trim_end().to_owned())
}

fn body(reader: &mut impl BufRead, headers: &BTreeMap<String, String>) -> Option<Vec<u8>> {
    let mut whole = Vec::new();
    if headers.get("transfer-encoding").is_none_or(|coding| coding != "chunked") {
        let length = headers.get("content-length").and_then(|length| length.parse().ok());
        reader.take(length.unwrap_or(0)).read_to_end(&mut whole).ok()?;
        return Some(whole);
    }
    loop {
        let size = u64::from_str_radix(&line(reader)?, 16).ok()?;
        reader.by_ref().take(size).read_to_end(&mut whole).ok()?;
        line(reader)?;
        if size == 0 {
            return Some(whole);
        }
    }
}

/// The events of a streamed answer, by the API that the path belongs to.
fn answer(path: &str, model: &str) -> Option<String> {
    let events = if path.ends_with("/v1/messages") {
        anthropic(model)
    } else if path.ends_with("/chat/completions") {
        completions(model)
    } else if path.ends_with("/responses") {
        responses(model)
    } else if path.contains(":streamGenerateContent") {
        google()
    } else {
        return None;
    };
    let written = events.iter().map(|event| match (event["type"].as_str(), event) {
        (_, Value::String(word)) => format!("data: {word}\n\n"),
        (Some(name), event) => format!("event: {name}\ndata: {event}\n\n"),
        (None, event) => format!("data: {event}\n\n"),
    });
    Some(written.collect())
}

/// `anthropic-messages`.
fn anthropic(model: &str) -> Vec<Value> {
    vec![
        json!({"type": "message_start", "message": {
            "id": "m1", "type": "message", "role": "assistant", "content": [], "model": model,
            "stop_reason": null, "usage": {"input_tokens": 3, "output_tokens": 1},
        }}),
        json!({"type": "content_block_start", "index": 0,
            "content_block": {"type": "text", "text": ""}}),
        json!({"type": "content_block_delta", "index": 0,
            "delta": {"type": "text_delta", "text": ANSWER}}),
        json!({"type": "content_block_stop", "index": 0}),
        json!({"type": "message_delta", "delta": {"stop_reason": "end_turn"},
            "usage": {"output_tokens": 2}}),
        json!({"type": "message_stop"}),
    ]
}

/// `openai-completions`.
fn completions(model: &str) -> Vec<Value> {
    let chunk = |delta: Value, reason: Value| {
        json!({
            "id": "c1", "object": "chat.completion.chunk", "created": 1, "model": model,
            "choices": [{"index": 0, "delta": delta, "finish_reason": reason}],
            "usage": {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5},
        })
    };
    vec![
        chunk(json!({"role": "assistant", "content": ANSWER}), Value::Null),
        chunk(json!({}), json!("stop")),
        json!("[DONE]"),
    ]
}

/// `openai-responses`.
fn responses(model: &str) -> Vec<Value> {
    let item = |status: &str, content: Value| {
        json!({"id": "msg1", "type": "message", "role": "assistant", "status": status,
            "content": content})
    };
    let response = |status: &str, output: Value| {
        json!({"id": "r1", "object": "response", "created_at": 1, "status": status,
            "model": model, "output": output,
            "usage": {"input_tokens": 3, "output_tokens": 2, "total_tokens": 5}})
    };
    let whole =
        item("completed", json!([{"type": "output_text", "text": ANSWER, "annotations": []}]));
    vec![
        json!({"type": "response.created", "sequence_number": 0,
            "response": response("in_progress", json!([]))}),
        json!({"type": "response.output_item.added", "sequence_number": 1, "output_index": 0,
            "item": item("in_progress", json!([]))}),
        json!({"type": "response.content_part.added", "sequence_number": 2, "item_id": "msg1",
            "output_index": 0, "content_index": 0,
            "part": {"type": "output_text", "text": "", "annotations": []}}),
        json!({"type": "response.output_text.delta", "sequence_number": 3, "item_id": "msg1",
            "output_index": 0, "content_index": 0, "delta": ANSWER}),
        json!({"type": "response.output_item.done", "sequence_number": 4, "output_index": 0,
            "item": &whole}),
        json!({"type": "response.completed", "sequence_number": 5,
            "response": response("completed", json!([whole]))}),
    ]
}

/// `google-generative-ai`.
fn google() -> Vec<Value> {
    vec![json!({
        "candidates": [{"index": 0, "finishReason": "STOP",
            "content": {"role": "model", "parts": [{"text": ANSWER}]}}],
        "usageMetadata": {"promptTokenCount": 3, "candidatesTokenCount": 2, "totalTokenCount": 5},
    })]
}
