//! What IAM is asked, and that nothing but a plain denial of its is a refusal.

use super::super::environment::of;
use super::super::fake::{Asked, Fake};
use super::*;

const USER: &str = "arn:aws:iam::123456789012:user/team/x";

fn making() -> Making {
    Making {
        name: "openclaw-server-1a2b".into(),
        tags: vec![("openclaw-pipeline:installation".into(), "i1".into())],
    }
}

fn identity(arn: &str) -> (u16, String) {
    let result = format!("<Account>123456789012</Account><Arn>{arn}</Arn>");
    (200, format!("<R><GetCallerIdentityResult>{result}</GetCallerIdentityResult></R>"))
}

fn error(code: &str, message: &str) -> String {
    format!(
        "<ErrorResponse><Error><Code>{code}</Code><Message>{message}</Message></Error></ErrorResponse>"
    )
}

/// The actions that a request asks about.
fn actions(body: &str) -> Vec<String> {
    let fields = body.split('&').filter_map(|it| it.split_once('='));
    let named = fields.filter(|(name, _)| name.starts_with("ActionNames.member."));
    named.map(|(_, value)| value.replace("%3A", ":")).collect()
}

fn evaluation(action: &str, decision: &str, more: &str) -> String {
    format!(
        "<member><EvalActionName>{action}</EvalActionName><EvalResourceName>r</EvalResourceName>\
         <EvalDecision>{decision}</EvalDecision><MissingContextValues/>{more}</member>"
    )
}

fn page(evaluations: &str, next: Option<&str>) -> String {
    let marker = next.map(|it| format!("<Marker>{it}</Marker>")).unwrap_or_default();
    format!(
        "<R xmlns=\"https://iam.example/doc/\"><SimulatePrincipalPolicyResult><IsTruncated>{}\
         </IsTruncated>{marker}<EvaluationResults>{evaluations}</EvaluationResults>\
         </SimulatePrincipalPolicyResult></R>",
        next.is_some()
    )
}

/// An IAM in which this is said to each action, beside a decision: what else its evaluation has.
async fn deciding(said: fn(&str) -> (&'static str, &'static str)) -> Fake {
    Fake::with(move |asked: &Asked| {
        if asked.body.starts_with("Action=GetCallerIdentity") {
            return identity(USER);
        }
        let each = |action: &String| {
            let (decision, more) = said(action);
            evaluation(action, decision, more)
        };
        (200, page(&actions(&asked.body).iter().map(each).collect::<String>(), None))
    })
    .await
}

fn missing(found: &Permissions) -> Vec<String> {
    found.missing.iter().map(ToString::to_string).collect()
}

/// Nothing is known, and so nothing refused.
#[track_caller]
fn is_open(found: &Permissions, why: &str) {
    found.check().expect("nothing is refused");
    assert_eq!(found.allowed, Vec::<String>::new());
    assert_eq!(found.undecided.len(), 16, "{found:?}");
    assert!(found.undecided[0].1.contains(why), "{found:?}");
}

