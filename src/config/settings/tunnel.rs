//! Settings of who reaches a gateway on a machine, and of the tunnel that may lead there.
//!
//! Owns what two settings say together: who reaches it is said by `EXPOSE` and by `CLOUDFLARE`, and
//! a named tunnel by its host name and its token. Refuses where they contradict each other.

use super::Settings;
use crate::config::rules;
use crate::config::variables::Variable;
use crate::domain::{Expose, Failure, tunnel};
use crate::secrets::{Secret, token};

impl Settings {
    /// Whether somebody said who is to reach the gateway.
    pub fn is_exposure_given(&self) -> bool {
        self.is_given(Variable::Expose) || self.is_given(Variable::Cloudflare)
    }

    /// Who reaches the gateway. Of the two variables the one that was said nearer counts.
    pub fn expose(&self) -> Result<Expose, Failure> {
        let (expose, cloudflare) = (Variable::Expose, Variable::Cloudflare);
        let said = self.read(expose, |text| {
            text.to_ascii_lowercase()
                .parse::<Expose>()
                .map_err(|failure| failure.remedy("set EXPOSE to http, tunnel, operator or none"))
        })?;
        let tunnel = self.read(cloudflare, |text| rules::boolean(cloudflare.name(), text))?;
        let (Some(said), Some(tunnel)) = (said, tunnel) else {
            let by_default = if tunnel == Some(true) { Expose::Tunnel } else { Expose::Http };
            return Ok(said.unwrap_or(by_default));
        };
        let (of_said, of_tunnel) = (self.origin(expose), self.origin(cloudflare));
        match (said, tunnel) {
            (Expose::Tunnel, true) => Ok(Expose::Tunnel),
            (Expose::Tunnel, false) | (_, true) if of_said.same_place(of_tunnel) => Err(self.from(
                expose,
                Failure::bad_input(format!(
                    "EXPOSE is {said} and CLOUDFLARE is {tunnel}, and one gateway has one way in"
                ))
                .remedy("leave one of the two out; EXPOSE=tunnel is what CLOUDFLARE=true means"),
            )),
            (_, true) if of_tunnel < of_said => Ok(Expose::Tunnel),
            (Expose::Tunnel, false) if of_tunnel < of_said => Ok(Expose::Http),
            _ => Ok(said),
        }
    }

    /// The host name of a named tunnel; `None` is a quick one.
    pub fn tunnel_host(&self) -> Result<Option<String>, Failure> {
        Ok(self.named_tunnel()?.map(|(host, _)| host))
    }

    /// A named tunnel's host name and token: both or neither.
    pub fn named_tunnel(&self) -> Result<Option<(String, Secret)>, Failure> {
        let (of_host, of_token) = (Variable::TunnelHost, Variable::TunnelToken);
        let host = self.read(of_host, |text| {
            tunnel::host_name(text).map_err(|mut failure| {
                failure.message = format!("{}: {}", of_host.name(), failure.message);
                failure.remedy("name the tunnel's public host name alone, such as ai.example.com")
            })
        })?;
        let token = self.read(of_token, |text| token::check_key(of_token.name(), text))?;
        let (has, lacks) = match (host, token) {
            (None, None) => return Ok(None),
            (Some(host), Some(token)) => return Ok(Some((host, token))),
            (Some(_), None) => (of_host, of_token),
            (None, Some(_)) => (of_token, of_host),
        };
        Err(self.from(
            has,
            Failure::bad_input(format!(
                "{} is set without {}, and a named tunnel needs both",
                has.name(),
                lacks.name()
            ))
            .remedy(format!("set {} too, or leave both out for a quick tunnel", lacks.name())),
        ))
    }

