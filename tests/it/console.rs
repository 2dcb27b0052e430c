//! The web console: its files, and what they do in a real browser.
//!
//! Owns that every file is served and every one that is named exists, that Swagger UI is what its
//! `VERSION` says, and one walk through the console as its user goes it, with a real server and
//! the stand-in gateway.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::time::Duration;

use openclaw_pipeline::assets::console::{CONSOLE, CONSOLE_PAGE, SWAGGER};
use serde_json::json;
use sha2::{Digest as _, Sha256};

use crate::support::browser::Browser;
use crate::support::console::{Console, NARROW, WIDE};
use crate::support::server::{API_TOKEN, Served};
use crate::support::source::{files, read, root};

// ------------------------------------------------------------------- the files

#[test]
fn every_file_of_the_console_is_served() {
    let served: BTreeSet<String> =
        CONSOLE.iter().map(|asset| asset.path.trim_start_matches('/').to_owned()).collect();
    let there: BTreeSet<String> =
        files("console").into_iter().filter(|path| path != "console/index.html").collect();
    assert_eq!(served, there);
    assert_eq!(CONSOLE_PAGE.bytes, read("console/index.html").as_bytes());
    for asset in CONSOLE {
        let kind = asset.content_type.split(';').next().expect("a type");
        let expected = match asset.path.rsplit_once('.').expect("an extension").1 {
            "js" => "text/javascript",
            "css" => "text/css",
            "html" => "text/html",
            _ => "image/svg+xml",
        };
        assert_eq!(kind, expected, "{}", asset.path);
    }
}

/// What stands in quotes behind each `before`.
fn quoted<'a>(text: &'a str, before: &str) -> Vec<&'a str> {
    text.split(before).skip(1).filter_map(|rest| rest.split('"').next()).collect()
}

#[test]
fn every_file_that_is_named_exists() {
    let served: BTreeSet<&str> = CONSOLE.iter().chain(&SWAGGER).map(|asset| asset.path).collect();
    for page in ["console/index.html", "console/opening.html", "assets/swagger-ui/index.html"] {
        let text = read(page);
        for path in quoted(&text, "src=\"").into_iter().chain(quoted(&text, "href=\"")) {
            let known = served.contains(path) || ["/", "#main"].contains(&path);
            assert!(known, "{page} names {path}");
        }
    }
    let mut imported = BTreeSet::from(["console/js/main.js".to_owned()]);
    for path in files("console/js") {
        let folder = root().join(&path);
        let folder = folder.parent().expect("a folder");
        for import in quoted(&read(&path), "from \"") {
            let file = folder.join(import);
            let file = file.canonicalize().unwrap_or_else(|_| panic!("{path} imports {import}"));
            let file = file.strip_prefix(root().canonicalize().expect("a root")).expect("below");
            imported.insert(file.to_str().expect("a plain name").to_owned());
        }
    }
    // It stands in the page itself, before everything else.
    imported.insert("console/js/theme.js".to_owned());
    assert_eq!(imported, BTreeSet::from_iter(files("console/js")), "a script that nobody uses");
}

#[test]
fn the_icons_that_are_drawn_exist() {
    let page = read("console/index.html");
    let drawn: BTreeSet<&str> = quoted(&page, "data-icon=\"").into_iter().collect();
    for path in files("console/js") {
        let text = read(&path);
        for named in quoted(&text, "icon(\"").into_iter().chain(quoted(&text, "icon: \"")) {
            assert!(drawn.contains(named), "{path} draws {named}");
        }
    }
}

#[test]
fn swagger_ui_is_what_its_version_says() {
    let text = read("assets/swagger-ui/VERSION");
    let mut lines = text.lines();
    let version = lines.next().and_then(|line| line.strip_prefix("swagger-ui-dist "));
    assert!(version.is_some_and(|it| it.split('.').count() == 3), "{version:?}");
    let mut named = BTreeSet::new();
    for line in lines {
        let (expected, file) = line.split_once("  ").expect("a hash and a file");
        let path = root().join("assets/swagger-ui").join(file);
        let bytes = std::fs::read(&path).unwrap_or_else(|why| panic!("{file}: {why}"));
        let mut hash = String::new();
        for byte in Sha256::digest(&bytes) {
            write!(hash, "{byte:02x}").expect("a string takes everything");
        }
        assert_eq!(hash, expected, "{file}");
        named.insert(format!("assets/swagger-ui/{file}"));
    }
    let own = ["VERSION", "index.html", "initializer.js", "page.css"];
    named.extend(own.map(|file| format!("assets/swagger-ui/{file}")));
    assert_eq!(named, BTreeSet::from_iter(files("assets/swagger-ui")));
}