#[tokio::test]
async fn what_is_allowed_was_asked_as_it_will_be_called() {
    let fake = deciding(|_| ("allowed", "")).await;
    let found = fake.aws().simulated_lightsail(&making()).await;
    found.check().expect("all is allowed");
    assert_eq!((found.allowed.len(), found.undecided.len()), (16, 0), "{found:?}");
    let bodies = fake.bodies();
    let of = |action: &str| {
        let of: Vec<_> = bodies.iter().filter(|it| it.ends_with(action)).collect();
        assert_eq!(of.len(), 1, "{action}: {bodies:?}");
        of[0].clone()
    };
    let create = of("=lightsail%3ACreateInstances");
    for part in [
        "&Version=2010-05-08&PolicySourceArn=arn%3Aaws%3Aiam%3A%3A123456789012%3Auser%2Fteam%2Fx&",
        "=arn%3Aaws%3Alightsail%3Aus-east-1%3A123456789012%3AInstance%2F00000000-",
        "=aws%3ARequestedRegion&ContextEntries.member.1.ContextKeyType=string&\
         ContextEntries.member.1.ContextKeyValues.member.1=us-east-1&",
        "ContextKeyType=boolean&ContextEntries.member.2.ContextKeyValues.member.1=true&",
        "=aws%3AMultiFactorAuthPresent&ContextEntries.member.3.ContextKeyType=boolean&",
        "=aws%3ARequestTag%2Fopenclaw-pipeline%3Ainstallation&",
        "=aws%3ATagKeys&ContextEntries.member.5.ContextKeyType=stringList&\
         ContextEntries.member.5.ContextKeyValues.member.1=openclaw-pipeline%3Ainstallation&",
    ] {
        assert!(create.contains(part), "{part}: {create}");
    }
    assert!(!create.contains("ResourceTag"), "{create}");
    let delete = of("=lightsail%3ADeleteInstance");
    assert!(delete.contains("aws%3AResourceTag%2F") && !delete.contains("RequestTag"), "{delete}");
    let import = of("=lightsail%3AImportKeyPair");
    assert!(!import.contains("Tag"), "{import}");
}

#[tokio::test]
async fn a_role_is_asked_about_by_its_name_where_iam_is() {
    let fake = deciding(|_| ("allowed", "")).await;
    let aws = fake.aws().elsewhere("eu-west-1");
    aws.simulated_role(&making()).await.check().expect("all is allowed");
    let bodies = fake.bodies();
    let pass = bodies.iter().find(|it| it.ends_with("=iam%3APassRole")).expect("asked alone");
    for part in [
        "=arn%3Aaws%3Aiam%3A%3A123456789012%3Arole%2Fopenclaw-server-1a2b&",
        "=iam%3APassedToService&",
        "=ec2.amazonaws.com&",
        "=iam%3AResourceTag%2Fopenclaw-pipeline%3Ainstallation&",
        "=us-east-1&",
    ] {
        assert!(pass.contains(part), "{part}: {pass}");
    }
    let profile = "=arn%3Aaws%3Aiam%3A%3A123456789012%3Ainstance-profile%2Fopenclaw-server-1a2b&";
    assert_eq!(bodies.iter().filter(|it| it.contains(profile)).count(), 2);
}

#[tokio::test]
async fn what_is_denied_is_named_with_the_remedy() {
    let fake = deciding(|action| match action {
        "lightsail:CreateInstances" => ("implicitDeny", ""),
        "lightsail:ReleaseStaticIp" => ("explicitDeny", ""),
        _ => ("allowed", ""),
    })
    .await;
    let found = fake.aws().simulated_lightsail(&making()).await;
    assert_eq!(missing(&found), ["lightsail:CreateInstances", "lightsail:ReleaseStaticIp"]);
    let failure = Permissions::default().and(found).check().expect_err("not allowed");
    let both = "lightsail:CreateInstances, lightsail:ReleaseStaticIp";
    assert_eq!(failure.message, format!("the AWS credentials do not allow {both}"));
    assert!(failure.remedy.expect("one").contains(both));
}

#[tokio::test]
async fn a_denial_that_may_be_a_false_one_is_none() {
    let fake = deciding(|action| match action {
        "lightsail:CreateInstances" => (
            "implicitDeny",
            "<MissingContextValues><member>aws:SourceIp</member></MissingContextValues>",
        ),
        "lightsail:ImportKeyPair" => (
            "implicitDeny",
            "<ResourceSpecificResults><member><EvalResourceDecision>implicitDeny\
             </EvalResourceDecision><MissingContextValues><member>aws:MultiFactorAuthAge\
             </member></MissingContextValues></member></ResourceSpecificResults>",
        ),
        "lightsail:GetOperation" => (
            "implicitDeny",
            "<ResourceSpecificResults><member><EvalResourceDecision>allowed\
             </EvalResourceDecision></member></ResourceSpecificResults>",
        ),
        "lightsail:TagResource" => (
            "explicitDeny",
            "<OrganizationsDecisionDetail><AllowedByOrganizations>false</AllowedByOrganizations>\
             </OrganizationsDecisionDetail>",
        ),
        "lightsail:DeleteKeyPair" => ("perhaps", ""),
        _ => ("allowed", ""),
    })
    .await;
    let found = fake.aws().simulated_lightsail(&making()).await;
    found.check().expect("nothing is refused");
    let open: Vec<String> =
        found.undecided.iter().map(|(it, why)| format!("{it}: {why}")).collect();
    assert_eq!(
        open,
        [
            "lightsail:CreateInstances: it depends on aws:SourceIp",
            "lightsail:DeleteKeyPair: IAM says neither yes nor no",
            "lightsail:ImportKeyPair: it depends on aws:MultiFactorAuthAge",
            "lightsail:TagResource: the organization's conditions are not simulated",
        ]
    );
    assert!(found.allowed.contains(&"lightsail:GetOperation".to_owned()));
}

