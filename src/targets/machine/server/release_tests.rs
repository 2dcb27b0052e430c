//! What a release holds, line by line.

use super::*;
use crate::domain::DeploymentName;
use crate::targets::GatewaySecrets;
use crate::targets::machine::site_of_a_test;

fn site(env: &[(&str, &str)]) -> Site {
    let pair = |(name, value): &(&str, &str)| ((*name).to_owned(), Secret::new(*value));
    let secrets = GatewaySecrets {
        token: Secret::new(""),
        credentials: vec![("ANTHROPIC_API_KEY".into(), Secret::new("sk-ant-`$(id)`\"\\"))],
        env: env.iter().map(pair).collect(),
        user_config: None,
        tunnel_token: None,
    };
    Site { secrets, ..site_of_a_test("/data".as_ref(), DeploymentName::server()) }
}

fn spec(reach: Reach) -> ServerSpec {
    ServerSpec {
        installation: "there".into(),
        cidrs: Vec::new(),
        reach,
        hosts: vec!["pipeline.example".into()],
        settings: vec![("FRONTEND_URL".into(), "https://shop.example".into())],
    }
}

fn text(site: &Site, reach: Reach, name: &str) -> Option<(&'static str, String)> {
    let files = files(site, &spec(reach)).expect("a release");
    files
        .into_iter()
        .find(|file| file.name == name)
        .map(|file| (file.mode, file.text.expose().to_owned()))
}

#[test]
fn the_environment_file_is_private_and_reads_back() {
    let (mode, text) = text(&site(&[]), Reach::Https, "server.env").expect("it is there");
    assert_eq!(mode, "600");
    for line in [
        "OPENCLAW_PIPELINE_HOSTS=\"203.0.113.7,pipeline.example\"",
        "OPENCLAW_PIPELINE_BIND=\"0.0.0.0\"",
        "OPENCLAW_PIPELINE_TLS_CERT=\"/var/lib/openclaw-pipeline/server/tls/tls.crt\"",
        "FRONTEND_URL=\"https://shop.example\"",
        "ANTHROPIC_API_KEY=\"sk-ant-\\`\\$(id)\\`\\\"\\\\\"",
    ] {
        assert!(text.lines().any(|it| it == line), "{line} is not in {text}");
    }
    assert!(files(&site(&[("KEY", "a\u{1b}b")]), &spec(Reach::Https)).is_err());
}

#[test]
fn plain_http_is_said_outright_and_a_tunnel_ends_on_loopback() {
    let unit = |reach| text(&site(&[]), reach, "machine.conf").expect("it is there").1;
    assert!(unit(Reach::Http).contains("serve --insecure-http"));
    for reach in [Reach::Https, Reach::Tunnel] {
        assert!(!unit(reach).contains("ExecStart"));
    }
    let (_, env) = text(&site(&[]), Reach::Tunnel, "server.env").expect("it is there");
    assert!(env.contains("OPENCLAW_PIPELINE_BIND=\"127.0.0.1\"") && !env.contains("TLS"));
}

#[test]
fn what_is_given_as_a_file_goes_as_a_private_one_and_not_by_a_variable() {
    let given = [
        (CERTIFICATE, "chain"),
        (CERTIFICATE_KEY, "key"),
        (AWS_KEY_ID, "AKIA"),
        (AWS_SECRET, "secret-key"),
    ];
    let site = site(&given);
    let of = |name| text(&site, Reach::Https, name);
    assert_eq!(of("tls.key"), Some(("600", "key".to_owned())));
    let (mode, aws) = of("aws-credentials").expect("it is there");
    assert!(mode == "600" && aws.contains("aws_secret_access_key = secret-key"), "{aws}");
    let (_, unit) = of("machine.conf").expect("it is there");
    for line in [
        "LoadCredential=tls.key:/usr/local/lib/openclaw-pipeline/current/tls.key",
        "Environment=OPENCLAW_PIPELINE_TLS_KEY=%d/tls.key",
        "Environment=AWS_SHARED_CREDENTIALS_FILE=%d/aws",
    ] {
        assert!(unit.lines().any(|it| it == line), "{line} is not in {unit}");
    }
    for (_, text) in [of("server.env"), of("machine.conf")].into_iter().flatten() {
        assert!(!text.contains("secret-key") && !text.contains("AKIA"), "{text}");
    }
}