// ------------------------------------------------------------ in a real browser

/// How long a stand-in takes to be launched, at most.
const LAUNCH: Duration = Duration::from_secs(180);

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_s_whole_life_in_the_console() {
    let Some(browser) = Browser::here().await else { return };
    let served = tokio::task::spawn_blocking(Served::begin).await.expect("it starts");
    let console = Console::open(&browser, served.url(), "/deployments/main").await;

    // A token, and back to where one wanted to go.
    console.sees("Sign in").await;
    console.fill("API token", "ocp_wrong").await;
    console.press("Enter").await;
    console.sees("Check that the whole of it was pasted").await;
    console.fill("API token", API_TOKEN).await;
    console.press("Enter").await;
    console.sees("There is no such deployment").await;
    assert_eq!(console.path().await, "/deployments/main");
    assert!(console.keeps_nothing().await, "a token in the browser's storage");

    // The form refuses in place what the server would refuse.
    console.follow("See the deployments").await;
    console.sees("Your first gateway is a minute away").await;
    console.shot("empty").await;
    console.follow("Launch a gateway").await;
    console.sees("Its name and place").await;
    console.choose("Process").await;
    console.fill("Name", "Not_a_name").await;
    console.fill("Anthropic API key", "has a blank").await;
    console.click("Launch").await;
    console.sees("A name is 1 to 40").await;
    console.sees("without blanks").await;
    assert_eq!(console.focused().await, "Name");
    console.shot("refused").await;

    // A launch, step by step, to a gateway that is proven.
    console.fill("Name", "main").await;
    console.fill("Anthropic API key", "sk-ant-of-a-test-0123456789").await;
    console.click("Launch").await;
    console.at("/deployments/main").await;
    console.status("Running", LAUNCH).await;
    console.sees("Succeeded").await;
    assert!(!console.html().await.contains("sk-ant-of-a-test"), "a key in the page");
    console.shot("running").await;

    // Open: the link goes into a tab of its own, and is nowhere in the page.
    console.click("Open").await;
    console.sees("Opened in a new tab").await;
    assert!(!console.html().await.contains("token="), "the link in the page");
    console.come_back().await;

    // Its sections, by deep link and by the tabs.
    for (section, says) in
        [("Events", "Completed"), ("Logs", "Following"), ("Devices", "Asking"), ("Backups", "No")]
    {
        console.follow(section).await;
        console.sees(says).await;
    }
    console.follow("History").await;
    console.sees("Launch").await;
    console.shot("history").await;
    console.follow("Overview").await;

    // What happens elsewhere shows by itself.
    let (served, stopped) = tokio::task::spawn_blocking(move || {
        let begun = served.post("/v1/deployments/main/stop", &json!({})).ok(202);
        let ended = served.ended(&begun);
        (served, ended)
    })
    .await
    .expect("a stop");
    assert_eq!(stopped["status"], "succeeded");
    console.status("Stopped", LAUNCH).await;
    console.hears("main is stopped").await;
    console.click("Start").await;
    console.status("Running", LAUNCH).await;

    // Nothing is destroyed by a wrong name.
    console.click("Destroy…").await;
    console.fill("Type its name", "mian").await;
    console.press("Enter").await;
    console.sees("That is not main").await;
    console.fill("Type its name", "main").await;
    console.press("Enter").await;
    console.status("Destroyed", LAUNCH).await;
    console.shot("destroyed").await;

    // Every page fits, and none broke a policy.
    for width in [NARROW, WIDE] {
        for path in
            ["/", "/new", "/deployments/main", "/deployments/main/events", "/tokens", "/audit"]
        {
            console.go(path).await;
            assert_eq!(console.too_wide(width).await, Vec::<String>::new(), "{path} at {width}");
        }
    }
    console.go("/audit").await;
    console.sees("/v1/deployments/{name}").await;
    assert_eq!(console.violations().await, Vec::<String>::new());

    console.click("Sign out").await;
    console.at("/sign-in").await;
    console.go("/").await;
    console.at("/sign-in").await;
    drop(served);
}

/// What a page must show, and must not do.
const HOSTILE: &str = "<img src=x onerror=alert(1)><script>alert(2)</script> \u{202e}evil";

