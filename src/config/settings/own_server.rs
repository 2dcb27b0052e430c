//! What is said about the pipeline server's own machine, and which settings go there.
//!
//! Owns the list of what travels. Refuses what means this machine alone: its paths, its data
//! directory, who may reach the operator's own machines.

use std::path::PathBuf;

use super::{Settings, TlsFiles};
use crate::config::rules;
use crate::config::variables::Variable;
use crate::domain::Failure;
use crate::domain::credential::CREDENTIALS;
use crate::secrets::Secret;

/// What goes there beside the provider credentials, as it was given here.
const TRAVELS: [Variable; 19] = [
    Variable::DefaultModel,
    Variable::DefaultProvider,
    Variable::ExecAsk,
    Variable::Heartbeat,
    Variable::SkipApproval,
    Variable::Approval,
    Variable::ApprovalWindow,
    Variable::ApprovalDevices,
    Variable::Image,
    Variable::Version,
    Variable::Memory,
    Variable::Expose,
    Variable::Log,
    Variable::LocalTargets,
    Variable::TrustedImages,
    Variable::CorsOrigins,
    Variable::OtlpEndpoint,
    Variable::FrontendUrl,
    Variable::WebhookRetry,
];

/// The same, of which each is a secret.
const SECRETS: [Variable; 1] = [Variable::WebhookSecret];

/// What goes there.
#[derive(Debug, Default)]
pub struct Travelling {
    /// Provider credentials, and what else nobody may see.
    pub secrets: Vec<(String, Secret)>,
    /// The others.
    pub settings: Vec<(String, String)>,
}

impl Settings {
    /// Who reaches the server's port; none is whoever reaches SSH.
    pub fn own_server_cidrs(&self) -> Result<Vec<String>, Failure> {
        let read = self.read(Variable::OwnServerCidr, rules::server_cidrs)?;
        Ok(read.unwrap_or_default())
    }

    /// The program that is shipped there, where another one than this was named.
    pub fn own_server_binary(&self) -> Result<Option<PathBuf>, Failure> {
        self.path(Variable::OwnServerBinary)
    }

    /// The Terraform that is shipped there, where another one than this machine's was named.
    pub fn own_server_terraform(&self) -> Result<Option<PathBuf>, Failure> {
        self.path(Variable::OwnServerTerraform)
    }

    /// The certificate of the server there and its key: both or neither.
    pub fn own_server_tls(&self) -> Result<Option<TlsFiles>, Failure> {
        let certificate = self.path(Variable::OwnServerTlsCert)?;
        let key = self.path(Variable::OwnServerTlsKey)?;
        let both = both(Variable::OwnServerTlsCert, certificate, Variable::OwnServerTlsKey, key)?;
        Ok(both.map(|(certificate, key)| TlsFiles { certificate, key }))
    }

    /// The AWS key of a server that no role can be given to: both halves or neither.
    pub fn own_server_aws(&self) -> Result<Option<(Secret, Secret)>, Failure> {
        let half = |variable: Variable| {
            self.read(variable, |text| {
                let fits = |c: char| c.is_ascii_graphic();
                if (16..=256).contains(&text.len()) && text.chars().all(fits) {
                    return Ok(Secret::new(text));
                }
                Err(Failure::bad_input(format!("{} is no AWS key", variable.name()))
                    .remedy("give it as AWS shows it, without blanks"))
            })
        };
        let (id, secret) = (Variable::OwnServerAwsKeyId, Variable::OwnServerAwsSecret);
        both(id, half(id)?, secret, half(secret)?)
    }

