//! What the server's settings mean.

use std::net::IpAddr;
use std::path::PathBuf;

use super::Settings;
use crate::config::image;
use crate::config::rules::{self, refused};
use crate::config::variables::Variable;
use crate::domain::Failure;

/// The most names or origins that one setting lists.
const LISTED: usize = 64;

/// The files of a certificate and its key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsFiles {
    /// The certificate chain.
    pub certificate: PathBuf,
    /// The key.
    pub key: PathBuf,
}

impl Settings {
    /// The API's port.
    pub fn server_port(&self) -> Result<u16, Failure> {
        self.read_or_default(Variable::ServerPort, |given| {
            // 0 is any free one, which the server then says.
            let any = (given == "0").then_some(0);
            rules::port_number(given).or(any).ok_or_else(|| {
                refused(
                    "SERVER_PORT",
                    "a number from 0 (any free one) to 65535",
                    given,
                    "choose one above 1023, or leave it out for 4000",
                )
            })
        })
    }

    /// The API's address.
    pub fn server_bind(&self) -> Result<IpAddr, Failure> {
        self.read_or_default(Variable::ServerBind, |given| {
            given.parse().map_err(|_| {
                refused(
                    Variable::ServerBind.name(),
                    "an IP address of this machine",
                    given,
                    "use 127.0.0.1 for this machine only, or 0.0.0.0 for others too",
                )
            })
        })
    }

    /// Whether the API launches on this machine, where that was said.
    pub fn local_targets(&self) -> Result<Option<bool>, Failure> {
        self.read(Variable::LocalTargets, |given| {
            rules::boolean(Variable::LocalTargets.name(), given)
        })
    }

    /// Refuses one state for what will be many deployments.
    pub fn states_are_many(&self) -> Result<(), Failure> {
        match self.state_place()? {
            Some(place) if !place.is_folder() => Err(Failure::bad_input(format!(
                "TF_STATE ({}) names one state, {place}, and a server has one for each deployment",
                self.origin(Variable::TfState)
            ))
            .remedy("name a folder, which ends in /, or leave TF_STATE out")),
            _ => Ok(()),
        }
    }

    /// Further names by which the API is called, in lower case, without a port.
    pub fn hosts(&self) -> Result<Vec<String>, Failure> {
        Ok(self.read(Variable::Hosts, |given| listed(given, host))?.unwrap_or_default())
    }

    /// Repositories whose images the server's own provider keys may go into, beside the official one.
    pub fn trusted_images(&self) -> Result<Vec<String>, Failure> {
        Ok(self
            .read(Variable::TrustedImages, |given| listed(given, repository))?
            .unwrap_or_default())
    }

    /// Origins whose pages may call the API from a browser.
    pub fn cors_origins(&self) -> Result<Vec<String>, Failure> {
        Ok(self.read(Variable::CorsOrigins, |given| listed(given, origin))?.unwrap_or_default())
    }

    /// The certificate and its key: both or neither.
    pub fn tls(&self) -> Result<Option<TlsFiles>, Failure> {
        match (self.path(Variable::TlsCert)?, self.path(Variable::TlsKey)?) {
            (None, None) => Ok(None),
            (Some(certificate), Some(key)) => Ok(Some(TlsFiles { certificate, key })),
            (has, _) => {
                let (has, lacks) = match has {
                    Some(_) => (Variable::TlsCert, Variable::TlsKey),
                    None => (Variable::TlsKey, Variable::TlsCert),
                };
                Err(Failure::bad_input(format!("{} needs {} beside it", has.name(), lacks.name()))
                    .remedy(format!("set {} too, or neither", lacks.name())))
            }
        }
    }

    /// Where traces go; `None` when nowhere.
    pub fn otlp_endpoint(&self) -> Result<Option<String>, Failure> {
        self.read(Variable::OtlpEndpoint, |given| {
            let named = ["http://", "https://"]
                .iter()
                .any(|scheme| given.strip_prefix(scheme).is_some_and(|rest| !rest.is_empty()));
            let plain = given.chars().all(|c| c.is_ascii_graphic());
            if named && plain && given.len() <= 2048 {
                return Ok(given.trim_end_matches('/').to_owned());
            }
            Err(refused(
                Variable::OtlpEndpoint.name(),
                "an http or https URL",
                given,
                "name the collector's address, such as http://localhost:4318",
            ))
        })
    }
}

