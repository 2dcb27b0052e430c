//! Who is calling.

use super::client::Aws;
use super::error::CallError;
use super::service::{Call, Service};
use super::xml;
use crate::domain::Failure;

/// Whom the credentials belong to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// The account's number.
    pub account: String,
    /// The user or the role.
    pub arn: String,
}

impl Aws {
    /// Whom the credentials belong to. It needs no permission, so it also tells whether they are
    /// good at all.
    pub async fn identity(&self) -> Result<Identity, CallError> {
        self.xml(Call::form(Service::Sts, "GetCallerIdentity"), read).await
    }
}

fn read(body: &str) -> Result<Identity, Failure> {
    let document = xml::parse(body)?;
    let result =
        xml::find(document.root(), "GetCallerIdentityResult").ok_or_else(xml::unreadable)?;
    let field = |name| xml::text(result, &[name]).ok_or_else(xml::unreadable);
    Ok(Identity { account: field("Account")?, arn: field("Arn")? })
}

#[cfg(test)]
mod tests {
    use super::super::fake::Fake;
    use super::*;
    use crate::domain::FailureKind;

    #[tokio::test]
    async fn the_account_and_the_user_are_read() {
        let body = "<GetCallerIdentityResponse xmlns=\"https://sts.example/doc/\">\
                    <GetCallerIdentityResult><UserId>AIDA</UserId><Account>123456789012</Account>\
                    <Arn>arn:aws:iam::123456789012:user/x</Arn></GetCallerIdentityResult>\
                    <ResponseMetadata><RequestId>r</RequestId></ResponseMetadata>\
                    </GetCallerIdentityResponse>";
        let fake = Fake::answering([(200, body)]).await;
        let identity = fake.aws().identity().await.expect("an identity");
        assert_eq!(identity.account, "123456789012");
        assert_eq!(identity.arn, "arn:aws:iam::123456789012:user/x");
        assert_eq!(fake.bodies(), ["Action=GetCallerIdentity&Version=2011-06-15"]);
    }

    #[tokio::test]
    async fn wrong_credentials_are_said_to_be() {
        let body = "<ErrorResponse><Error><Type>Sender</Type><Code>InvalidClientTokenId</Code>\
                    <Message>The security token included in the request is invalid.</Message>\
                    </Error></ErrorResponse>";
        let fake = Fake::answering([(403, body)]).await;
        let failure = Failure::from(fake.aws().identity().await.expect_err("nobody"));
        assert_eq!(failure.kind, FailureKind::Prerequisite);
        assert!(failure.message.contains("does not know these credentials"), "{failure}");
    }
}
