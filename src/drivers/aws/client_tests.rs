//! Calls against AWS on loopback.

use serde_json::json;

use super::super::environment::of;
use super::super::fake::Fake;
use super::super::service::Service;
use super::*;
use crate::domain::FailureKind;

const THROTTLED: &str = "<Response><Errors><Error><Code>RequestLimitExceeded</Code>\
                         <Message>Request limit exceeded.</Message></Error></Errors></Response>";

fn call() -> Call {
    Call::form(Service::Ec2, "DescribeRegions")
}

#[test]
fn pauses_double_up_to_their_bound_and_are_spread() {
    let pace = Pace { first: Duration::from_millis(200), longest: Duration::from_secs(5) };
    assert_eq!(pace.pause(1, 0), Duration::from_millis(100));
    assert_eq!(pace.pause(3, 0), Duration::from_millis(400));
    assert_eq!(pace.pause(60, 0), Duration::from_millis(2500));
    for tries in 1..8 {
        let most = pace.first * 2_u32.pow(tries - 1);
        assert!(pace.pause(tries, 255) < most.min(pace.longest));
        assert!(pace.pause(tries, 255) > pace.pause(tries, 0));
    }
}

#[tokio::test]
async fn a_call_is_signed_for_its_service() {
    let fake = Fake::answering([(200, "<a/>"), (200, "{}")]).await;
    let aws = fake.aws();
    aws.send(&call()).await.expect("an answer");
    aws.json(Call::json(Service::ServiceQuotas, "GetServiceQuota", json!({}))).await.expect("one");
    let asked = fake.asked();
    assert_eq!(asked[0].body, "Action=DescribeRegions&Version=2016-11-15");
    assert!(asked[0].head.starts_with("POST / HTTP/1.1\r\n"), "{}", asked[0].head);
    assert!(asked[0].head.contains("/us-east-1/ec2/aws4_request"), "{}", asked[0].head);
    assert!(asked[1].head.contains("/us-east-1/servicequotas/aws4_request"), "{}", asked[1].head);
    assert!(asked[1].head.contains("ServiceQuotasV20190624.GetServiceQuota"));
    assert!(!asked.iter().any(|asked| asked.head.contains("s3cr3t")));
}

#[tokio::test]
async fn what_aws_had_no_room_for_is_tried_again_within_a_bound() {
    let fake = Fake::answering([(503, THROTTLED), (500, "<html>"), (200, "<a/>")]).await;
    assert_eq!(fake.aws().send(&call()).await.expect("an answer"), "<a/>");
    assert_eq!(fake.asked().len(), 3);
    let fake = Fake::with(|_| (503, THROTTLED.into())).await;
    let error = fake.aws().send(&call()).await.expect_err("no answer");
    assert_eq!(error.problem(), Some(Problem::Throttled));
    assert_eq!(fake.asked().len(), usize::try_from(TRIES).expect("a few"));
}

#[tokio::test]
async fn what_is_refused_is_asked_once_and_repeats_no_secret() {
    let body = "<Response><Errors><Error><Code>InvalidParameterValue</Code>\
                <Message>not s3cr3t-k3y</Message></Error></Errors></Response>";
    let fake = Fake::answering([(400, body)]).await;
    let error = fake.aws().send(&call()).await.expect_err("refused");
    let failure = Failure::from(error);
    assert!(failure.message.contains("ec2:DescribeRegions"), "{failure}");
    assert!(failure.message.contains("[redacted]") && !failure.message.contains("s3cr3t"));
    assert_eq!(fake.asked().len(), 1);
}

#[tokio::test]
async fn a_list_is_read_page_by_page_and_ends() {
    let fake = Fake::answering([(200, "t1"), (200, "")]).await;
    let read = |body: &str| {
        let next = Some(body.to_owned()).filter(|it| !it.is_empty());
        Ok(Page { items: vec![body.len()], next })
    };
    assert_eq!(fake.aws().pages(call(), read).await.expect("pages"), [2, 0]);
    assert!(fake.bodies()[1].ends_with("&NextToken=t1"));
    let fake = Fake::with(|_| (200, "again".into())).await;
    let failure = Failure::from(fake.aws().pages(call(), read).await.expect_err("no end"));
    assert!(failure.message.contains("does not come to an end"), "{failure}");
}

#[tokio::test]
async fn an_endpoint_that_is_no_address_is_said_without_a_call() {
    let environment = of(&[
        ("AWS_ACCESS_KEY_ID", "A"),
        ("AWS_SECRET_ACCESS_KEY", "s"),
        ("AWS_ENDPOINT_URL_EC2", "nonsense"),
    ]);
    let aws = Aws::new(environment, Some("us-east-1")).expect("a driver");
    let failure = Failure::from(aws.send(&call()).await.expect_err("no address"));
    assert_eq!(failure.kind, FailureKind::Prerequisite);
    assert!(failure.remedy.expect("one").contains("AWS_ENDPOINT_URL"));
}

#[test]
fn a_region_is_named_outright_or_by_the_environment() {
    let aws = Aws::new(of(&[("AWS_DEFAULT_REGION", "eu-west-1")]), None).expect("a driver");
    assert_eq!(aws.region(), "eu-west-1");
    let both = of(&[("AWS_DEFAULT_REGION", "eu-west-1"), ("AWS_REGION", "eu-west-2")]);
    assert_eq!(Aws::new(both.clone(), None).expect("a driver").region(), "eu-west-2");
    assert_eq!(Aws::new(both, Some("us-east-2")).expect("a driver").region(), "us-east-2");
    let failure = Aws::new(of(&[]), None).expect_err("none");
    assert!(failure.remedy.expect("one").contains("AWS_REGION"));
    // A region becomes a part of a host's name.
    Aws::new(of(&[]), Some("us-east-1.evil.example/")).expect_err("no region");
}
