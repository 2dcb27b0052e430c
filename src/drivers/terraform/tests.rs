//! What the program says, and what it left behind.

use super::refusal::of as of_diagnostics;
use super::*;
use crate::domain::FailureKind;
use crate::exec::Output;

#[test]
fn refusals_of_the_cloud_are_told_apart() {
    let output = Output {
        status: std::process::ExitStatus::default(),
        stdout: String::new(),
        stderr: String::new(),
        there: false,
    };
    for (detail, kind, says) in [
        (
            "api error InvalidClientTokenId: The security token included",
            FailureKind::Prerequisite,
            "does not take these credentials",
        ),
        ("No valid credential sources found", FailureKind::Prerequisite, "no AWS credentials"),
        (
            "UnauthorizedOperation: You are not authorized to perform this operation. User: x is not \
          authorized to perform: ec2:RunInstances",
            FailureKind::Prerequisite,
            "ec2:RunInstances",
        ),
        ("InsufficientInstanceCapacity: none", FailureKind::Failed, "no such machine free"),
        ("VcpuLimitExceeded: more", FailureKind::Failed, "quota"),
        (
            "InvalidInputException: Sorry, you've reached your maximum limit of Lightsail Instances : 2.",
            FailureKind::Failed,
            "quota",
        ),
        (
            "InvalidKeyPair.Duplicate: The keypair already exists",
            FailureKind::Conflict,
            "something else of this name",
        ),
        (
            "exceeded maximum number of attempts, 8, api error RequestLimitExceeded: Request limit \
             exceeded.",
            FailureKind::Failed,
            "takes no more calls",
        ),
        ("ThrottlingException: Rate exceeded", FailureKind::Failed, "takes no more calls"),
        ("dial tcp: lookup ec2: no such host", FailureKind::Failed, "did not answer"),
        ("odd", FailureKind::Failed, "terraform: creating: odd"),
    ] {
        let diagnostic = Diagnostic {
            severity: "error".into(),
            summary: "creating".into(),
            detail: detail.into(),
            ..Diagnostic::default()
        };
        let failure = of_diagnostics(&[diagnostic], &output);
        assert_eq!(failure.kind, kind, "{detail}");
        assert!(failure.message.contains(says), "{failure}");
    }
    // As Terraform says it: the place of a value tells whose it is.
    for (file, says) in [
        ("/h/deployments/m/terraform.tfvars", "in the deployment's terraform.tfvars"),
        ("/h/deployments/m/program.tfvars.json", "own values (program.tfvars.json)"),
    ] {
        let said = serde_json::json!({ "type": "diagnostic", "diagnostic": {
            "severity": "error", "summary": "Invalid value for variable",
            "detail": "22 is the port of SSH, and 4000 that of the pipeline server.",
            "range": { "filename": file, "start": { "line": 1, "column": 18, "byte": 17 } } } });
        let Some(Message { said: Said::Diagnostic(diagnostic) }) =
            Message::parse(&said.to_string())
        else {
            panic!("no diagnostic: {said}");
        };
        let failure = of_diagnostics(&[diagnostic], &output);
        assert_eq!(failure.kind, FailureKind::BadInput);
        assert!(failure.remedy.expect("one").contains(says), "{file}");
    }
}

