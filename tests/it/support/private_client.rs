//! A client on this machine that claims to be the gateway's own: it has a device of its own, the
//! right token, and forged loopback headers.

use std::fmt::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ed25519_dalek::{Signer as _, SigningKey};
use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use sha2::Digest as _;
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::http::HeaderValue;

const SCOPES: [&str; 3] = ["operator.admin", "operator.pairing", "operator.read"];

/// Asks the gateway at `authority` to be let in; answers `in`, or the refusal's code.
pub async fn asks(authority: &str, token: &str) -> String {
    asks_for(authority, token, &SCOPES).await
}

/// The same, asking for these scopes.
pub async fn asks_for(authority: &str, token: &str, scopes: &[&str]) -> String {
    let mut request = format!("ws://{authority}/").into_client_request().expect("a request");
    let port = authority.rsplit(':').next().unwrap_or_default();
    let host = format!("127.0.0.1:{port}");
    request.headers_mut().insert("Host", HeaderValue::from_str(&host).expect("a host"));
    let tcp = TcpStream::connect(authority).await.expect("the gateway listens");
    let (mut socket, _) = tokio_tungstenite::client_async(request, tcp).await.expect("a WebSocket");
    let challenge = next(&mut socket).await["payload"].clone();
    let connect = json!({
        "minProtocol": 4, "maxProtocol": 4, "role": "operator", "scopes": scopes, "caps": [],
        "client": { "id": "cli", "mode": "cli", "version": "1.0.0", "platform": "linux" },
        "auth": { "token": token },
        "device": device(&challenge, token, scopes),
    });
    let frame = json!({ "type": "req", "id": "1", "method": "connect", "params": connect });
    socket.send(Message::text(frame.to_string())).await.expect("is sent");
    loop {
        let answer = next(&mut socket).await;
        if answer["id"] == "1" {
            return match answer["ok"].as_bool() {
                Some(true) => "in".to_owned(),
                _ => answer["error"]["code"].as_str().unwrap_or_default().to_owned(),
            };
        }
    }
}

async fn next(socket: &mut tokio_tungstenite::WebSocketStream<TcpStream>) -> Value {
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
    let id = digest.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    });
    let stamp = challenge["ts"].to_string();
    let nonce = challenge["nonce"].as_str().unwrap_or_default();
    let scopes = scopes.join(",");
    let payload =
        ["v3", &id, "cli", "cli", "operator", &scopes, &stamp, token, nonce, "linux", ""].join("|");
    json!({
        "id": id,
        "publicKey": URL_SAFE_NO_PAD.encode(key.verifying_key().as_bytes()),
        "signature": URL_SAFE_NO_PAD.encode(key.sign(payload.as_bytes()).to_bytes()),
        "signedAt": challenge["ts"], "nonce": nonce,
    })
}
