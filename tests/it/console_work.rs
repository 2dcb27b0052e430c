//! Work on a gateway from the console: what its buttons do, its devices, its log as it is written.
//! With a real server and the stand-in gateway.

use std::io::Write as _;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::task::block_in_place;

use crate::support::asking::ask;
use crate::support::browser::Browser;
use crate::support::console::Console;
use crate::support::product::{NEWEST, OLDER};
use crate::support::server::Served;

/// How long a stand-in takes to be started again, at most.
const START: Duration = Duration::from_secs(90);

/// A server with a gateway, `main`, that decides about no browser by itself.
fn with_gateway(version: (&str, u64)) -> Served {
    let served = Served::with_versions();
    let mut body = Served::launch_of("main", version);
    body["approval"] = json!("off");
    let ended = served.ended(&served.post("/v1/deployments", &body).ok(202));
    assert_eq!(ended["status"], "succeeded", "{ended:#}");
    served
}

fn of_main(served: &Served, what: &str) -> Value {
    block_in_place(|| served.get(&format!("/v1/deployments/main{what}")).ok(200))
}

/// Does something to `main` beside the console, to its end.
fn elsewhere(served: &Served, action: &str) {
    let begun = served.post(&format!("/v1/deployments/main/{action}"), &json!({})).ok(202);
    assert_eq!(served.ended(&begun)["status"], "succeeded", "{action}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_can_be_done_to_a_gateway_is_done_from_its_page() {
    let Some(browser) = Browser::here().await else { return };
    let served = block_in_place(|| with_gateway(OLDER));
    let console = Console::signed_in(&browser, served.url(), "/deployments/main").await;
    console.status("Running", START).await;
    let born = console.born().await;

    console.click("Restart").await;
    console.did("Restart").await;

    // A version that cannot be is refused in place.
    console.click("Update…").await;
    console.fill("Version", "latest").await;
    console.press("Enter").await;
    console.sees("One exact version").await;
    console.fill("Version", NEWEST.0).await;
    console.press("Enter").await;
    console.did("Update").await;
    assert_eq!(of_main(&served, "")["version"], NEWEST.0);

    // Its backups: made, gone back to, deleted. Each shows by itself.
    console.follow("Backups").await;
    console.wait("document.querySelectorAll('tbody tr').length === 1").await;
    console.click("Back up now").await;
    console.wait("document.querySelectorAll('tbody tr').length === 2").await;
    console.click_in(OLDER.0, "Restore").await;
    console.sees("What was written since then is gone").await;
    console.click("Restore").await;
    console.wait("document.querySelectorAll('tbody tr').length === 3").await;
    console
        .wait(&format!("document.querySelector('.glance').textContent.includes('{}')", OLDER.0))
        .await;
    console.status("Running", START).await;
    console.click_in(OLDER.0, "Delete").await;
    console.sees("It cannot be brought back").await;
    console.click("Delete").await;
    console.wait("document.querySelectorAll('tbody tr').length === 2").await;
    let left = of_main(&served, "/backups");
    let versions: Vec<&Value> =
        left["items"].as_array().expect("a list").iter().map(|it| &it["version"]).collect();
    assert_eq!(versions, [NEWEST.0, NEWEST.0], "the older one's went");

    // New keys: what was typed is nowhere afterwards.
    console.follow("Overview").await;
    console.did("Restore").await;
    console.click("New keys…").await;
    console.unfold("Provider keys").await;
    console.fill("OpenAI API key", "sk-openai-of-a-test-0123456789").await;
    console.press("Enter").await;
    console.did("Rotate").await;
    console.sees("OpenAI API key").await;
    assert_eq!(of_main(&served, "")["credentials"], json!(["OPENAI_API_KEY"]));
    assert!(!console.html().await.contains("sk-openai-of-a-test"), "a key in the page");

    assert_eq!(console.born().await, born, "a page was loaded again");
    assert_eq!(console.violations().await, Vec::<String>::new());
    block_in_place(|| served.assert_one_gateway("main"));
}

#[tokio::test(flavor = "multi_thread")]
async fn devices_and_the_log_are_followed_and_devices_decided_about() {
    let Some(browser) = Browser::here().await else { return };
    let served = block_in_place(|| with_gateway(NEWEST));
    let console = Console::signed_in(&browser, served.url(), "/deployments/main/logs").await;
    let born = console.born().await;

    // What the gateway writes shows, and is text.
    console.sees("[gateway] ready").await;
    let log = served.product().deployment("main").join("gateway.log");
    let mut log = std::fs::File::options().append(true).open(log).expect("the log");
    writeln!(log, "<img src=x> a line that came \u{1b}[31mlater").expect("written");
    console.sees("<img src=x> a line that came").await;
    assert_eq!(console.count("main img").await, 0);
    // One that is held back, and comes when it is let.
    console.click("Pause").await;
    writeln!(log, "a line of the pause").expect("written");
    console.sees("Paused, 1 new line").await;
    assert!(!console.html().await.contains("a line of the pause"));
    console.click("Go on").await;
    console.sees("a line of the pause").await;

    // Three ask while the page is open.
    console.follow("Devices").await;
    console.sees("Nobody is asking").await;
    block_in_place(|| {
        elsewhere(&served, "stop");
        let asks: [(&str, &str, &[&str]); 3] =
            [("a1", "operator", &["operator.read"]), ("b2", "node", &[]), ("c3", "node", &[])];
        ask(served.product(), "main", &asks);
        elsewhere(&served, "start");
    });
    console.status("Running", START).await;
    console.sees("device-of-a1").await;
    console.sees("device-of-b2").await;
    console.sees("device-of-c3").await;
    console.shot("devices").await;
    console.click("Reject device device-of-b2").await;
    console.misses("device-of-b2").await;
    // What somebody else decides shows as well, and leaves the focus where it is.
    console.tab_to("Let in device device-of-a1").await;
    block_in_place(|| {
        let reject = served.post("/v1/deployments/main/reject", &json!({ "request_id": "c3" }));
        reject.ok(204);
    });
    console.misses("device-of-c3").await;
    console.focus_is_on("Let in device device-of-a1").await;
    console.press("Enter").await;
    console.sees("Nobody is asking").await;
    console.hears("The device is let in").await;
    let devices = of_main(&served, "/devices");
    assert_eq!(devices["paired"][0]["device_id"], "device-of-a1", "{devices:#}");
    assert_eq!(devices["pending"], json!([]));
    // Left in at second thoughts, and put out at the third.
    console.click("Remove device device-of-a1").await;
    console.sees("is let in no more").await;
    console.press("Escape").await;
    console.wait("!document.querySelector('dialog')").await;
    console.click_in("device-of-a1", "Remove device").await;
    console.sees("is let in no more").await;
    console.click("Remove").await;
    console.sees("Nobody is let in yet").await;
    assert_eq!(of_main(&served, "/devices")["paired"], json!([]));

    assert_eq!(console.born().await, born, "a page was loaded again");
    assert_eq!(console.violations().await, Vec::<String>::new());
    drop(served);
}
