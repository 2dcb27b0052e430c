//! What the program does on the server's own machine, before the server starts there.
//!
//! Owns the beginning of its installation, and its certificate. Both are asked for by the operator's
//! program over SSH. Refuses to tell a token twice: whoever asks again gets another one.

use std::path::Path;

use super::super::App;
use super::super::tokens::{AuditRecord, NewToken};
use crate::config::Settings;
use crate::domain::{Failure, Limits, Principal, Scope};
use crate::secrets::{Secret, certificate, private};
use crate::store::Store;

/// What the first token is called there.
const LABEL: &str = "the operator's, made by openclaw-pipeline server";

impl App {
    /// On the server's own machine: begins the installation under the id that it was given, and
    /// makes its first token. One of that label that is there is one that nobody was told of.
    pub fn begin_here(settings: &Settings, installation: &str) -> Result<Secret, Failure> {
        let home = settings.data_directory()?;
        Store::open(&home)?.take_installation_id(installation)?;
        let app = Self::open_at(&home, &settings.key_file()?)?;
        let by = Principal::operator();
        let record = |action: &str| AuditRecord::of(&by, action).from_address("command line");
        let (known, _) = app.tokens(&by, None, usize::from(u8::MAX))?;
        for token in known.iter().filter(|it| it.label == LABEL && it.revoked_at.is_none()) {
            app.revoke_token(&by, &token.id, &record("tokens.revoke"))?;
        }
        let new = NewToken {
            label: LABEL.to_owned(),
            scopes: [Scope::Read, Scope::Deploy, Scope::Connect, Scope::Destroy, Scope::Admin]
                .into_iter()
                .collect(),
            name_prefix: None,
            limits: Limits::default(),
            server_credentials: true,
            expires_at: None,
        };
        Ok(app.create_token(&by, &new, &record("tokens.create"), None)?.1)
    }
}

/// On the server's own machine: makes its certificate, unless it is there; answers its fingerprint.
pub fn certificate_here(dir: &Path, names: &[String]) -> Result<String, Failure> {
    let (path, key) = (dir.join("tls.crt"), dir.join("tls.key"));
    private::create_private_directory(dir)?;
    // The key goes first: a certificate that is there has its key.
    if !path.exists() {
        let made = certificate::self_signed(names)?;
        private::write_private(&key, made.key.expose().as_bytes())?;
        private::write_private(&path, made.certificate.as_bytes())?;
    }
    certificate::fingerprint_of_chain(&std::fs::read_to_string(&path)?)
}
