//! The pipeline server on a machine of its own, in the lab's cloud: made, reached, deployed again with
//! work under way, and gone without a trace.

use crate::support::machine_case::{Case, patient};
use crate::support::own_server::{Reached, static_program};
use crate::support::product::Run;

/// An installation whose server gets the static program.
fn case(target: &'static str) -> Option<Case> {
    let mut case = Case::start(target)?;
    case.product.set("OPENCLAW_PIPELINE_SERVER_BINARY", static_program());
    Some(case)
}

fn server<const N: usize>(case: &Case, args: [&str; N]) -> Run {
    args.into_iter().fold(case.product.run(["--on", case.target, "server"]), Run::arg)
}

#[test]
fn a_server_on_ec2() {
    let Some(case) = case("ec2") else { return };
    let done = patient(server(&case, ["full-setup", "--json"]));
    assert_eq!(done.code, 0, "{}{}", done.stdout, done.stderr);
    let answer = done.objects().pop().expect("an answer");
    let token = answer["token"].as_str().expect("a token").to_owned();
    let reached = Reached::told(&answer);
    assert_eq!(reached.get("/status", Some(&token)).0, 200);
    assert_eq!(reached.get("/status", None).0, 401);
    let done = patient(server(&case, ["destroy", "--yes"]));
    assert_eq!(done.code, 0, "{}{}", done.stdout, done.stderr);
    case.cloud.assert_empty();
}