#[tokio::test(flavor = "multi_thread")]
async fn an_open_server_asks_for_no_token_and_offers_less() {
    let Some(browser) = Browser::here().await else { return };
    let served = tokio::task::spawn_blocking(|| {
        let served = Served::open();
        served.launch("main");
        let event = json!({ "type": "health_check", "name": "main", "message": HOSTILE });
        served.post("/webhook/event", &event).ok(200);
        served
    });
    let served = served.await.expect("it starts");
    let console = Console::open(&browser, served.url(), "/deployments/main").await;
    console.status("Running", LAUNCH).await;
    // By keyboard, the first thing is the way past the navigation.
    console.press("Tab").await;
    assert_eq!(console.focused().await, "Skip to the content");
    console.press("Enter").await;

    // What somebody outside says is text, and nothing else.
    console.follow("Events").await;
    console.sees("<img src=x onerror=alert(1)><script>alert(2)</script>").await;
    console.sees("from outside").await;
    assert_eq!(console.count("main img, main script").await, 0);

    for refused in ["Open", "Destroy…"] {
        console.click(refused).await;
        console.sees("Not offered while the server runs without a token").await;
    }
    assert_eq!(console.violations().await, Vec::<String>::new());
    drop(served);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_administrator_s_pages() {
    let Some(browser) = Browser::here().await else { return };
    let served = tokio::task::spawn_blocking(Served::begin).await.expect("it starts");
    let console = Console::open(&browser, served.url(), "/tokens").await;
    console.fill("API token", API_TOKEN).await;
    console.press("Enter").await;

    // A token is shown once.
    console.click("Make a token").await;
    console.fill("What it is for", "a front end").await;
    console.press("Enter").await;
    console.sees("Shown this once").await;
    let token = console.value("Token").await;
    assert!(token.starts_with("ocp_"), "{token}");
    console.click("Done").await;
    console.sees("a front end").await;
    assert!(!console.html().await.contains(&token), "it is still in the page");
    console.click("Revoke…").await;
    console.click("Revoke").await;
    console.sees("The token is revoked").await;

    // An endpoint is refused where the server refuses it, and its secret is shown once.
    console.follow("Deliveries").await;
    console.click("Add an endpoint").await;
    console.fill("Address", "ftp://hooks.team.example/").await;
    console.press("Enter").await;
    console.sees("begins with https:").await;
    console.fill("Address", "https://127.0.0.1/hooks").await;
    console.press("Enter").await;
    console.wait("document.querySelector('dialog .note-box, dialog [aria-invalid]')").await;
    console.fill("Address", "https://hooks.team.example/pipeline").await;
    console.fill("Only these events", "completed, failed").await;
    console.press("Enter").await;
    console.sees("Its signing secret").await;
    let secret = console.value("Secret").await;
    assert!(secret.starts_with("whsec_"), "{secret}");
    console.click("Done").await;
    console.follow("https://hooks.team.example/pipeline").await;
    console.sees("completed, failed").await;
    console.sees("Nothing was sent yet").await;
    assert!(!console.html().await.contains(&secret), "it is still in the page");
    console.shot("endpoint").await;
    console.click("Disable…").await;
    console.click("Disable").await;
    console.status("Disabled", LAUNCH).await;
    console.click("Enable").await;
    console.status("Enabled", LAUNCH).await;
    console.click("Delete…").await;
    console.click("Delete").await;
    console.at("/deliveries").await;

    // All of it stands in the audit log.
    console.follow("Audit").await;
    console.sees("/v1/webhooks").await;
    console.sees("/v1/tokens").await;
    assert_eq!(console.violations().await, Vec::<String>::new());
    drop(served);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_description_is_shown_without_the_world() {
    let Some(browser) = Browser::here().await else { return };
    let served = tokio::task::spawn_blocking(Served::begin).await.expect("it starts");
    let console = Console::open(&browser, served.url(), "/swagger").await;
    console.sees("Create a deployment").await;
    console.sees("LaunchRequest").await;
    console.shot("swagger").await;
    assert_eq!(console.violations().await, Vec::<String>::new());
    drop(served);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_that_does_not_arrive_whole_loads_itself_again() {
    let Some(browser) = Browser::here().await else { return };
    let served = tokio::task::block_in_place(Served::begin);
    let console = Console::open(&browser, served.url(), "/sign-in").await;
    let (asks, says) = (
        "document.querySelector('main form input')",
        "document.body.innerText.includes('did not arrive whole')",
    );
    // Three times, within three and a half seconds: a machine that is busy may let them pass.
    for try_again in [true, true, true, true, false] {
        console.go_without("main.js", "/sign-in").await;
        console.wait(&format!("history.state?.tries > 0 || {says}")).await;
        console.lose(None).await;
        console.wait(&format!("{asks} || {says}")).await;
        if console.count("main form input").await > 0 {
            break;
        }
        assert!(try_again, "it does not load itself again");
    }
    // Not for ever.
    console.go_without("main.js", "/sign-in").await;
    console.wait(says).await;
    drop(served);
}
