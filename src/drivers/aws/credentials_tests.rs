//! The order of the places, and what is said when none has any.

use super::super::environment::of;
use super::super::fake::Fake;
use super::*;
use crate::domain::FailureKind;

struct Home(tempfile::TempDir);

impl Home {
    fn new(config: &str, credentials: &str) -> Self {
        let home = tempfile::tempdir().expect("a directory");
        std::fs::create_dir(home.path().join(".aws")).expect("made");
        std::fs::write(home.path().join(".aws/config"), config).expect("written");
        std::fs::write(home.path().join(".aws/credentials"), credentials).expect("written");
        Self(home)
    }

    /// Looks for credentials with these variables, and with no service of a machine's.
    async fn find(&self, pairs: &[(&str, &str)]) -> Result<Keys, Failure> {
        let home = self.0.path().to_str().expect("a path");
        let mut all = vec![("AWS_EC2_METADATA_DISABLED", "true"), ("HOME", home)];
        all.extend(pairs);
        find_with(&all).await
    }
}

async fn find_with(pairs: &[(&str, &str)]) -> Result<Keys, Failure> {
    let environment = of(pairs);
    let profiles = Profiles::load(&environment)?;
    find(&environment, &profiles, &Http::default()).await.map(|found| found.keys)
}

const BOTH: [(&str, &str); 2] = [("AWS_ACCESS_KEY_ID", "E"), ("AWS_SECRET_ACCESS_KEY", "s3cr3t")];

#[tokio::test]
async fn the_environment_goes_before_a_profile_that_is_named() {
    let home = Home::new("", "[prod]\naws_access_key_id=P\naws_secret_access_key=s3cr3t\n");
    let mut pairs = BOTH.to_vec();
    pairs.extend([("AWS_PROFILE", "prod"), ("AWS_SESSION_TOKEN", "t0k3n")]);
    let keys = home.find(&pairs).await.expect("keys");
    assert_eq!((keys.access_key.as_str(), keys.origin.clone()), ("E", Origin::Environment));
    assert_eq!(keys.session_token.expect("one").expose(), "t0k3n");
    // Half of a pair is none.
    let keys = home.find(&[BOTH[0], ("AWS_PROFILE", "prod")]).await.expect("keys");
    assert_eq!((keys.access_key.as_str(), keys.origin), ("P", Origin::Profile("prod".into())));
}

#[tokio::test]
async fn a_profile_that_is_not_there_is_named_and_nothing_else_tried() {
    let home = Home::new("", "[prod]\naws_access_key_id=P\naws_secret_access_key=s\n");
    let failure = home.find(&[("AWS_PROFILE", "pord")]).await.expect_err("no profile");
    assert!(failure.message.contains("pord"), "{failure}");
    assert!(failure.remedy.expect("one").contains("prod"));
}

#[tokio::test]
async fn what_is_not_done_here_says_the_way_round_it() {
    let config = "[profile s]\nsso_session=x\nsso_account_id=1\n\
                  [profile w]\nweb_identity_token_file=/x\n";
    let home = Home::new(config, "");
    for (profile, what) in [("s", "SSO"), ("w", "web identity")] {
        let failure = home.find(&[("AWS_PROFILE", profile)]).await.expect_err(profile);
        assert!(failure.message.contains(what), "{failure}");
        let remedy = failure.remedy.expect("one");
        assert!(remedy.contains(&format!("export-credentials --profile {profile}")), "{remedy}");
    }
    let failure = home.find(&[("AWS_WEB_IDENTITY_TOKEN_FILE", "/x")]).await.expect_err("no");
    assert!(failure.message.contains("web identity"), "{failure}");
}

#[tokio::test]
async fn a_profiles_program_is_run_without_a_shell_and_its_output_never_shown() {
    let program = Home::new("", "");
    let script = program.0.path().join("give it");
    let write = |text: &str| {
        use std::os::unix::fs::PermissionsExt;
        std::fs::write(&script, format!("#!/bin/sh\n{text}\n")).expect("written");
        std::fs::set_permissions(&script, std::fs::Permissions::from_mode(0o700)).expect("set");
    };
    let line = format!("credential_process = \"{}\" --for '$HOME a' ; note", script.display());
    let home = Home::new(&format!("[default]\n{line}\n"), "");
    write(
        "[ \"$1 $2\" = '--for $HOME a' ] || exit 9\n\
         [ -z \"$AWS_SECRET_ACCESS_KEY\" ] || exit 8\n\
         echo '{\"Version\":1,\"AccessKeyId\":\"K\",\"SecretAccessKey\":\"s\",\"SessionToken\":\"t\",'\n\
         echo '\"Expiration\":\"2099-01-01T00:00:00Z\"}'",
    );
    let keys = home.find(&[BOTH[1]]).await.expect("keys");
    assert_eq!((keys.access_key.as_str(), keys.origin), ("K", Origin::Process("default".into())));
    assert!(keys.ends.is_some());
    for (text, why) in [
        ("echo s3cr3t", "no credentials"),
        ("echo s3cr3t; exit 3", "exit status: 3"),
        ("echo s3cr3t; echo sign in first >&2; exit 3", "sign in first"),
    ] {
        write(text);
        let failure = home.find(&[]).await.expect_err(text);
        assert_eq!(failure.kind, FailureKind::Prerequisite, "{text}");
        assert!(failure.message.contains(why), "{failure}");
        assert!(!failure.message.contains("s3cr3t"), "{failure}");
    }
}

