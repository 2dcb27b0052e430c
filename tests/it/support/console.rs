//! The web console in a tab, used as people use it: by what they read, with the keyboard and the
//! mouse.
//!
//! Owns finding what has a text or a label, and waiting until something shows. Refuses to reach
//! into the console: nothing here calls one of its functions.

use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};

use super::browser::{Browser, Page};
use super::server::API_TOKEN;

/// The widths, in CSS pixels, that every page has to fit.
pub const NARROW: u32 = 360;
pub const WIDE: u32 = 1600;

/// How long something may take to show.
const SOON: Duration = Duration::from_secs(90);

/// Runs before the page does: what breaks a policy is remembered, and what a screen reader is told. A
/// text that another one replaces before anything is painted was never said.
const WATCH: &str = "window.violations = [];
window.said = [];
document.addEventListener('securitypolicyviolation', (event) => {
  violations.push(`${event.violatedDirective} ${event.blockedURI} ${event.sourceFile}`);
});
addEventListener('error', (event) => violations.push(`error: ${event.message}`));
addEventListener('unhandledrejection', (event) => violations.push(`rejected: ${event.reason}`));
addEventListener('DOMContentLoaded', () => {
  const line = document.querySelector('.unseen[role=status]');
  const heard = () => line.textContent && said.push(line.textContent);
  if (line) new MutationObserver(() => setTimeout(heard)).observe(line, { childList: true });
});";

/// Finds what a user would use: functions of the page's text alone.
const FIND: &str = r"(() => {
  const shown = (node) => node.checkVisibility({ visibilityProperty: true });
  const scope = () => document.querySelector('dialog[open]') ?? document;
  const named = (node) => (node.getAttribute('aria-label') ?? node.textContent).trim();
  const pick = (selector, text) => {
    const all = [...scope().querySelectorAll(selector)].filter(shown);
    return all.find((it) => named(it) === text) ?? all.find((it) => named(it).startsWith(text));
  };
  const field = (label) => {
    const found = pick('label', label);
    return found && document.getElementById(found.htmlFor);
  };
  const within = (text, name) => {
    const row = [...scope().querySelectorAll('tr')].find((it) => it.textContent.includes(text));
    const free = [...(row?.querySelectorAll('button:not([aria-disabled])') ?? [])];
    return free.find((it) => named(it).startsWith(name));
  };
  return { pick, field, named, within };
})()";

/// A tab that shows the console.
pub struct Console {
    pub(super) page: Page,
    url: String,
}

impl Console {
    /// Opens a page of the console of a server, as a stranger to it.
    pub async fn open(browser: &Browser, url: &str, path: &str) -> Self {
        let page = browser.stranger().await;
        let watch = json!({ "source": WATCH });
        page.call("Page.addScriptToEvaluateOnNewDocument", watch).await.expect("a watch");
        let console = Self { page, url: url.to_owned() };
        console.resize(1280, 900).await;
        console.go(path).await;
        console
    }

    /// The same, signed in with the operator's token.
    pub async fn signed_in(browser: &Browser, url: &str, path: &str) -> Self {
        let console = Self::open(browser, url, path).await;
        console.fill("API token", API_TOKEN).await;
        console.press("Enter").await;
        console.at(path).await;
        console
    }

    /// Goes to an address, as if it was typed in.
    pub async fn go(&self, path: &str) {
        self.page.goto(&format!("{}{path}", self.url)).await.expect("the page opens");
        self.page
            .wait_for("document.querySelector('main h1, .swagger-ui') !== null", SOON)
            .await
            .expect("a heading");
    }

    /// Goes to an address while a file of the console is lost on its way.
    pub async fn go_without(&self, file: &str, path: &str) {
        self.lose(Some(file)).await;
        self.page.goto(&format!("{}{path}", self.url)).await.expect("the page opens");
    }

    /// Has a file of the console be lost on its way from now on, or none any more.
    pub async fn lose(&self, file: Option<&str>) {
        self.page.call("Network.enable", json!({})).await.expect("the network");
        let urls: Vec<String> = file.iter().map(|it| format!("*/console/js/{it}")).collect();
        let blocked = json!({ "urls": urls });
        self.page.call("Network.setBlockedURLs", blocked).await.expect("it is kept away");
    }

    /// Brings the tab to the front again: one that nobody sees follows nothing.
    pub async fn come_back(&self) {
        self.page.call("Page.bringToFront", json!({})).await.expect("the tab");
        self.page.wait_for("!document.hidden", SOON).await.expect("it is seen");
    }