#[tokio::test]
async fn what_is_of_two_kinds_is_missing_if_denied_on_both() {
    let answering = |denied_on: &'static [&'static str]| {
        Fake::with(move |asked: &Asked| {
            if asked.body.starts_with("Action=GetCallerIdentity") {
                return identity(USER);
            }
            let is_denied =
                denied_on.iter().any(|kind| asked.body.contains(&format!("%3A{kind}%2F")));
            let each = |action: &String| {
                let is_it = is_denied && action == "lightsail:AttachStaticIp";
                evaluation(action, if is_it { "implicitDeny" } else { "allowed" }, "")
            };
            (200, page(&actions(&asked.body).iter().map(each).collect::<String>(), None))
        })
    };
    let one = answering(&["Instance"]).await;
    one.aws().simulated_lightsail(&making()).await.check().expect("allowed on addresses");
    let both = answering(&["Instance", "StaticIp"]).await;
    let found = both.aws().simulated_lightsail(&making()).await;
    assert_eq!(missing(&found), ["lightsail:AttachStaticIp"]);
}

#[tokio::test]
async fn who_may_not_ask_and_an_iam_that_does_not_answer_are_refused_nothing() {
    for (answer, why) in [
        (
            (403, error("AccessDenied", "not authorized to perform: iam:SimulatePrincipalPolicy")),
            "allow",
        ),
        ((404, error("NoSuchEntity", "cannot be found")), "does not have it"),
        ((501, "<html>a proxy".to_owned()), "AWS failed"),
        ((200, "<html>a proxy".to_owned()), "cannot be read"),
        ((200, page("", None)), "IAM does not say"),
    ] {
        let fake = Fake::with(move |asked: &Asked| {
            let is_who = asked.body.starts_with("Action=GetCallerIdentity");
            if is_who { identity(USER) } else { answer.clone() }
        })
        .await;
        is_open(&fake.aws().simulated_lightsail(&making()).await, why);
    }
    let nobody = Fake::with(|_| (403, error("InvalidClientTokenId", "invalid"))).await;
    is_open(&nobody.aws().simulated_lightsail(&making()).await, "does not know");
}

#[tokio::test(start_paused = true)]
async fn an_iam_that_is_late_is_not_waited_for() {
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("it listens");
    let url = format!("http://{}", silent.local_addr().expect("an address"));
    let keys = [("AWS_ACCESS_KEY_ID", "A"), ("AWS_SECRET_ACCESS_KEY", "s")];
    let environment = of(&[keys[0], keys[1], ("AWS_ENDPOINT_URL", &url)]);
    let aws = Aws::new(environment, Some("us-east-1")).expect("a driver");
    is_open(&aws.simulated_lightsail(&making()).await, "in time");
}

#[tokio::test]
async fn root_and_federated_users_are_not_asked_about() {
    for arn in ["arn:aws:iam::123456789012:root", "arn:aws:sts::123456789012:federated-user/x"] {
        let fake = Fake::with(move |_| identity(arn)).await;
        is_open(&fake.aws().simulated_lightsail(&making()).await, "no policies");
        assert_eq!(fake.bodies().len(), 1, "{arn}");
    }
}

