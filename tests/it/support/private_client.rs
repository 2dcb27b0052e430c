//! A client with a private address that claims to be the gateway's own page: it has a device of
//! its own, the right token, and forged headers of the gateway's loopback.

use std::fmt::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ed25519_dalek::{Signer as _, SigningKey};
use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use sha2::Digest as _;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::http::HeaderValue;

/// What the gateway's page asks for.
const SCOPES: [&str; 4] = ["operator.admin", "operator.pairing", "operator.read", "operator.write"];
/// What it says of itself: its id, its mode, its platform.
const PAGE: [&str; 3] = ["openclaw-control-ui", "webchat", "linux"];

/// What came of a try.
#[derive(Debug)]
pub struct Asked {
    /// `in`, or the refusal's code.
    pub answer: String,
    /// The device that asked.
    pub device: String,
}

/// Asks the gateway that listens at `address` to be let in.
pub async fn asks(address: &str, token: &str) -> Asked {
    asks_as(address, token, &SCOPES).await
}

/// The same, asking for these scopes; the answer alone.
pub async fn asks_for(address: &str, token: &str, scopes: &[&str]) -> String {
    asks_as(address, token, scopes).await.answer
}

async fn asks_as(address: &str, token: &str, scopes: &[&str]) -> Asked {
    let host = format!("127.0.0.1:{}", address.rsplit(':').next().unwrap_or_default());
    let headers = [("Host", host.clone()), ("Origin", format!("http://{host}"))];
    let tcp = TcpStream::connect(address).await.expect("the gateway listens");
    asks_on(tcp, address, &headers, token, scopes).await
}

/// Asks a gateway behind a proxy, through which the stream goes and which is at this origin, and says
/// of itself whatever would make it look like one of the gateway's own machine.
pub async fn asks_through(stream: impl Stream, origin: &str, token: &str) -> Asked {
    let (_, host) = origin.split_once("://").expect("an origin");
    let forged = "127.0.0.1".to_owned();
    let headers = [
        ("Origin", origin.to_owned()),
        ("X-Forwarded-For", forged.clone()),
        ("X-Real-IP", forged.clone()),
        ("CF-Connecting-IP", forged.clone()),
        ("Forwarded", format!("for={forged};host=127.0.0.1:18789")),
        ("X-Forwarded-Host", "127.0.0.1:18789".to_owned()),
    ];
    asks_on(stream, host, &headers, token, &SCOPES).await
}

/// What a client talks over.
pub trait Stream: AsyncRead + AsyncWrite + Unpin {}

impl<T: AsyncRead + AsyncWrite + Unpin> Stream for T {}

async fn asks_on(
    stream: impl Stream,
    host: &str,
    headers: &[(&'static str, String)],
    token: &str,
    scopes: &[&str],
) -> Asked {
    let mut request = format!("ws://{host}/").into_client_request().expect("a request");
    for (name, value) in headers {
        request.headers_mut().insert(*name, HeaderValue::from_str(value).expect("a header"));
    }
    let opened = tokio_tungstenite::client_async(request, stream).await;
    let (mut socket, _) = opened.expect("a WebSocket");
    let challenge = next(&mut socket).await["payload"].clone();
    let [id, mode, platform] = PAGE;
    let device = device(&challenge, token, scopes);
    let connect = json!({
        "minProtocol": 4, "maxProtocol": 4, "role": "operator", "scopes": scopes, "caps": [],
        "client": {
            "id": id, "mode": mode, "version": "1.0.0", "platform": platform, "buildId": "dev",
        },
        "auth": { "token": token },
        "device": device,
    });
    let frame = json!({ "type": "req", "id": "1", "method": "connect", "params": connect });
    socket.send(Message::text(frame.to_string())).await.expect("is sent");
    let answer = loop {
        let answer = next(&mut socket).await;
        if answer["id"] == "1" {
            break match answer["ok"].as_bool() {
                Some(true) => "in".to_owned(),
                _ => answer["error"]["code"].as_str().unwrap_or_default().to_owned(),
            };
        }
    };
    Asked { answer, device: device["id"].as_str().unwrap_or_default().to_owned() }
}

async fn next(socket: &mut tokio_tungstenite::WebSocketStream<impl Stream>) -> Value {
    loop {
        match socket.next().await {
            Some(Ok(Message::Text(text))) => return serde_json::from_str(&text).expect("JSON"),
            Some(Ok(_)) => {}
            other => panic!("the gateway hung up: {other:?}"),
        }
    }
}

/// A new device's proof, by the third form of the gateway's payload.
fn device(challenge: &Value, token: &str, scopes: &[&str]) -> Value {
    let mut seed = [0; 32];
    getrandom::fill(&mut seed).expect("random numbers");
    let key = SigningKey::from_bytes(&seed);
    let digest = sha2::Sha256::digest(key.verifying_key().as_bytes());
    let device = digest.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    });
    let stamp = challenge["ts"].to_string();
    let nonce = challenge["nonce"].as_str().unwrap_or_default();
    let (scopes, [id, mode, platform]) = (scopes.join(","), PAGE);
    let payload =
        ["v3", &device, id, mode, "operator", &scopes, &stamp, token, nonce, platform, ""]
            .join("|");
    json!({
        "id": device,
        "publicKey": URL_SAFE_NO_PAD.encode(key.verifying_key().as_bytes()),
        "signature": URL_SAFE_NO_PAD.encode(key.sign(payload.as_bytes()).to_bytes()),
        "signedAt": challenge["ts"], "nonce": nonce,
    })
}