    /// Waits until the page says something.
    #[track_caller]
    pub fn sees(&self, text: &str) -> impl Future<Output = ()> {
        let text = text.to_owned();
        async move {
            self.page.wait_for_text(&text, SOON).await.expect("it shows");
        }
    }

    /// Waits until the page does not say something any more.
    pub async fn misses(&self, text: &str) {
        let gone = format!("!document.querySelector('main').innerText.includes({})", json!(text));
        self.page.wait_for(&gone, SOON).await.expect("it goes");
    }

    /// Waits until the address is this one.
    pub async fn at(&self, path: &str) {
        let condition = format!("location.pathname === {}", json!(path));
        self.page.wait_for(&condition, SOON).await.expect("that address");
    }

    /// Waits until the deployment that is shown has a status.
    pub async fn status(&self, status: &str, within: Duration) {
        let condition =
            format!("document.querySelector('.badge.big')?.textContent === {}", json!(status));
        self.page.wait_for(&condition, within).await.expect("that status");
    }

    /// Waits until what the deployment's page shows last is an operation that went well.
    pub async fn did(&self, operation: &str) {
        let condition = format!(
            "(() => {{ const card = document.querySelector('[aria-label=Operation]'); \
             return card?.querySelector('h2')?.textContent === {} \
             && card.querySelector('.badge').textContent === 'Succeeded'; }})()",
            json!(operation)
        );
        self.wait(&condition).await;
    }

    /// Waits until the page has loaded what it shows.
    pub async fn loaded(&self) {
        self.wait(
            "[...document.querySelectorAll('main [role=status]')].every((it) => \
             !/^(Loading|Connecting)/.test(it.textContent))",
        )
        .await;
    }

    /// When the page was loaded: it stays the same as long as nothing loads it again.
    pub async fn born(&self) -> Value {
        self.page.eval("performance.timeOrigin").await.expect("a time")
    }

    /// The address's path.
    pub async fn path(&self) -> String {
        self.text_of("location.pathname").await
    }

    /// Everything that the page is made of.
    pub async fn html(&self) -> String {
        self.text_of("document.documentElement.outerHTML").await
    }

    /// What the focus is on: its label, or its text.
    pub async fn focused(&self) -> String {
        self.text_of("(document.activeElement.labels?.[0] ?? document.activeElement).textContent")
            .await
    }

    /// What stands in the field with this label.
    pub async fn value(&self, label: &str) -> String {
        self.text_of(&format!("{FIND}.field({}).value", json!(label))).await
    }

    /// Waits until a piece of JavaScript finds something.
    pub async fn wait(&self, js: &str) {
        self.page.wait_for(&format!("Boolean({js})"), SOON).await.expect("it comes");
    }

    /// How many elements a selector finds.
    pub async fn count(&self, selector: &str) -> u64 {
        let count = format!("document.querySelectorAll({}).length", json!(selector));
        self.page.eval(&count).await.expect("a count").as_u64().expect("a number")
    }

    /// Whether nothing but a theme, and half a session, is kept where scripts can read it.
    pub async fn keeps_nothing(&self) -> bool {
        let kept = "Object.keys(localStorage).every((key) => ['theme', 'session-key'].includes(key)) && \
                    sessionStorage.length === 0 && document.cookie === ''";
        self.page.eval(kept).await == Ok(Value::Bool(true))
    }

    /// What broke a policy, and what went wrong unnoticed, since the page was loaded.
    pub async fn violations(&self) -> Vec<String> {
        let found = self.page.eval("violations").await.expect("the watch");
        serde_json::from_value(found).expect("a list of texts")
    }

    /// Clicks the button with this name.
    pub async fn click(&self, name: &str) {
        self.press_on(&format!("pick('button', {})", json!(name)), name).await;
    }

    /// Clicks the button with this name in the row that says something, once it may be pressed.
    pub async fn click_in(&self, row: &str, name: &str) {
        self.press_on(&format!("within({}, {})", json!(row), json!(name)), name).await;
    }

    /// Folds something out, or in.
    pub async fn unfold(&self, name: &str) {
        self.press_on(&format!("pick('summary', {})", json!(name)), name).await;
    }

    /// Clicks the link with this text.
    pub async fn follow(&self, text: &str) {
        self.press_on(&format!("pick('main a, nav a', {})", json!(text)), text).await;
    }

    /// Clicks the link with this text, but holds the button down until the page was looked at anew:
    /// until what the selector finds is another one.
    pub async fn follow_slowly(&self, text: &str, anew: &str) {
        self.aim(&format!("pick('main a', {})", json!(text)), text).await;
        self.mouse("mousePressed").await;
        let old = format!("window.old = document.querySelector({})", json!(anew));
        self.page.eval(&format!("Boolean({old})")).await.expect("what is looked at");
        self.wait("!window.old.isConnected").await;
        self.mouse("mouseReleased").await;
    }

