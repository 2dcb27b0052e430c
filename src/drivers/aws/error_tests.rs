//! What errors look like on the wire, and what the reader is told.

use serde_json::json;

use super::*;
use crate::domain::FailureKind;
use crate::drivers::aws::service::Service;

fn ec2(code: &str, message: &str) -> ApiError {
    let body = format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<Response><Errors><Error><Code>{code}</Code>\
         <Message>{message}</Message></Error></Errors><RequestID>r</RequestID></Response>"
    );
    ApiError::read(&Call::form(Service::Ec2, "RunInstances"), &reply(400, &body))
}

fn reply(status: u16, body: &str) -> Reply {
    Reply { status, error_type: None, body: body.to_owned() }
}

#[test]
fn every_protocols_error_is_read() {
    let error = ec2("VcpuLimitExceeded", "more than 16 vCPUs");
    assert_eq!(
        (error.code.as_str(), error.message.as_str()),
        ("VcpuLimitExceeded", "more than 16 vCPUs")
    );
    let call = Call::form(Service::Sts, "GetCallerIdentity");
    let body = "<ErrorResponse xmlns=\"http://sts.example/\"><Error><Type>Sender</Type>\
                <Code>InvalidClientTokenId</Code><Message>The security token included in the \
                request is invalid.</Message></Error><RequestId>r</RequestId></ErrorResponse>";
    let error = ApiError::read(&call, &reply(403, body));
    assert_eq!(error.problem(), Problem::WrongCredentials);
    let call = Call::json(Service::Lightsail, "GetInstance", json!({}));
    let body =
        r#"{"__type":"com.amazonaws.lightsail#NotFoundException:http://x","message":"none"}"#;
    let error = ApiError::read(&call, &reply(400, body));
    assert_eq!((error.code.as_str(), error.problem()), ("NotFoundException", Problem::NotFound));
    // EKS says what it is beside the body.
    let said = Reply {
        error_type: Some("ResourceNotFoundException:http://x".into()),
        ..reply(404, r#"{"clusterName":"c","message":"No cluster found for name: c."}"#)
    };
    let error = ApiError::read(&call, &said);
    assert_eq!(error.code, "ResourceNotFoundException");
    assert_eq!(error.problem(), Problem::NotFound);
    let error = ApiError::read(&call, &reply(502, "<html>Bad gateway"));
    assert_eq!((error.code.as_str(), error.message.as_str()), ("HTTP 502", ""));
    assert_eq!(error.problem(), Problem::Service);
}

#[test]
fn a_missing_permission_is_named_with_its_resource() {
    let error = ec2(
        "UnauthorizedOperation",
        "You are not authorized to perform this operation. User: arn:aws:iam::123456789012:user/x \
         is not authorized to perform: ec2:CreateTags on resource: \
         arn:aws:ec2:us-east-1:123456789012:instance/* because no identity-based policy allows the \
         ec2:CreateTags action. Encoded authorization failure message: bG9uZw",
    );
    let missing = error.missing();
    assert_eq!(missing.action, "ec2:CreateTags");
    assert_eq!(missing.resource.as_deref(), Some("arn:aws:ec2:us-east-1:123456789012:instance/*"));
    let failure = explain(&error);
    assert_eq!(failure.kind, FailureKind::Prerequisite);
    assert!(failure.message.contains("ec2:CreateTags on arn:aws:ec2"), "{failure}");
    assert!(!error.message.contains("bG9uZw"), "{}", error.message);
    // Without AWS's words it is the call's own.
    let short = ec2("UnauthorizedOperation", "You are not authorized to perform this operation.");
    assert_eq!(short.missing(), Missing { action: "ec2:RunInstances".into(), resource: None });
}

#[test]
fn each_kind_of_refusal_has_its_kind_and_its_remedy() {
    for (code, message, problem, kind, told) in [
        ("ExpiredToken", "x", Problem::ExpiredCredentials, FailureKind::Prerequisite, "expired"),
        ("AuthFailure", "x", Problem::WrongCredentials, FailureKind::Prerequisite, "not know"),
        ("RequestExpired", "x", Problem::Clock, FailureKind::Prerequisite, "clock"),
        (
            "SignatureDoesNotMatch",
            "Signature expired: 1 is now earlier than 2",
            Problem::Clock,
            FailureKind::Prerequisite,
            "clock",
        ),
        ("OptInRequired", "x", Problem::NotOptedIn, FailureKind::Prerequisite, "not ready"),
        ("VcpuLimitExceeded", "16", Problem::Quota, FailureKind::Prerequisite, "vCPUs"),
        ("AddressLimitExceeded", "5", Problem::Quota, FailureKind::Prerequisite, "elastic IPs"),
        ("InsufficientInstanceCapacity", "x", Problem::Capacity, FailureKind::Failed, "none"),
        ("InvalidKeyPair.Duplicate", "x", Problem::NameTaken, FailureKind::Conflict, "taken"),
        (
            "InvalidInputException",
            "Some names are already in use: a",
            Problem::NameTaken,
            FailureKind::Conflict,
            "taken",
        ),
        ("InvalidGroup.NotFound", "x", Problem::NotFound, FailureKind::NotFound, "not have"),
        ("DependencyViolation", "x", Problem::InUse, FailureKind::Conflict, "still uses"),
        ("RequestLimitExceeded", "x", Problem::Throttled, FailureKind::Failed, "no more calls"),
        ("InternalError", "x", Problem::Service, FailureKind::Failed, "failed at"),
        ("InvalidParameterValue", "bad", Problem::Other, FailureKind::Failed, "bad"),
    ] {
        let error = ec2(code, message);
        assert_eq!(error.problem(), problem, "{code}");
        let failure = explain(&error);
        assert_eq!(failure.kind, kind, "{code}");
        assert!(failure.message.contains(told), "{code}: {failure}");
        assert!(failure.remedy.is_some(), "{code}");
    }
}

#[test]
fn what_aws_says_of_a_signature_is_not_repeated() {
    let error =
        ec2("SignatureDoesNotMatch", "The canonical string was: x-amz-security-token:s3cr3t");
    assert!(!explain(&error).message.contains("s3cr3t"));
}
