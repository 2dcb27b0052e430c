//! Taking roles.
//!
//! Owns the way from a profile over the profiles that it names to the credentials that the roles are
//! taken with, and the call that takes one. Refuses a way that leads in a circle or nowhere, and a
//! role that asks for a code: there is nobody to type it.

use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::credentials::unsupported;
use super::keys::{Keys, Origin};
use super::profile::{Profile, Profiles, absent};
use super::service::{Call, Service};
use super::xml;
use crate::domain::{Failure, text};
use crate::secrets::Secret;

/// How many profiles one may lead over.
const LONGEST: usize = 8;

/// A role to take.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Role {
    arn: String,
    session: String,
    external_id: Option<String>,
    seconds: Option<String>,
}

/// Where the credentials are that the first role is taken with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Place {
    /// The keys or the program of a profile.
    Profile(String),
    /// The environment.
    Environment,
    /// The container or the instance.
    Machine,
}

/// What a profile leads to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Chain {
    /// The roles, in the order in which they are taken.
    pub(super) roles: Vec<Role>,
    pub(super) place: Place,
}

/// Follows a profile to its credentials.
pub(super) fn follow(profiles: &Profiles, name: &str) -> Result<Chain, Failure> {
    let mut roles = Vec::new();
    let mut name = name.to_owned();
    let place = loop {
        let profile = profiles.get(&name).ok_or_else(|| absent(&name, profiles))?;
        let shown = text::clean(&name, 64);
        let wrong = |why: &str| {
            Failure::prerequisite(format!("the AWS profile {shown} {why}"))
                .remedy("correct it in ~/.aws/config, or name another profile in AWS_PROFILE")
        };
        let source = profile.get("source_profile");
        let Some(arn) = profile.get("role_arn") else {
            if source.is_some() {
                return Err(wrong("names a source_profile and no role_arn"));
            }
            break Place::Profile(name);
        };
        if profile.get("web_identity_token_file").is_some() {
            let what = format!("the AWS profile {shown} asks for a web identity");
            return Err(unsupported(&what, Some(&name)));
        }
        if profile.get("mfa_serial").is_some() {
            let what = format!("the AWS profile {shown} asks for a code (MFA)");
            return Err(unsupported(&what, Some(&name)));
        }
        roles.push(Role::read(arn, profile));
        if roles.len() > LONGEST {
            return Err(wrong("leads over too many profiles, or in a circle"));
        }
        match (source, profile.get("credential_source")) {
            // Its own keys are what the role is taken with.
            (Some(source), None) if source == name => break Place::Profile(name),
            (Some(source), None) => source.clone_into(&mut name),
            (None, Some("Environment")) => break Place::Environment,
            (None, Some("Ec2InstanceMetadata" | "EcsContainer")) => break Place::Machine,
            (None, Some(_)) => return Err(wrong("has a credential_source that is none")),
            (Some(_), Some(_)) => {
                return Err(wrong("has both source_profile and credential_source"));
            }
            (None, None) => {
                return Err(wrong(
                    "has a role_arn, and neither source_profile nor credential_source",
                ));
            }
        }
    };
    roles.reverse();
    Ok(Chain { roles, place })
}

impl Role {
    fn read(arn: &str, profile: &Profile) -> Self {
        let own = |name| profile.get(name).map(ToOwned::to_owned);
        Self {
            arn: arn.to_owned(),
            session: own("role_session_name").unwrap_or_else(|| "openclaw-pipeline".into()),
            external_id: own("external_id"),
            seconds: own("duration_seconds"),
        }
    }

    /// The call that takes it.
    pub(super) fn call(&self) -> Call {
        let mut call = Call::form(Service::Sts, "AssumeRole")
            .with("RoleArn", self.arn.as_str())
            .with("RoleSessionName", self.session.as_str());
        for (name, value) in [("ExternalId", &self.external_id), ("DurationSeconds", &self.seconds)]
        {
            if let Some(value) = value {
                call = call.with(name, value.as_str());
            }
        }
        call
    }