    /// The image of the tunnel's program; `None` is the default one.
    pub fn tunnel_image(&self) -> Result<Option<String>, Failure> {
        let variable = Variable::TunnelImage;
        let named = |failure: Failure| Failure {
            message: failure.message.replace(Variable::Image.name(), variable.name()),
            remedy: Some("leave it out for the default one, or correct the reference".into()),
            ..failure
        };
        self.read(variable, |text| crate::config::image::image(text).map_err(named))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Sources;

    fn settings(environment: &[(&str, &str)], dotenv: &str) -> Settings {
        let sources = Sources::new("/w").env("HOME", "/home/u").dotenv(dotenv);
        let sources = environment.iter().fold(sources, |it, (name, value)| it.env(*name, *value));
        Settings::resolve(&sources).expect("resolved")
    }

    #[test]
    fn cloudflare_means_a_tunnel() {
        let expose = |environment: &[(&str, &str)], dotenv: &str| {
            settings(environment, dotenv).expose().expect("no contradiction")
        };
        assert_eq!(expose(&[], ""), Expose::Http);
        assert_eq!(expose(&[], "CLOUDFLARE=true"), Expose::Tunnel);
        assert_eq!(expose(&[("cloudflare", "true")], ""), Expose::Tunnel);
        assert_eq!(expose(&[], "CLOUDFLARE=false"), Expose::Http);
        assert_eq!(expose(&[], "EXPOSE=tunnel"), Expose::Tunnel);
        assert_eq!(expose(&[], "EXPOSE=tunnel\nCLOUDFLARE=true"), Expose::Tunnel);
        assert_eq!(expose(&[], "EXPOSE=none\nCLOUDFLARE=false"), Expose::None);
        // The nearer word counts.
        assert_eq!(expose(&[("CLOUDFLARE", "true")], "EXPOSE=none"), Expose::Tunnel);
        assert_eq!(expose(&[("EXPOSE", "none")], "CLOUDFLARE=true"), Expose::None);
        assert_eq!(expose(&[("CLOUDFLARE", "false")], "EXPOSE=tunnel"), Expose::Http);
    }

    #[test]
    fn a_contradiction_is_refused_with_a_way_out() {
        for text in ["EXPOSE=none\nCLOUDFLARE=true", "EXPOSE=tunnel\nCLOUDFLARE=false"] {
            let failure = settings(&[], text).expose().expect_err("a contradiction");
            assert!(failure.message.contains("EXPOSE is"), "{failure}");
            assert!(failure.remedy.expect("a remedy").contains("leave one of the two out"));
        }
        settings(&[], "CLOUDFLARE=perhaps").expose().expect_err("no answer");
    }

    #[test]
    fn a_named_tunnel_has_a_host_name_and_a_token() {
        const HOST: &str = "OPENCLAW_PIPELINE_TUNNEL_HOSTNAME";
        const TOKEN: &str = "OPENCLAW_PIPELINE_TUNNEL_TOKEN";
        let both = format!("{HOST}=AI.example.com\n{TOKEN}=eyJhIjoi0123456789");
        let (host, token) = settings(&[], &both).named_tunnel().expect("both").expect("one");
        assert_eq!((host.as_str(), token.expose()), ("ai.example.com", "eyJhIjoi0123456789"));
        for (one, other) in [(HOST, TOKEN), (TOKEN, HOST)] {
            let text = format!("{one}=ai.example.com");
            let failure = settings(&[], &text).named_tunnel().expect_err("one alone");
            assert!(failure.message.contains(one) && failure.message.contains(other), "{failure}");
        }
        let failure = settings(&[], &format!("{HOST}=https://x\n{TOKEN}=eyJhIjoi0123456789"));
        let failure = failure.named_tunnel().expect_err("no host name");
        assert!(failure.message.contains(HOST) && !failure.message.contains("eyJ"), "{failure}");
        assert!(settings(&[], "").named_tunnel().expect("none").is_none());
    }

    #[test]
    fn the_image_of_its_program_is_a_reference() {
        let image = |text: &str| settings(&[], text).tunnel_image();
        assert_eq!(image(""), Ok(None));
        let own = image("OPENCLAW_PIPELINE_TUNNEL_IMAGE=registry.example:5000/cloudflared:1");
        assert_eq!(own.expect("one").as_deref(), Some("registry.example:5000/cloudflared:1"));
        let failure = image("OPENCLAW_PIPELINE_TUNNEL_IMAGE=--privileged").expect_err("an option");
        assert!(failure.message.contains("OPENCLAW_PIPELINE_TUNNEL_IMAGE"), "{failure}");
        let default = crate::config::variables::DEFAULT_TUNNEL_IMAGE;
        assert_eq!(crate::config::image::image(default).expect("a reference"), default);
    }
}
