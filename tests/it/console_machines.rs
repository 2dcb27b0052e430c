//! Machines of a cloud in the console: what the form asks where a gateway gets one, and what its
//! page shows. There is no Terraform on this installation, so the launch ends with nothing made.

use std::time::Duration;

use tokio::task::block_in_place;

use crate::support::browser::Browser;
use crate::support::console::{Console, NARROW, WIDE};
use crate::support::server::Served;

/// Whether the field of a machine is to be seen.
const IS_ASKED: &str = "[...document.querySelectorAll('label')].some((it) => \
                        it.checkVisibility() && it.textContent.startsWith('Region'))";

#[tokio::test(flavor = "multi_thread")]
async fn a_machine_is_asked_for_only_where_one_is_made() {
    let Some(browser) = Browser::here().await else { return };
    let served = block_in_place(Served::begin);
    let console = Console::signed_in(&browser, served.url(), "/new").await;
    console.sees("Its name and place").await;
    console.choose("Process").await;
    console.wait(&format!("!{IS_ASKED}")).await;

    console.choose("Lightsail").await;
    console.sees("The bundle. Empty").await;
    console.choose("EC2").await;
    console.sees("The instance type. Empty").await;
    for width in [NARROW, WIDE] {
        assert_eq!(console.too_wide(width).await, Vec::<String>::new(), "at {width}");
    }

    // What the server would refuse is refused in place, and what only it can know comes from it.
    console.fill("Region", "Ireland").await;
    console.fill("Size", "t3 medium").await;
    console.click("Launch").await;
    console.sees("A region’s name").await;
    console.sees("A size as its provider calls it").await;
    assert_eq!(console.focused().await, "Region (optional)");
    console.fill("Region", "eu-west-1").await;
    console.fill("Size", "t3.large").await;
    console.sees("Everybody, by HTTPS").await;
    console.choose("The operator").await;
    console.shot("machine-form").await;
    console.click("Launch").await;
    console.sees("no credential of a provider was given").await;

    // A key is given, the launch begins, and its page tells of the machine that is not there yet.
    console.fill("Anthropic API key", "sk-ant-of-a-test-0123456789").await;
    console.click("Launch").await;
    console.at("/deployments/main").await;
    console.status("Failed", Duration::from_secs(90)).await;
    for says in ["not made yet", "eu-west-1", "t3.large", "The operator", "Tunnel…"] {
        console.sees(says).await;
    }
    console.shot("machine-page").await;

    // What is not asked any more is not sent either.
    console.go("/new").await;
    console.fill("Name", "other").await;
    console.choose("EC2").await;
    console.fill("Region", "Ireland").await;
    console.choose("Process").await;
    console.click("Launch").await;
    console.at("/deployments/other").await;
    console.status("Running", Duration::from_secs(180)).await;
    let other = block_in_place(|| served.get("/v1/deployments/other").ok(200));
    assert!(other["region"].is_null(), "{other}");
    assert_eq!(console.violations().await, Vec::<String>::new());
}