#[test]
fn a_command_is_parted_at_blanks_outside_of_quotes() {
    let split = |line| words(line).map(|words| words.join("|"));
    assert_eq!(split(" a  b\tc ").as_deref(), Some("a|b|c"));
    assert_eq!(split("'a b' \"c \\\" d\" e\\ f ''").as_deref(), Some("a b|c \" d|e f|"));
    assert_eq!(split("a 'b"), None);
    assert_eq!(split("a\\"), None);
    assert_eq!(split("").as_deref(), Some(""));
}

#[tokio::test]
async fn an_instance_is_asked_with_a_session_and_only_if_it_may_be() {
    let fake = Fake::answering([
        (200, "session"),
        (200, "the-role\n"),
        (200, r#"{"Code":"Success","AccessKeyId":"I","SecretAccessKey":"s3cr3t","Token":"t"}"#),
    ])
    .await;
    let place = ("AWS_EC2_METADATA_SERVICE_ENDPOINT", fake.url.as_str());
    let failure =
        find_with(&[place, ("AWS_EC2_METADATA_DISABLED", "TRUE")]).await.expect_err("told not to");
    let remedy = failure.remedy.expect("one");
    for way in ["AWS_ACCESS_KEY_ID", "AWS_PROFILE", "role"] {
        assert!(remedy.contains(way), "{remedy}");
    }
    assert!(fake.asked().is_empty());
    let keys = find_with(&[place]).await.expect("keys");
    assert_eq!((keys.access_key.as_str(), keys.origin), ("I", Origin::Instance));
    let asked = fake.asked();
    assert!(asked[0].head.starts_with("PUT /latest/api/token "), "{}", asked[0].head);
    assert!(asked[2].head.starts_with("GET /latest/meta-data/iam/security-credentials/the-role "));
    assert!(asked[2].head.contains("x-aws-ec2-metadata-token: session"), "{}", asked[2].head);
}

#[tokio::test]
async fn an_instance_whose_service_is_busy_is_asked_again() {
    let fake = Fake::answering([
        (503, ""),
        (200, "session"),
        (429, ""),
        (500, ""),
        (200, "the-role\n"),
        (200, r#"{"Code":"Success","AccessKeyId":"I","SecretAccessKey":"s3cr3t","Token":"t"}"#),
    ])
    .await;
    let place = ("AWS_EC2_METADATA_SERVICE_ENDPOINT", fake.url.as_str());
    let keys = find_with(&[place]).await.expect("keys");
    assert_eq!((keys.access_key.as_str(), fake.asked().len()), ("I", 6));
}

#[tokio::test]
async fn a_container_goes_before_the_instance_and_its_token_stays_near() {
    let answer = r#"{"AccessKeyId":"C","SecretAccessKey":"s","Token":"t"}"#;
    let fake = Fake::answering([(200, answer), (403, "s3cr3t")]).await;
    let url = format!("{}/get", fake.url);
    let pairs = [
        ("AWS_CONTAINER_CREDENTIALS_FULL_URI", url.as_str()),
        ("AWS_CONTAINER_AUTHORIZATION_TOKEN", "t0k3n"),
    ];
    let keys = find_with(&pairs).await.expect("keys");
    assert_eq!((keys.access_key.as_str(), keys.origin), ("C", Origin::Container));
    assert!(fake.asked()[0].head.contains("authorization: t0k3n"));
    let failure = find_with(&pairs).await.expect_err("refused");
    assert!(failure.message.contains("403") && !failure.message.contains("s3cr3t"), "{failure}");
    let far = ("AWS_CONTAINER_CREDENTIALS_FULL_URI", "http://192.0.2.1/get");
    let failure = find_with(&[far, pairs[1]]).await.expect_err("far");
    assert!(failure.message.contains("without encryption"), "{failure}");
}