    /// Chooses one of several, or ticks a box.
    pub async fn choose(&self, label: &str) {
        self.press_on(&format!("pick('label', {})", json!(label)), label).await;
    }

    /// Replaces what stands in the field with this label, by typing.
    pub async fn fill(&self, label: &str, text: &str) {
        let focus = format!(
            "(() => {{ const input = {FIND}.field({}); input?.focus(); input?.select?.(); \
             return Boolean(input); }})()",
            json!(label)
        );
        self.page.wait_for(&focus, SOON).await.unwrap_or_else(|why| panic!("{label}: {why}"));
        self.type_in(text).await;
    }

    /// Types where the focus is.
    pub async fn type_in(&self, text: &str) {
        self.page.call("Input.insertText", json!({ "text": text })).await.expect("it types");
    }

    /// Presses a key.
    pub async fn press(&self, key: &str) {
        let (code, text) = match key {
            "Enter" => (13, Some("\r")),
            "Escape" => (27, None),
            "Space" => (32, Some(" ")),
            "Tab" => (9, None),
            other => panic!("no key {other}"),
        };
        let name = if key == "Space" { " " } else { key };
        for kind in ["keyDown", "keyUp"] {
            let mut event =
                json!({ "type": kind, "key": name, "code": key, "windowsVirtualKeyCode": code });
            if let (Some(text), "keyDown") = (text, kind) {
                event["text"] = text.into();
            }
            self.page.call("Input.dispatchKeyEvent", event).await.expect("a key");
        }
    }

    /// What stands out of the page at a width, or makes it scroll sideways.
    pub async fn too_wide(&self, width: u32) -> Vec<String> {
        self.resize(width, 900).await;
        let found = self.page.eval(
            "(() => {
               const edge = document.documentElement.clientWidth;
               const out = [...document.querySelectorAll('body *')].filter((node) => {
                 const box = node.getBoundingClientRect();
                 return box.width > 0 && box.right > edge + 1 && node.checkVisibility()
                   && !node.closest('.log, .unseen, thead');
               });
               const names = out.map((node) => `${node.tagName} ${node.className}`);
               if (document.documentElement.scrollWidth > edge) names.push('it scrolls sideways');
               return names;
             })()",
        );
        serde_json::from_value(found.await.expect("a look")).expect("a list of texts")
    }

    /// Keeps what the page looks like, for whoever wants to see it after the test.
    pub async fn shot(&self, name: &str) {
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("console");
        std::fs::create_dir_all(&folder).expect("a directory");
        self.page.screenshot(&folder.join(format!("{name}.png"))).await.expect("a picture");
    }

    async fn resize(&self, width: u32, height: u32) {
        let size = json!({ "width": width, "height": height, "deviceScaleFactor": 1,
                           "mobile": false });
        self.page.call("Emulation.setDeviceMetricsOverride", size).await.expect("a size");
    }

    async fn text_of(&self, js: &str) -> String {
        let text = self.page.eval(js).await.expect("an answer");
        text.as_str().expect("a text").to_owned()
    }

    /// Clicks the middle of something with the mouse.
    async fn press_on(&self, find: &str, name: &str) {
        self.aim(find, name).await;
        self.mouse("mousePressed").await;
        self.mouse("mouseReleased").await;
    }

    /// Aims at the middle of something, once it is there, nothing covers it, and it has stood in the
    /// same place for two looks: what is still loading pushes it from under the mouse.
    async fn aim(&self, find: &str, name: &str) {
        let stands = format!(
            "(() => {{
               const node = {FIND}.{find};
               if (!node) return false;
               node.scrollIntoView({{ block: 'center' }});
               const box = node.getBoundingClientRect();
               const place = [box.x + box.width / 2, box.y + box.height / 2];
               const stood = String(window.aim) === String(place);
               window.aim = place;
               return stood && node.contains(document.elementFromPoint(...place));
             }})()"
        );
        self.page.wait_for(&stands, SOON).await.unwrap_or_else(|why| panic!("{name}: {why}"));
    }

    /// Presses or releases the mouse's button where `aim` found something.
    async fn mouse(&self, kind: &str) {
        let place = self.page.eval("window.aim").await.expect("its place");
        let event = json!({ "type": kind, "x": place[0], "y": place[1], "button": "left",
                            "clickCount": 1 });
        self.page.call("Input.dispatchMouseEvent", event).await.expect("a click");
    }
}
