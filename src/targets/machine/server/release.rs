//! What one deploy of a pipeline server brings to its machine, beside programs.
//!
//! Owns the texts: the environment file, and what the unit has on this machine beside what it has
//! everywhere. The sealed secrets hold everything of it that is one: settings by their names, files
//! by [`FILES`].

use std::fmt::Write as _;

use super::{AWS_KEY_ID, AWS_SECRET, CERTIFICATE, CERTIFICATE_KEY, DATA};
use crate::domain::{Failure, Reach, ServerSpec};
use crate::secrets::Secret;
use crate::targets::Site;

/// The directory of the certificate that the server made itself.
pub(super) const OWN_CERTIFICATE: &str = "/var/lib/openclaw-pipeline/server/tls";

/// Files that come with a release: the name in the sealed secrets, and the one there.
const FILES: [(&str, &str); 2] = [(CERTIFICATE, "tls.crt"), (CERTIFICATE_KEY, "tls.key")];

/// A file of a release.
pub(super) struct ReleaseFile {
    pub(super) name: &'static str,
    pub(super) mode: &'static str,
    pub(super) text: Secret,
}

fn private(name: &'static str, text: String) -> ReleaseFile {
    ReleaseFile { name, mode: "600", text: Secret::new(text) }
}

fn public(name: &'static str, text: impl Into<String>) -> ReleaseFile {
    ReleaseFile { name, mode: "644", text: Secret::new(text) }
}

/// A secret of a deployment by its name.
fn secret<'a>(site: &'a Site, name: &str) -> Option<&'a Secret> {
    site.secrets.env.iter().find(|(known, _)| known == name).map(|(_, value)| value)
}

/// Whether its certificate was given.
pub(super) fn given_certificate(site: &Site) -> Option<&Secret> {
    secret(site, CERTIFICATE)
}

/// The files of a release.
pub(super) fn files(site: &Site, server: &ServerSpec) -> Result<Vec<ReleaseFile>, Failure> {
    let mut files = vec![
        public("openclaw-pipeline.service", crate::assets::own_server::UNIT),
        public("openclaw-pipeline.sysusers", crate::assets::own_server::SYSUSERS),
        public("machine.conf", unit(site, server)),
        private("server.env", environment(site, server)?),
    ];
    for (name, file) in FILES {
        if let Some(text) = secret(site, name) {
            files.push(private(file, text.expose().to_owned()));
        }
    }
    if let (Some(id), Some(key)) = (secret(site, AWS_KEY_ID), secret(site, AWS_SECRET)) {
        files.push(private(
            "aws-credentials",
            format!(
                "[default]\naws_access_key_id = {}\naws_secret_access_key = {}\n",
                id.expose(),
                key.expose()
            ),
        ));
    }
    Ok(files)
}

/// What the unit has on this machine beside what it has everywhere. Its files are root's alone; the
/// service reads them as its credentials.
fn unit(site: &Site, server: &ServerSpec) -> String {
    let release = "/usr/local/lib/openclaw-pipeline/current";
    let mut text = format!(
        "# Written by openclaw-pipeline server deploy.\n\
         [Service]\n\
         StateDirectory=\n\
         StateDirectory=openclaw-pipeline/server\n\
         WorkingDirectory={DATA}\n\
         Environment=OPENCLAW_PIPELINE_HOME={DATA}\n"
    );
    if server.reach == Reach::Http {
        text.push_str(
            "ExecStart=\nExecStart=/usr/local/bin/openclaw-pipeline serve --insecure-http\n",
        );
    }
    if server.reach == Reach::Https && given_certificate(site).is_some() {
        for (variable, file) in [("CERT", "tls.crt"), ("KEY", "tls.key")] {
            let _ = writeln!(text, "LoadCredential={file}:{release}/{file}");
            let _ = writeln!(text, "Environment=OPENCLAW_PIPELINE_TLS_{variable}=%d/{file}");
        }
    }
    if secret(site, AWS_KEY_ID).is_some() {
        let _ = writeln!(text, "LoadCredential=aws:{release}/aws-credentials");
        text.push_str("Environment=AWS_SHARED_CREDENTIALS_FILE=%d/aws\n");
        // There is none to ask.
        text.push_str("Environment=AWS_EC2_METADATA_DISABLED=true\n");
    }
    text
}

/// The environment file.
fn environment(site: &Site, server: &ServerSpec) -> Result<String, Failure> {
    let address = super::super::reach::known(site)?.address.to_string();
    let mut hosts = vec![address];
    hosts.extend(server.hosts.iter().cloned());
    let mut own = vec![("OPENCLAW_PIPELINE_HOSTS", hosts.join(","))];
    let bind = if server.reach == Reach::Tunnel { "127.0.0.1" } else { "0.0.0.0" };
    own.push(("OPENCLAW_PIPELINE_BIND", bind.to_owned()));
    if server.reach == Reach::Https && given_certificate(site).is_none() {
        own.push(("OPENCLAW_PIPELINE_TLS_CERT", format!("{OWN_CERTIFICATE}/tls.crt")));
        own.push(("OPENCLAW_PIPELINE_TLS_KEY", format!("{OWN_CERTIFICATE}/tls.key")));
    }
    let mut text = "# Written by openclaw-pipeline server deploy.\n".to_owned();
    for (name, value) in own {
        let _ = writeln!(text, "{name}={}", quoted(name, &value)?);
    }
    for (name, value) in &server.settings {
        let _ = writeln!(text, "{name}={}", quoted(name, value)?);
    }
    let all = site.secrets.credentials.iter().chain(&site.secrets.env);
    for (name, value) in all.filter(|(name, _)| crate::secrets::envfile::is_key(name)) {
        let _ = writeln!(text, "{name}={}", quoted(name, value.expose())?);
    }
    Ok(text)
}

/// A value as systemd reads it back.
fn quoted(name: &str, value: &str) -> Result<String, Failure> {
    if value.chars().any(|c| c.is_control() && c != '\n' && c != '\t') {
        return Err(Failure::bad_input(format!(
            "{name} holds a control character, which the server's environment file cannot carry"
        ))
        .remedy("remove the character"));
    }
    let mut out = String::with_capacity(value.len() + 2);
    out.push('"');
    for c in value.chars() {
        if matches!(c, '"' | '\\' | '`' | '$') {
            out.push('\\');
        }
        out.push(c);
    }
    out.push('"');
    Ok(out)
}

#[cfg(test)]
#[path = "release_tests.rs"]
mod tests;
