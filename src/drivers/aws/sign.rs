//! Signature Version 4.
//!
//! Owns the signing of one request, and of one that another sends, in its query. Refuses to know a
//! clock; the time is the caller's.
//!
//! Written by hand, and why: it is eighty lines over one HMAC, and that is compiled already for the
//! webhooks' signatures. `aws-config` with `aws-sigv4` adds 31 crates and 170 seconds of compiling,
//! a fifth of it a client for one service. The tests compare with AWS's published examples and with
//! what botocore signs.

use std::time::Duration;

use hmac_sha256::{HMAC, Hash};
use time::OffsetDateTime;
use time::macros::format_description;
use zeroize::Zeroizing;

use crate::domain::text::percent_encode;
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

/// What of a request is signed beside its headers and its body.
#[derive(Debug)]
pub(super) struct Signed<'a> {
    pub(super) method: &'a str,
    /// The `Host` header's value.
    pub(super) host: &'a str,
    /// As it stands in the request.
    pub(super) path: &'a str,
    /// As it stands in the request, in the order of its names.
    pub(super) query: &'a str,
}

impl Signer<'_> {
    /// The headers that a request needs beside its own.
    pub(super) fn sign(
        &self,
        what: &Signed<'_>,
        headers: &[(&'static str, String)],
        body: &[u8],
    ) -> Vec<(&'static str, Secret)> {
        let time = self.timestamp();
        let day = &time[..8];
        let mut signed: Vec<(&str, &str)> =
            headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
        signed.extend([("host", what.host), ("x-amz-date", time.as_str())]);
        signed.extend(self.session_token.map(|token| ("x-amz-security-token", token.expose())));
        signed.sort_unstable();
        let names = signed.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(";");
        let lines = signed.iter().map(|(name, value)| format!("{name}:{}", value.trim()));
        let lines = lines.collect::<Vec<_>>().join("\n");
        let body = hex(&Hash::hash(body));
        let Signed { method, query, .. } = what;
        // What is encoded in the path already is encoded once more.
        let path = what.path.split('/').map(percent_encode).collect::<Vec<_>>().join("/");
        let request = format!("{method}\n{path}\n{query}\n{lines}\n\n{names}\n{body}");
        let request = Zeroizing::new(request);
        let scope = self.scope(day);
        let signature = self.signature(&time, &request);
        let authorization = format!(
            "AWS4-HMAC-SHA256 Credential={}/{scope}, SignedHeaders={names}, Signature={signature}",
            self.access_key
        );
        let mut added =
            vec![("authorization", Secret::new(authorization)), ("x-amz-date", Secret::new(time))];
        added.extend(self.session_token.map(|token| ("x-amz-security-token", token.clone())));
        added
    }

    /// The query of a request without a body that somebody else sends, as it stands in its URL,
    /// signed: a `GET` of the root. `query` are its own parameters.
    pub(super) fn presign(
        &self,
        host: &str,
        query: &[(&str, &str)],
        headers: &[(&'static str, &str)],
        holds: Duration,
    ) -> Secret {
        let time = self.timestamp();
        let mut signed = headers.to_vec();
        signed.push(("host", host));
        signed.sort_unstable();
        let names = signed.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(";");
        let lines = signed.iter().map(|(name, value)| format!("{name}:{}", value.trim()));
        let lines = lines.collect::<Vec<_>>().join("\n");
        let credential = format!("{}/{}", self.access_key, self.scope(&time[..8]));
        let seconds = holds.as_secs().to_string();
        let mut parameters = query.to_vec();
        parameters.extend([
            ("X-Amz-Algorithm", "AWS4-HMAC-SHA256"),
            ("X-Amz-Credential", credential.as_str()),
            ("X-Amz-Date", time.as_str()),
            ("X-Amz-Expires", seconds.as_str()),
            ("X-Amz-SignedHeaders", names.as_str()),
        ]);
        parameters.extend(self.session_token.map(|it| ("X-Amz-Security-Token", it.expose())));
        parameters.sort_unstable();
        let pair = |(name, value): &(&str, &str)| {
            format!("{}={}", percent_encode(name), percent_encode(value))
        };
        let query = Zeroizing::new(parameters.iter().map(pair).collect::<Vec<_>>().join("&"));
        let nothing = hex(&Hash::hash(b""));
        let request = Zeroizing::new(format!("GET\n/\n{}\n{lines}\n\n{names}\n{nothing}", *query));
        let signature = self.signature(&time, &request);
        Secret::new(format!("{}&X-Amz-Signature={signature}", *query))
    }

    fn scope(&self, day: &str) -> String {
        format!("{day}/{}/{}/aws4_request", self.region, self.service)
    }

    fn signature(&self, time: &str, request: &str) -> String {
        let day = &time[..8];
        let hash = hex(&Hash::hash(request.as_bytes()));
        let text = format!("AWS4-HMAC-SHA256\n{time}\n{}\n{hash}", self.scope(day));
        hex(&HMAC::mac(text, self.key(day)))
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
        let what = Signed { method: "POST", host, path: "/", query: "" };
        let added = signer.sign(&what, &headers, body.as_bytes());
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

    /// What botocore 1.44.8 signs.
    #[test]
    fn a_path_is_signed_as_another_implementation_does() {
        let secret = Secret::new("wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY");
        let signer = Signer {
            access_key: "AKIDEXAMPLE",
            secret_key: &secret,
            session_token: None,
            region: "eu-central-1",
            service: "eks",
            at: datetime!(2015-08-30 12:36:00 UTC),
        };
        for (method, path, query, expected) in [
            (
                "GET",
                "/clusters/c/access-entries/arn%3Aaws%3Aiam%3A%3A1%3Arole%2Fx",
                "",
                "8b9279238bb32fad8c3ff2dd27285d155611b896638caab833d60ed207aed300",
            ),
            (
                "GET",
                "/clusters/c/addons",
                "nextToken=a%3Db",
                "e53c92bc631bf5a7be21d6648b066efcff122fb81c2788e0db6ef18a29e7c84a",
            ),
            (
                "DELETE",
                "/clusters/c",
                "",
                "5a4deb2f12c1a0ce4d50c3f651d3717f58bb846233b82341a62286909205767f",
            ),
        ] {
            let what = Signed { method, host: "eks.eu-central-1.amazonaws.com", path, query };
            let added = signer.sign(&what, &[], b"");
            let said = added[0].1.expose();
            assert!(said.ends_with(&format!("Signature={expected}")), "{said}");
        }
    }

    /// What botocore 1.44.8 signs.
    #[test]
    fn a_query_is_signed_as_another_implementation_does() {
        let secret = Secret::new("wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY");
        for (token, expected) in [
            (None, "058f189acd2fccb18f5bdb37dafecaf620e434e8a97ce5d34b98913f325d15aa"),
            (
                Some(Secret::new("AQoDYXdzEPT//////////wEXAMPLE")),
                "ba9bc8e80d29da53579fadbc298d836039ff10a320233461d24386f74b7971dd",
            ),
        ] {
            let signer = Signer {
                access_key: "AKIDEXAMPLE",
                secret_key: &secret,
                session_token: token.as_ref(),
                region: "eu-central-1",
                service: "sts",
                at: datetime!(2015-08-30 12:36:00 UTC),
            };
            let query = signer.presign(
                "sts.eu-central-1.amazonaws.com",
                &[("Action", "GetCallerIdentity"), ("Version", "2011-06-15")],
                &[("x-k8s-aws-id", "openclaw-cluster-1")],
                Duration::from_secs(60),
            );
            let query = query.expose();
            assert!(query.ends_with(&format!("&X-Amz-Signature={expected}")), "{query}");
            assert!(query.contains("&X-Amz-Date=20150830T123600Z&X-Amz-Expires=60&"), "{query}");
        }
    }
}
