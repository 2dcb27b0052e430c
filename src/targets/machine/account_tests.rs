//! Which account a machine is known to be in, and who is refused for that.

use std::fs;

use super::*;
use crate::domain::{FailureKind, MachineFacts};
use crate::targets::machine::site_of_a_test;

const OURS: &str = "123456789012";
const THEIRS: &str = "111122223333";

fn site(data: &std::path::Path, account: &str) -> Site {
    let mut site = site_of_a_test(data, "m".parse().expect("a name"));
    let machine = site.deployment.facts.machine.as_mut().expect("a machine");
    machine.account = account.into();
    site
}

fn who(account: &str) -> Identity {
    Identity { account: account.into(), arn: format!("arn:aws:sts::{account}:assumed-role/x/y") }
}

#[test]
fn the_account_is_the_recorded_one_else_the_one_of_the_run() {
    let data = tempfile::tempdir().expect("a directory");
    let mut site = site(data.path(), "");
    let files = Files::of(&site);
    fs::create_dir_all(site.dir()).expect("a directory");
    assert_eq!(known(&site), None);
    // Before Terraform was begun with, nothing can be in an account.
    files.write_account(THEIRS).expect("written");
    assert_eq!(known(&site), None);
    fs::create_dir(files.run()).expect("a directory");
    assert_eq!(known(&site).as_deref(), Some(THEIRS));
    site.deployment.facts.machine.as_mut().expect("one").account = OURS.into();
    assert_eq!(known(&site).as_deref(), Some(OURS));
}

#[test]
fn another_account_is_refused_by_name() {
    let data = tempfile::tempdir().expect("a directory");
    let site = site(data.path(), OURS);
    refuse_other(&site, OURS, &who(OURS)).expect("the same");
    let failure = refuse_other(&site, OURS, &who(THEIRS)).expect_err("another");
    assert_eq!(failure.kind, FailureKind::Conflict);
    assert!(failure.message.contains(OURS) && failure.message.contains(THEIRS), "{failure}");
    let remedy = failure.remedy.expect("a remedy");
    assert!(remedy.contains(OURS) && remedy.contains("AWS_PROFILE"), "{remedy}");
}

#[test]
fn a_record_of_before_is_read_without_an_account() {
    let data = tempfile::tempdir().expect("a directory");
    let machine = site(data.path(), "").deployment.facts.machine.expect("one");
    let text = serde_json::to_string(&machine).expect("written");
    assert!(!text.contains("account"), "{text}");
    assert_eq!(serde_json::from_str::<MachineFacts>(&text).expect("read"), machine);
}