    /// Its credentials, from the answer.
    pub(super) fn read_keys(&self, body: &str) -> Result<Keys, Failure> {
        let document = xml::parse(body)?;
        let found = xml::find(document.root(), "Credentials").ok_or_else(xml::unreadable)?;
        let field = |name| xml::text(found, &[name]).ok_or_else(xml::unreadable);
        Ok(Keys {
            access_key: field("AccessKeyId")?,
            secret_key: Secret::new(field("SecretAccessKey")?),
            session_token: Some(Secret::new(field("SessionToken")?)),
            ends: OffsetDateTime::parse(&field("Expiration")?, &Rfc3339).ok(),
            origin: Origin::Role(text::clean(&self.arn, 200)),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::client::{Aws, Pace};
    use super::super::environment::of;
    use super::super::fake::{Asked, Fake};
    use super::*;

    const CONFIG: &str = "[profile base]\naws_access_key_id=B\naws_secret_access_key=s3cr3t\n\
        [profile a]\nrole_arn=arn:aws:iam::1:role/a\nsource_profile=base\nexternal_id=x\n\
        [profile b]\nrole_arn=arn:aws:iam::2:role/b\nsource_profile=a\nrole_session_name=me\n\
        [profile own]\nrole_arn=r\nsource_profile=own\naws_access_key_id=O\n\
        aws_secret_access_key=s\n\
        [profile env]\nrole_arn=r\ncredential_source=Environment\n\
        [profile ec2]\nrole_arn=r\ncredential_source=Ec2InstanceMetadata\n\
        [profile odd]\nrole_arn=r\ncredential_source=Nowhere\n\
        [profile alone]\nrole_arn=r\n\
        [profile half]\nsource_profile=base\n\
        [profile code]\nrole_arn=r\nsource_profile=base\nmfa_serial=m\n\
        [profile one]\nrole_arn=r\nsource_profile=two\n\
        [profile two]\nrole_arn=r\nsource_profile=one\n\
        [profile lost]\nrole_arn=r\nsource_profile=bas\n";

    fn home() -> tempfile::TempDir {
        let home = tempfile::tempdir().expect("a directory");
        std::fs::create_dir(home.path().join(".aws")).expect("made");
        std::fs::write(home.path().join(".aws/config"), CONFIG).expect("written");
        home
    }

    #[test]
    fn a_profile_leads_to_its_credentials_or_says_why_not() {
        let home = home();
        let environment = of(&[("HOME", home.path().to_str().expect("a path"))]);
        let profiles = Profiles::load(&environment).expect("read");
        let arns = |name| {
            let chain = follow(&profiles, name).expect(name);
            (chain.roles.into_iter().map(|role| role.arn).collect::<Vec<_>>(), chain.place)
        };
        let (a, b) = ("arn:aws:iam::1:role/a".to_owned(), "arn:aws:iam::2:role/b".to_owned());
        assert_eq!(arns("base"), (Vec::new(), Place::Profile("base".into())));
        assert_eq!(arns("b"), (vec![a, b], Place::Profile("base".into())));
        assert_eq!(arns("own").1, Place::Profile("own".into()));
        assert_eq!(arns("env").1, Place::Environment);
        assert_eq!(arns("ec2").1, Place::Machine);
        for (name, why) in [
            ("odd", "a credential_source that is none"),
            ("alone", "neither source_profile"),
            ("half", "no role_arn"),
            ("code", "MFA"),
            ("one", "in a circle"),
            ("lost", "no AWS profile called bas"),
        ] {
            let failure = follow(&profiles, name).expect_err(name);
            assert!(failure.message.contains(why), "{name}: {failure}");
            assert!(failure.remedy.is_some(), "{name}");
        }
    }

    #[tokio::test]
    async fn roles_are_taken_one_with_the_other_and_calls_made_as_the_last() {
        let fake = Fake::with(|asked: &Asked| {
            if asked.body.starts_with("Action=GetCallerIdentity") {
                let result = "<Account>2</Account><Arn>arn:x</Arn>";
                let body =
                    format!("<R><GetCallerIdentityResult>{result}</GetCallerIdentityResult></R>");
                return (200, body);
            }
            let key = if asked.body.contains("role%2Fa") { "ROLEA" } else { "ROLEB" };
            let body = format!(
                "<R><AssumeRoleResult><Credentials><AccessKeyId>{key}</AccessKeyId>\
                 <SecretAccessKey>s3cr3t</SecretAccessKey><SessionToken>t0k3n</SessionToken>\
                 <Expiration>2099-01-01T00:00:00Z</Expiration></Credentials></AssumeRoleResult></R>"
            );
            (200, body)
        })
        .await;
        let home = home();
        let environment = of(&[
            ("HOME", home.path().to_str().expect("a path")),
            ("AWS_PROFILE", "b"),
            ("AWS_ENDPOINT_URL", &fake.url),
        ]);
        let aws = Aws::paced(environment, Some("eu-west-1"), Pace::default()).expect("a driver");
        aws.identity().await.expect("an identity");
        aws.identity().await.expect("again");
        let asked = fake.asked();
        let signed_as = |asked: &Asked| {
            let rest = asked.head.split_once("Credential=").expect("signed").1.to_owned();
            rest.split('/').next().expect("a key").to_owned()
        };
        assert_eq!(
            asked.iter().map(signed_as).collect::<Vec<_>>(),
            ["B", "ROLEA", "ROLEB", "ROLEB"],
            "and the roles are not taken twice"
        );
        assert!(asked[0].body.contains("&RoleSessionName=openclaw-pipeline&ExternalId=x"));
        assert!(asked[1].body.contains("&RoleSessionName=me"), "{}", asked[1].body);
        assert!(asked[1].head.contains("x-amz-security-token: t0k3n"), "{}", asked[1].head);
        let origin = aws.origin().await.expect("an origin");
        assert_eq!(origin.to_string(), "the role arn:aws:iam::2:role/b");
    }

    #[tokio::test]
    async fn a_role_that_may_not_be_taken_is_named() {
        let body = "<ErrorResponse><Error><Code>AccessDenied</Code><Message>User: arn:aws:iam::1:u \
                    is not authorized to perform: sts:AssumeRole on resource: \
                    arn:aws:iam::1:role/a</Message></Error></ErrorResponse>";
        let fake = Fake::answering([(403, body)]).await;
        let home = home();
        let environment = of(&[
            ("HOME", home.path().to_str().expect("a path")),
            ("AWS_PROFILE", "a"),
            ("AWS_ENDPOINT_URL", &fake.url),
        ]);
        let aws = Aws::new(environment, Some("eu-west-1")).expect("a driver");
        let failure = Failure::from(aws.identity().await.expect_err("denied"));
        assert!(failure.message.contains("sts:AssumeRole on arn:aws:iam::1:role/a"), "{failure}");
    }
}