    /// The settings that the server there gets, as they were given here: secrets, and the others.
    /// Each was looked at.
    pub fn travelling(&self) -> Result<Travelling, Failure> {
        let mut found = Travelling::default();
        let credentials = CREDENTIALS.iter().filter_map(|it| Variable::by_name(it.variable));
        for variable in credentials.chain(SECRETS) {
            self.check(variable)?;
            if let Some(text) = self.given(variable) {
                found.secrets.push((variable.name().to_owned(), text.clone()));
            }
        }
        for variable in TRAVELS {
            self.check(variable)?;
            if let Some(text) = self.given(variable) {
                found.settings.push((variable.name().to_owned(), text.expose().to_owned()));
            }
        }
        // The region of what it makes, whether or not it was given.
        found.settings.push((Variable::Region.name().to_owned(), self.region()?));
        Ok(found)
    }
}

fn both<T>(
    first: Variable,
    one: Option<T>,
    second: Variable,
    other: Option<T>,
) -> Result<Option<(T, T)>, Failure> {
    match (one, other) {
        (None, None) => Ok(None),
        (Some(one), Some(other)) => Ok(Some((one, other))),
        (has, _) => {
            let (has, lacks) = if has.is_some() { (first, second) } else { (second, first) };
            Err(Failure::bad_input(format!("{} needs {} beside it", has.name(), lacks.name()))
                .remedy(format!("set {} too, or neither", lacks.name())))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Sources;

    fn settings(text: &str) -> Settings {
        let sources = Sources::new("/w").env("HOME", "/home/u").dotenv(text);
        Settings::resolve(&sources).expect("resolved")
    }

    #[test]
    fn what_means_this_machine_stays_here() {
        let given = "ANTHROPIC_API_KEY=sk-ant-0123456789\nFRONTEND_URL=https://shop.example\n\
                     OPENCLAW_PIPELINE_HOME=/data\nOPENCLAW_PIPELINE_SSH_CIDR=203.0.113.7/32\n\
                     OPENCLAW_PIPELINE_API_TOKEN=0123456789abcdef\nAWS_REGION=eu-west-1\n\
                     OPENCLAW_PIPELINE_SIZE=t3.large\nNAME=main\nTF_BIN=/opt/terraform";
        let all = settings(given).travelling().expect("all of it can be used");
        let names: Vec<&str> = all.settings.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["FRONTEND_URL", "AWS_REGION"]);
        let names: Vec<&str> = all.secrets.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["ANTHROPIC_API_KEY"]);
        assert!(settings("HEARTBEAT=sometimes").travelling().is_err());
    }

    #[test]
    fn halves_go_together() {
        for (one, other) in [
            ("OPENCLAW_PIPELINE_SERVER_TLS_CERT", "OPENCLAW_PIPELINE_SERVER_TLS_KEY"),
            (
                "OPENCLAW_PIPELINE_SERVER_AWS_ACCESS_KEY_ID",
                "OPENCLAW_PIPELINE_SERVER_AWS_SECRET_ACCESS_KEY",
            ),
        ] {
            let value = "AKIA0123456789ABCDEF";
            let both = settings(&format!("{one}={value}\n{other}={value}"));
            assert!(
                both.own_server_tls().expect("whole").is_some()
                    != both.own_server_aws().expect("whole").is_some()
            );
            for half in [one, other] {
                let half = settings(&format!("{half}={value}"));
                let refused = half.own_server_tls().is_err() || half.own_server_aws().is_err();
                assert!(refused);
            }
        }
    }

    #[test]
    fn everybody_may_reach_the_api_where_that_is_said() {
        let cidrs = |text: &str| {
            settings(&format!("OPENCLAW_PIPELINE_SERVER_CIDR={text}")).own_server_cidrs()
        };
        assert_eq!(cidrs("0.0.0.0/0").expect("everybody"), ["0.0.0.0/0"]);
        assert_eq!(cidrs("203.0.113.7").expect("one"), ["203.0.113.7/32"]);
        for wrong in ["203.0.113.7/8", "10.0.0.0/33", "::/0", "everybody"] {
            assert!(cidrs(wrong).is_err(), "{wrong}");
        }
        assert_eq!(settings("").own_server_cidrs().expect("none"), Vec::<String>::new());
    }
}