#[test]
fn a_file_that_is_no_state_is_refused() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("x.tfstate");
    assert_eq!(State::read(&path).expect("nothing"), State::default());
    for (text, says) in
        [("{", "line 1"), ("[]", "line 1"), (r#"{"version":3,"resources":[]}"#, "format 3")]
    {
        fs::write(&path, text).expect("a file");
        let failure = State::read(&path).expect_err("no state");
        assert_eq!(failure.kind, FailureKind::BadInput);
        assert!(failure.message.contains(says), "{failure}");
    }
}

#[test]
fn an_action_that_is_not_understood_is_refused() {
    let text =
        r#"{"resource_changes":[{"address":"a.b","type":"a","change":{"actions":["melt"]}}]}"#;
    let failure = Plan::parse(text).expect_err("not understood");
    assert!(failure.message.contains("melt"), "{failure}");
}

/// The plan that messages tell of, as Terraform writes them.
fn foretold(changes: &[(&str, &str)], outputs: &str, is_whole: bool) -> Option<Plan> {
    let foretold = Foretold::default();
    let mut lines: Vec<_> = changes
        .iter()
        .map(|(name, action)| {
            serde_json::json!({ "type": "planned_change", "change": { "action": action, "resource": {
                "addr": format!("aws_eip.{name}"), "resource_type": "aws_eip" } } })
        })
        .collect();
    if is_whole {
        lines.push(serde_json::json!({ "type": "change_summary", "changes": {
            "add": 1, "change": 0, "import": 0, "remove": 0, "operation": "plan" } }));
    }
    lines.push(serde_json::json!({ "type": "outputs", "outputs": {
        "url": { "sensitive": false, "action": outputs } } }));
    for line in lines {
        foretold.told(&Message::parse(&line.to_string()).expect("a message"));
    }
    foretold.plan()
}

#[test]
fn a_plan_is_known_by_its_messages_where_they_say_all_of_it() {
    let nothing = foretold(&[], "noop", true).expect("a plan");
    assert!(nothing.is_idle && nothing.is_empty());
    let outputs = foretold(&[], "update", true).expect("a plan");
    assert!(!outputs.is_idle && outputs.is_empty(), "an apply would write what the module gives");
    let both = foretold(&[("a", "create"), ("b", "update")], "noop", true).expect("a plan");
    let told: Vec<_> = both.changes.iter().map(|it| (it.address.as_str(), it.verb)).collect();
    assert_eq!(told, [("aws_eip.a", Verb::Create), ("aws_eip.b", Verb::Update)]);
    assert!(!both.is_idle && both.creates("aws_eip"));
    // What is taken away, or not known, is looked at in full; so is a plan that was cut off.
    for action in ["delete", "replace", "move", "remove", "melt"] {
        assert_eq!(foretold(&[("a", "create"), ("b", action)], "noop", true), None, "{action}");
    }
    assert_eq!(foretold(&[], "noop", false), None);
}

#[test]
fn a_state_says_which_account_it_is_of() {
    let of = |arn: &str| {
        let text = format!(
            r#"{{"version":4,"resources":[{{"mode":"managed","type":"t","name":"n","instances":[
            {{"attributes":{{"id":"i"}}}},{{"attributes":{{"id":"i","arn":"{arn}"}}}}]}}]}}"#
        );
        State::of_text(&text, "it").expect("a state").account
    };
    let account = Some("123456789012".to_owned());
    assert_eq!(of("arn:aws:ec2:us-west-2:123456789012:instance/i-1"), account);
    assert_eq!(of("arn:aws-cn:iam::123456789012:role/x"), account);
    for none in ["arn:aws:iam::aws:policy/x", "arn:aws:ec2:us-west-2::instance/i-1", "", "x"] {
        assert_eq!(of(none), None, "{none}");
    }
}

#[test]
fn what_a_run_could_not_write_is_taken_where_it_follows() {
    let dir = tempfile::tempdir().expect("a directory");
    let (left, state) = (dir.path().join("errored.tfstate"), dir.path().join("x.tfstate"));
    let write = |path: &Path, lineage: &str, serial: u64| {
        let text =
            format!(r#"{{"version":4,"lineage":"{lineage}","serial":{serial},"resources":[]}}"#);
        fs::write(path, text).expect("a file");
    };
    state::recover(dir.path(), &state).expect("nothing was left");
    write(&state, "a", 3);
    for (lineage, serial) in [("a", 3), ("a", 2), ("b", 9)] {
        write(&left, lineage, serial);
        let failure = state::recover(dir.path(), &state).expect_err("it does not follow");
        assert_eq!(failure.kind, FailureKind::Conflict);
        assert!(left.exists());
    }
    write(&left, "a", 4);
    state::recover(dir.path(), &state).expect("it follows");
    assert_eq!(State::read(&state).expect("a state").serial, 4);
    assert!(!left.exists());
}