#[tokio::test]
async fn a_session_is_asked_about_as_its_role() {
    let arn = "arn:aws-cn:iam::123456789012:role/team/deployer";
    let found = format!("<R><GetRoleResult><Role><Arn>{arn}</Arn></Role></GetRoleResult></R>");
    for (answer, source) in [
        (
            (200, found),
            "PolicySourceArn=arn%3Aaws-cn%3Aiam%3A%3A123456789012%3Arole%2Fteam%2Fdeployer&",
        ),
        (
            (403, error("AccessDenied", "no")),
            "PolicySourceArn=arn%3Aaws-cn%3Aiam%3A%3A123456789012%3Arole%2Fdeployer&",
        ),
    ] {
        let fake = Fake::with(move |asked: &Asked| {
            if asked.body.starts_with("Action=GetCallerIdentity") {
                return identity("arn:aws-cn:sts::123456789012:assumed-role/deployer/me@x");
            }
            if asked.body.starts_with("Action=GetRole&") {
                assert!(asked.body.ends_with("&RoleName=deployer"), "{}", asked.body);
                return answer.clone();
            }
            let each = |action: &String| evaluation(action, "allowed", "");
            (200, page(&actions(&asked.body).iter().map(each).collect::<String>(), None))
        })
        .await;
        let found = fake.aws().elsewhere("cn-north-1").simulated_lightsail(&making()).await;
        assert_eq!(found.undecided, []);
        let bodies = fake.bodies();
        let asked = bodies.iter().filter(|it| it.contains("=SimulatePrincipalPolicy&"));
        assert!(
            asked.clone().count() == 6 && asked.clone().all(|it| it.contains(source)),
            "{bodies:?}"
        );
    }
}

#[tokio::test]
async fn an_answer_in_pages_is_read_to_its_end() {
    let fake = Fake::with(|asked: &Asked| {
        if asked.body.starts_with("Action=GetCallerIdentity") {
            return identity(USER);
        }
        let all = actions(&asked.body);
        let (first, rest) = all.split_at(1);
        let is_second = asked.body.ends_with("&Marker=m%2F1");
        let each = |action: &String| {
            let is_denied = action == "lightsail:DeleteInstance";
            evaluation(action, if is_denied { "implicitDeny" } else { "allowed" }, "")
        };
        let part = if is_second { rest } else { first };
        let next = (!is_second).then_some("m/1");
        (200, page(&part.iter().map(each).collect::<String>(), next))
    })
    .await;
    let found = fake.aws().simulated_lightsail(&making()).await;
    assert_eq!(missing(&found), ["lightsail:DeleteInstance"]);
    assert_eq!((found.allowed.len(), found.undecided.len()), (15, 0), "{found:?}");
}

#[tokio::test]
async fn actions_that_iam_does_not_evaluate_together_are_asked_alone() {
    let fake = Fake::with(|asked: &Asked| {
        if asked.body.starts_with("Action=GetCallerIdentity") {
            return identity(USER);
        }
        match actions(&asked.body).as_slice() {
            // Denied on the other kind: a denial there and nothing here is none.
            [one] if one == "lightsail:DetachStaticIp" && asked.body.contains("%3AInstance%2F") => {
                (400, error("InvalidInput", "no"))
            }
            [one] => {
                let is_denied = ["lightsail:DeleteInstance", "lightsail:DetachStaticIp"];
                let is_denied = is_denied.contains(&one.as_str());
                (200, page(&evaluation(one, if is_denied { "implicitDeny" } else { "allowed" }, ""), None))
            }
            _ => {
                let words = "Invalid Input Actions: [a:B] and [a:C] require different authorization \
                             information.";
                (400, error("InvalidInput", words))
            }
        }
    })
    .await;
    let found = fake.aws().simulated_lightsail(&making()).await;
    assert_eq!(missing(&found), ["lightsail:DeleteInstance"]);
    let open: Vec<&str> = found.undecided.iter().map(|(action, _)| action.as_str()).collect();
    assert_eq!((found.allowed.len(), open), (14, vec!["lightsail:DetachStaticIp"]));
}