/// The items of a list, which commas separate.
fn listed(given: &str, item: fn(&str) -> Result<String, Failure>) -> Result<Vec<String>, Failure> {
    let items: Vec<&str> = given.split(',').map(str::trim).filter(|it| !it.is_empty()).collect();
    if items.len() > LISTED {
        return Err(Failure::bad_input(format!("a list has at most {LISTED} items"))
            .remedy("leave out what is not needed"));
    }
    items.into_iter().map(item).collect()
}

/// A host's name, or an address, without a port.
fn host(given: &str) -> Result<String, Failure> {
    let name = given.to_ascii_lowercase();
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.chars().all(|c| c.is_ascii_alphanumeric() || c == '-')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    if name.parse::<IpAddr>().is_ok() || (name.len() <= 253 && name.split('.').all(label)) {
        return Ok(name);
    }
    Err(refused(
        Variable::Hosts.name(),
        "names or addresses without a port, separated by commas",
        given,
        "write them as in pipeline.example",
    ))
}

/// A repository of images, without a tag or a digest.
fn repository(given: &str) -> Result<String, Failure> {
    let named = image::image(given)?;
    match image::repository(&named) {
        Some(repository) if repository == named => Ok(named),
        _ => Err(refused(
            Variable::TrustedImages.name(),
            "repositories without a tag or digest, separated by commas",
            given,
            "write them as in ghcr.io/openclaw/openclaw",
        )),
    }
}

/// An origin as browsers send it: scheme, host, and a port that is not the scheme's own.
fn origin(given: &str) -> Result<String, Failure> {
    let wrong = || {
        refused(
            Variable::CorsOrigins.name(),
            "origins: http or https, a host, a port where it is not the usual one; never *",
            given,
            "write them as in https://app.example",
        )
    };
    let (scheme, rest) = given.split_once("://").ok_or_else(wrong)?;
    let (name, port) = match rest.rsplit_once(':') {
        Some((name, port)) if !port.ends_with(']') => (name, Some(port)),
        _ => (rest, None),
    };
    let bracketed = name.strip_prefix('[').and_then(|it| it.strip_suffix(']'));
    let known = match bracketed {
        Some(address) => address.parse::<std::net::Ipv6Addr>().is_ok(),
        None => host(name).is_ok(),
    };
    let port = port.map(|it| rules::port_number(it).ok_or_else(wrong)).transpose()?;
    let usual = match scheme {
        "http" => 80,
        "https" => 443,
        _ => return Err(wrong()),
    };
    if !known {
        return Err(wrong());
    }
    let name = name.to_ascii_lowercase();
    Ok(match port.filter(|port| *port != usual) {
        Some(port) => format!("{scheme}://{name}:{port}"),
        None => format!("{scheme}://{name}"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn origins_are_written_as_browsers_send_them() {
        for (given, expected) in [
            ("https://app.example", "https://app.example"),
            ("HTTPS://x".to_ascii_lowercase().as_str(), "https://x"),
            ("http://LOCALHOST:3000", "http://localhost:3000"),
            ("https://x:443", "https://x"),
            ("http://[::1]:80", "http://[::1]"),
            ("http://127.0.0.1:81", "http://127.0.0.1:81"),
        ] {
            assert_eq!(origin(given).expect(given), expected);
        }
        for given in [
            "*",
            "null",
            "app.example",
            "https://",
            "https://x/",
            "https://x/y",
            "ftp://x",
            "https://u@x",
            "https://x:0",
            "https://x:a",
            "https://a b",
        ] {
            origin(given).expect_err(given);
        }
    }

    #[test]
    fn hosts_are_names_or_addresses() {
        let hosts = listed("Pipeline.example, 192.0.2.1 ,::1,", host).expect("a list");
        assert_eq!(hosts, ["pipeline.example", "192.0.2.1", "::1"]);
        for given in ["x:4000", "*", "a..b", "-a", "a/b", "a b", "é"] {
            listed(given, host).expect_err(given);
        }
        listed(&"a,".repeat(65), host).expect_err("too many");
    }

    #[test]
    fn trusted_images_are_repositories() {
        let given = "registry.example:5000/team/own, ghcr.io/x/y";
        let listed_ones = listed(given, repository).expect("a list");
        assert_eq!(listed_ones, ["registry.example:5000/team/own", "ghcr.io/x/y"]);
        for given in ["own:latest", "own@sha256:0", "-x", "a b", "*", "https://x/y"] {
            listed(given, repository).expect_err(given);
        }
    }
}
