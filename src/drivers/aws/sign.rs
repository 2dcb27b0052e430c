//! Signature Version 4.
//!
//! Owns the signing of one request: a `POST` to a path without a query, which is all that this
//! driver sends. Refuses to know a clock; the time is the caller's.
//!
//! Written by hand, and why: it is eighty lines over one HMAC, and that is compiled already for the
//! webhooks' signatures. `aws-config` with `aws-sigv4` adds 31 crates and 170 seconds of compiling,
//! a fifth of it a client for one service. The tests compare with AWS's published examples and with
//! what botocore signs.

use hmac_sha256::{HMAC, Hash};
use time::OffsetDateTime;
use time::macros::format_description;
use zeroize::Zeroizing;

use crate::secrets::Secret;

/// What a request is signed with.
#[derive(Debug)]
pub(super) struct Signer<'a> {
    pub(super) access_key: &'a str,
    pub(super) secret_key: &'a Secret,
    pub(super) session_token: Option<&'a Secret>,
    pub(super) region: &'a str,
    pub(super) service: &'a str,
    pub(super) at: OffsetDateTime,
}

impl Signer<'_> {
    /// The headers that a request needs beside its own. `host` is the `Host` header's value, and
    /// `path` stands in the request as it is here.
    pub(super) fn sign(
        &self,
        host: &str,
        path: &str,
        headers: &[(&'static str, String)],
        body: &[u8],
    ) -> Vec<(&'static str, Secret)> {
        let time = self.timestamp();
        let day = &time[..8];
        let mut signed: Vec<(&str, &str)> =
            headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
        signed.extend([("host", host), ("x-amz-date", time.as_str())]);
        signed.extend(self.session_token.map(|token| ("x-amz-security-token", token.expose())));
        signed.sort_unstable();
        let names = signed.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(";");
        let lines = signed.iter().map(|(name, value)| format!("{name}:{}", value.trim()));
        let lines = lines.collect::<Vec<_>>().join("\n");
        let body = hex(&Hash::hash(body));
        let request = Zeroizing::new(format!("POST\n{path}\n\n{lines}\n\n{names}\n{body}"));
        let scope = format!("{day}/{}/{}/aws4_request", self.region, self.service);
        let hash = hex(&Hash::hash(request.as_bytes()));
        let text = format!("AWS4-HMAC-SHA256\n{time}\n{scope}\n{hash}");
        let signature = hex(&HMAC::mac(text, self.key(day)));
        let authorization = format!(
            "AWS4-HMAC-SHA256 Credential={}/{scope}, SignedHeaders={names}, Signature={signature}",
            self.access_key
        );
        let mut added =
            vec![("authorization", Secret::new(authorization)), ("x-amz-date", Secret::new(time))];
        added.extend(self.session_token.map(|token| ("x-amz-security-token", token.clone())));
        added
    }

    fn timestamp(&self) -> String {
        let format = format_description!("[year][month][day]T[hour][minute][second]Z");
        let at = self.at.to_offset(time::UtcOffset::UTC);
        at.format(&format).expect("every part of a time can be written")
    }

    fn key(&self, day: &str) -> [u8; 32] {
        let first = Zeroizing::new(format!("AWS4{}", self.secret_key.expose()));
        let day = HMAC::mac(day, first.as_bytes());
        let region = HMAC::mac(self.region, day);
        HMAC::mac("aws4_request", HMAC::mac(self.service, region))
    }
}

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        // Writing to a string cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use time::macros::datetime;

    use super::*;

    const FORM: &str = "application/x-www-form-urlencoded";

    fn signature(
        scope: (&str, &str),
        token: Option<&str>,
        host: &str,
        headers: &[(&'static str, &str)],
        body: &str,
    ) -> String {
        let secret = Secret::new("wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY");
        let token = token.map(Secret::new);
        let signer = Signer {
            access_key: "AKIDEXAMPLE",
            secret_key: &secret,
            session_token: token.as_ref(),
            region: scope.0,
            service: scope.1,
            at: datetime!(2015-08-30 12:36:00 UTC),
        };
        let headers: Vec<_> = headers.iter().map(|(name, it)| (*name, (*it).to_owned())).collect();
        let added = signer.sign(host, "/", &headers, body.as_bytes());
        assert_eq!(added[1].1.expose(), "20150830T123600Z");
        added[0].1.expose().to_owned()
    }

    /// `post-vanilla` and `post-x-www-form-urlencoded` of AWS's published test suite.
    #[test]
    fn the_published_examples_come_out_as_published() {
        let of = |headers: &[(&'static str, &str)], body| {
            signature(("us-east-1", "service"), None, "example.amazonaws.com", headers, body)
        };
        assert_eq!(
            of(&[], ""),
            "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/service/aws4_request, \
             SignedHeaders=host;x-amz-date, \
             Signature=5da7c1a2acd57cee7505fc6676e4e544621c30862966e37dddb68e92efbe5d6b"
        );
        assert!(of(&[("content-type", FORM)], "Param1=value1").ends_with(
            "SignedHeaders=content-type;host;x-amz-date, \
             Signature=ff11897932ad3f4e8b18135d722051e5ac45fc38421b1da7b9d196a0fe09473a"
        ));
    }

    /// What botocore 1.44.8 signs.
    #[test]
    fn both_protocols_are_signed_as_another_implementation_does() {
        let form = [("content-type", "application/x-www-form-urlencoded; charset=utf-8")];
        let body = "Action=DescribeRegions&Version=2016-11-15";
        let host = "ec2.eu-central-1.amazonaws.com";
        assert!(signature(("eu-central-1", "ec2"), None, host, &form, body).ends_with(
            "Signature=f9f6e50d476c7295ff3e815d1c14caf168e08f0ca14864e3f3b51535000323bb"
        ));
        let json = [
            ("content-type", "application/x-amz-json-1.1"),
            ("x-amz-target", "Lightsail_20161128.GetBundles"),
        ];
        let (scope, host) = (("us-west-2", "lightsail"), "lightsail.us-west-2.amazonaws.com");
        let token = Some("AQoDYXdzEPT//////////wEXAMPLE");
        assert!(signature(scope, token, host, &json, "{\"includeInactive\":false}").ends_with(
            "SignedHeaders=content-type;host;x-amz-date;x-amz-security-token;x-amz-target, \
             Signature=1a0a5c8bfd3baffbc6f9ec46545e378f7eeeea6e95a456caee9d20749c3dbccc"
        ));
    }
}
