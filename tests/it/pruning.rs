//! What an update leaves behind on the `process` target: what runs, and what ran before it.

use crate::support::product::{BROKEN, NEWEST, OLDER, Product, turn_at_the_default_port};

#[test]
fn an_update_removes_what_ran_before_the_one_before() {
    let product = Product::new();
    product.install(OLDER);
    // Newer than the newest, and nothing is wrong with it here.
    product.install(BROKEN);
    product.run(["launch", "--target", "process", "--version", OLDER.0]).ok();
    product.run(["update", "--version", NEWEST.0]).ok();
    assert!(product.runtime(OLDER.0).exists(), "it can be gone back to");
    let updated = product.run(["update", "--version", BROKEN.0]).ok();
    assert!(!product.runtime(OLDER.0).exists(), "{}", updated.stderr);
    assert!(updated.stderr.contains(&format!("no longer needed: OpenClaw {}", OLDER.0)));
    assert!(product.runtime(NEWEST.0).exists() && product.runtime(BROKEN.0).exists());
    product.assert_one_gateway("main");
}

#[test]
fn what_another_deployment_runs_is_kept() {
    let _turn = turn_at_the_default_port();
    let mut product = Product::new();
    product.install(OLDER);
    product.install(BROKEN);
    product.run(["launch", "--target", "process", "--version", OLDER.0]).ok();
    product.unset("GATEWAY_PORT");
    product.run(["launch", "other", "--target", "process", "--version", OLDER.0]).ok();
    product.run(["update", "--version", NEWEST.0]).ok();
    product.run(["update", "--version", BROKEN.0]).ok();
    assert!(product.runtime(OLDER.0).exists());
    assert_eq!(product.status("other"), "running");
}
