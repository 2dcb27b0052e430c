//! The settings of one request to the API: what it names, over what the server was given.

use super::{Given, Settings};
use crate::config::sources::Origin;
use crate::config::variables::Variable;
use crate::domain::Failure;
use crate::domain::credential::CREDENTIALS;
use crate::secrets::Secret;

/// What of the server's own settings means one deployment of its operator's, and no request's.
const NOT_INHERITED: [Variable; 6] = [
    Variable::Name,
    Variable::GatewayToken,
    Variable::GatewayPort,
    Variable::EnvFile,
    Variable::TunnelHost,
    Variable::TunnelToken,
];

impl Settings {
    /// The settings of a request. The server's own provider credentials go into them only where
    /// `with_credentials` says so.
    #[must_use]
    pub fn for_request(
        &self,
        named: impl IntoIterator<Item = (Variable, Secret)>,
        env: Vec<Secret>,
        with_credentials: bool,
    ) -> Self {
        let mut settings = self.clone();
        for variable in NOT_INHERITED {
            settings.given.remove(&variable);
        }
        if !with_credentials {
            for credential in CREDENTIALS {
                if let Some(variable) = Variable::by_name(credential.variable) {
                    settings.given.remove(&variable);
                }
            }
        }
        settings.gateway_flags = env;
        settings.notices.clear();
        for (variable, text) in named {
            settings.given.insert(variable, Given { text, origin: Origin::Request });
        }
        settings
    }

    /// Whether every provider credential in these settings came with the request.
    pub fn keys_are_of_the_request(&self) -> Result<bool, Failure> {
        Ok(self.credentials()?.iter().all(|(credential, _)| {
            let variable = Variable::by_name(credential.variable);
            variable.is_some_and(|it| self.origin(it) == Origin::Request)
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Sources;

    #[test]
    fn a_request_has_its_own_values_and_of_the_servers_what_it_may() {
        let sources = Sources::new("/w").env("HOME", "/home/u").dotenv(
            "NAME=own\nOPENCLAW_GATEWAY_TOKEN=0123456789abcdef0123\nGATEWAY_PORT=2000\n\
             GATEWAY_BIND=192.0.2.1\nANTHROPIC_API_KEY=the-servers\nHEARTBEAT=30m",
        );
        let own = Settings::resolve(&sources).expect("resolved").gateway_flag_for_test("A=b");
        let named = [(Variable::OpenAiApiKey, Secret::new("the-requests"))];
        let request = own.for_request(named, vec![Secret::new("TZ=UTC")], false);
        assert_eq!(request.name().expect("a name").as_str(), "main");
        assert!(request.gateway_token().expect("reads").is_none());
        assert_eq!(request.port().expect("reads"), None);
        assert!(!request.bind().expect("the server's").is_loopback());
        assert_eq!(request.heartbeat().expect("the server's"), "30m");
        let keys = |settings: &Settings| {
            let given = settings.credentials().expect("reads");
            given.into_iter().map(|(it, _)| it.variable).collect::<Vec<_>>()
        };
        assert_eq!(keys(&request), ["OPENAI_API_KEY"]);
        assert_eq!(request.origin(Variable::OpenAiApiKey).to_string(), "request");
        let env = request.gateway_env().expect("reads").variables;
        assert_eq!(env.into_iter().map(|(name, _)| name).collect::<Vec<_>>(), ["TZ"]);
        let lent = own.for_request([], Vec::new(), true);
        assert_eq!(keys(&lent), ["ANTHROPIC_API_KEY"]);
    }

    impl Settings {
        fn gateway_flag_for_test(mut self, pair: &str) -> Self {
            self.gateway_flags.push(Secret::new(pair));
            self
        }
    }
}
