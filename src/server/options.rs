//! How the server may be reached, and whether that is allowed.

use std::net::IpAddr;

use crate::config::{Settings, TlsFiles};
use crate::domain::Failure;

/// What was said outright about how the server is reached.
#[derive(Debug, Clone, Copy, Default)]
pub struct Said {
    /// A proxy before it has the TLS.
    pub behind_tls_proxy: bool,
    /// Plain HTTP beyond this machine is meant.
    pub insecure_http: bool,
}

/// How the server is reached.
#[derive(Debug, Clone)]
pub struct Reach {
    /// On which address.
    pub address: IpAddr,
    /// On which port; 0 is any.
    pub port: u16,
    /// With which certificate.
    pub tls: Option<TlsFiles>,
    /// Whether a proxy has the TLS.
    pub behind_tls_proxy: bool,
}

impl Reach {
    /// How the settings say that the server is reached. Beyond this machine it takes a token, and
    /// TLS here or at a proxy, or plain HTTP said outright.
    pub fn new(settings: &Settings, said: Said, has_tokens: bool) -> Result<Self, Failure> {
        let reach = Self {
            address: settings.server_bind()?,
            port: settings.server_port()?,
            tls: settings.tls()?,
            behind_tls_proxy: said.behind_tls_proxy,
        };
        if reach.is_loopback() {
            return Ok(reach);
        }
        let address = reach.address;
        if !has_tokens {
            return Err(Failure::bad_input(format!(
                "the server is to listen on {address}, where others reach it, and has no token: \
                 whoever found it could launch and read everything"
            ))
            .remedy(
                "set OPENCLAW_PIPELINE_API_TOKEN, or make a token (openclaw-pipeline tokens \
                 create --label NAME --scope admin), or listen on 127.0.0.1",
            ));
        }
        if reach.tls.is_none() && !said.behind_tls_proxy && !said.insecure_http {
            return Err(Failure::bad_input(format!(
                "the server is to listen on {address} in plain HTTP, where whoever is on the way \
                 reads its tokens"
            ))
            .remedy(
                "give it a certificate (--tls-cert and --tls-key), or say --behind-tls-proxy or \
                 --insecure-http",
            ));
        }
        Ok(reach)
    }

    /// Whether this machine alone reaches it.
    pub fn is_loopback(&self) -> bool {
        self.address.is_loopback() && !self.behind_tls_proxy
    }

    /// Whether callers come by TLS.
    pub fn is_tls(&self) -> bool {
        self.tls.is_some() || self.behind_tls_proxy
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Sources;

    fn reach(text: &str, said: Said, has_tokens: bool) -> Result<Reach, Failure> {
        let sources = Sources::new("/w").env("HOME", "/home/u").dotenv(text);
        Reach::new(&Settings::resolve(&sources).expect("resolved"), said, has_tokens)
    }

    #[test]
    fn beyond_this_machine_it_takes_a_token_and_tls_or_a_word() {
        let open = "OPENCLAW_PIPELINE_BIND=0.0.0.0";
        let tls = "OPENCLAW_PIPELINE_BIND=0.0.0.0\nOPENCLAW_PIPELINE_TLS_CERT=c\n\
                   OPENCLAW_PIPELINE_TLS_KEY=k";
        let none = Said::default();
        let proxy = Said { behind_tls_proxy: true, ..none };
        let plain = Said { insecure_http: true, ..none };
        assert!(reach("", none, false).expect("loopback").is_loopback());
        let failure = reach(open, plain, false).expect_err("no token");
        assert!(failure.message.contains("has no token"), "{failure}");
        let failure = reach(open, none, true).expect_err("plain");
        assert!(failure.message.contains("plain HTTP"), "{failure}");
        assert!(!reach(open, plain, true).expect("said outright").is_tls());
        assert!(reach(open, proxy, true).expect("a proxy").is_tls());
        assert!(reach(tls, none, true).expect("its own").is_tls());
        // A proxy on the same machine lets the world in.
        reach("", proxy, false).expect_err("no token");
        assert!(!reach("", proxy, true).expect("a proxy").is_loopback());
    }
}
