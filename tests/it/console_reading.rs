//! The console for everybody: in light and dark, on a telephone and on a wide screen, with the
//! keyboard alone, and with a screen reader.

use std::time::Duration;

use serde_json::json;
use tokio::task::block_in_place;

use crate::support::asking::ask;
use crate::support::browser::Browser;
use crate::support::console::{Console, NARROW, WIDE};
use crate::support::product::Product;
use crate::support::receiver::{Mode, Receiver};
use crate::support::server::{API_TOKEN, Served};

/// A server on which every page has something to show: a gateway that runs, with devices and a
/// backup, one that failed, endpoints with deliveries, a token.
fn populated(receiver: &Receiver) -> Served {
    let mut product = Product::new();
    product.set("OPENCLAW_PIPELINE_API_TOKEN", API_TOKEN).set("FRONTEND_URL", receiver.url());
    let served = Served::on(product, &[]);
    let mut body = Served::launch_body("main");
    body["approval"] = json!("off");
    body["openai_api_key"] = json!("sk-openai-of-a-test-0123456789");
    let order = |begun| assert_eq!(served.ended(&begun)["status"], "succeeded");
    order(served.post("/v1/deployments", &body).ok(202));
    for action in ["backups", "backups", "stop"] {
        order(served.post(&format!("/v1/deployments/main/{action}"), &json!({})).ok(202));
    }
    let asks: [(&str, &str, &[&str]); 1] =
        [("a1", "operator", &["operator.read", "operator.admin"])];
    ask(served.product(), "main", &asks);
    order(served.post("/v1/deployments/main/start", &json!({})).ok(202));
    receiver.set(Mode::Status(500, Vec::new()));
    served.put("a-name-that-is-as-long-as-names-may-be-x");
    for label in ["a front end", "a person"] {
        let token = json!({ "label": label, "scopes": ["read"], "name_prefix": "team-" });
        served.post("/v1/tokens", &token).ok(201);
    }
    served
}

const PAGES: [(&str, &str); 13] = [
    ("/", "main"),
    ("/new", "Its name and place"),
    ("/deployments/main", "Whoever may destroy"),
    ("/deployments/a-name-that-is-as-long-as-names-may-be-x", "Failed"),
    ("/deployments/main/events", "Completed"),
    ("/deployments/main/logs", "Following"),
    ("/deployments/main/devices", "device-of-a1"),
    ("/deployments/main/backups", "SHA-256"),
    ("/deployments/main/history", "Launch"),
    ("/deployments/nobody", "There is no such deployment"),
    ("/deliveries", "every event"),
    ("/tokens", "a front end"),
    ("/audit", "Who did what"),
];

/// What opens a dialog, and where it stands.
const DIALOGS: [(&str, &str); 6] = [
    ("/deployments/main", "Update…"),
    ("/deployments/main", "New keys…"),
    ("/deployments/main", "Destroy…"),
    ("/deployments/main/backups", "Restore"),
    ("/deliveries", "Add an endpoint"),
    ("/tokens", "Make a token"),
];

/// Looks at what is shown, in either theme and width, and listens to it.
async fn is_good(console: &Console, what: &str) {
    let none = Vec::<String>::new();
    for (theme, dark) in [("light", false), ("dark", true)] {
        console.prefer(theme).await;
        assert_eq!(console.is_dark().await, dark, "{what} in {theme}");
        assert_eq!(console.faint().await, none, "{what} in {theme}");
    }
    for width in [NARROW, WIDE] {
        assert_eq!(console.too_wide(width).await, none, "{what} at {width}");
    }
    assert_eq!(console.nameless().await, none, "{what}");
    assert_eq!(console.misplaced_headings().await, none, "{what}");
}

#[tokio::test(flavor = "multi_thread")]
async fn every_page_can_be_read_by_everybody() {
    let Some(browser) = Browser::here().await else { return };
    let receiver = Receiver::start();
    let served = block_in_place(|| populated(&receiver));
    let console = Console::open(&browser, served.url(), "/sign-in").await;
    is_good(&console, "/sign-in").await;
    console.fill("API token", API_TOKEN).await;
    console.press("Enter").await;
    console.at("/").await;

    for (path, says) in PAGES {
        console.go(path).await;
        console.loaded().await;
        console.sees(says).await;
        is_good(&console, path).await;
    }
    // An endpoint's page is found by its address.
    console.go("/deliveries").await;
    console.follow(&receiver.url()).await;
    console.sees("Pending").await;
    is_good(&console, "an endpoint").await;
    // What a form refuses, and what stands in its folds.
    console.go("/new").await;
    console.fill("Name", "Not_a_name").await;
    console.unfold("Advanced").await;
    console.unfold("Further providers").await;
    console.click("Launch").await;
    console.sees("A name is 1 to 40").await;
    is_good(&console, "a form that refuses").await;
    for (path, button) in DIALOGS {
        console.go(path).await;
        console.click(button).await;
        console.wait("document.querySelector('dialog[open]')").await;
        is_good(&console, button).await;
    }

    // The page's own switch is above the system's, and is remembered.
    console.prefer("light").await;
    console.go("/deployments/main").await;
    console.click("Theme: as the system").await;
    console.click("Theme: light").await;
    console.hears("Theme: dark").await;
    assert!(console.is_dark().await);
    assert_eq!(console.faint().await, Vec::<String>::new());
    console.go("/").await;
    assert!(console.is_dark().await, "it is forgotten");
    console.click("Theme: dark").await;
    assert!(!console.is_dark().await);
    assert_eq!(console.violations().await, Vec::<String>::new());
    drop(served);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_is_found_and_destroyed_with_the_keyboard_alone() {
    let Some(browser) = Browser::here().await else { return };
    let served = block_in_place(|| {
        let served = Served::begin();
        served.put("main");
        served
    });
    let console = Console::open(&browser, served.url(), "/").await;
    console.tab_to("API token").await;
    console.type_in(API_TOKEN).await;
    console.press("Enter").await;
    console.focus_is_on("Deployments").await;
    console.wait("document.querySelector('main a[href=\"/deployments/main\"]')").await;
    console.tab_to("Launch a gateway").await;
    console.tab_to("main").await;
    console.press("Enter").await;
    console.focus_is_on("main").await;
    console.wait("document.querySelector('main a[href=\"/deployments/main/events\"]')").await;
    console.tab_to("Events").await;
    console.press("Enter").await;
    console.at("/deployments/main/events").await;
    console.focus_is_on("Events").await;

    // A dialog begins at its field, keeps the focus, and gives it back.
    console.go("/deployments/main").await;
    console.status("Failed", Duration::from_secs(60)).await;
    console.tab_to("Destroy…").await;
    console.press("Enter").await;
    console.focus_is_on("Type its name").await;
    console.is_kept_in_the_dialog().await;
    console.press("Escape").await;
    console.wait("!document.querySelector('dialog')").await;
    console.focus_is_on("Destroy…").await;
    console.press("Enter").await;
    console.focus_is_on("Type its name").await;
    console.type_in("main").await;
    console.tab_to("Make a last backup first").await;
    console.press("Space").await;
    console.tab_to("Destroy").await;
    console.press("Enter").await;
    console.status("Destroyed", Duration::from_secs(60)).await;
    // Both are told, although both become so at the same moment, and nothing was seen in between.
    console.hears("main is destroyed").await;
    console.hears("Destroy succeeded").await;
    console.focus_is_on("Destroy…").await;

    assert_eq!(console.violations().await, Vec::<String>::new());
    drop(served);
}
