//! Debian's Chromium, headless: inside a network namespace a browser that comes
//! from elsewhere, and else one of this machine.
//!
//! It is driven over the `DevTools` protocol on two pipes (its file descriptors 3
//! and 4), not on a port: a port of its would be on the namespace's loopback,
//! where the test cannot reach it, and a browser whose pipe closes ends, so that
//! a killed test leaves none behind.

use std::collections::HashMap;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use base64::Engine as _;
use command_fds::{CommandFdExt as _, FdMapping};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::unix::pipe;
use tokio::sync::{Semaphore, SemaphorePermit, mpsc, oneshot};

use super::edge::{ADDRESS, Edge};
use super::lab::{Lab, Part};
use super::netns::NetNs;

/// How long one call to the browser may take.
const CALL: Duration = Duration::from_secs(120);
/// How often a waiting call looks at the page.
const LOOK: Duration = Duration::from_millis(50);

/// A running browser with a profile of its own; ended when dropped.
#[derive(Debug)]
pub struct Browser {
    child: Child,
    wire: Arc<Wire>,
    _profile: tempfile::TempDir,
    _place: Option<SemaphorePermit<'static>>,
}

/// A browser from elsewhere is for real gateways, and two cores have enough to do with those of two
/// tests: beside more, each of them takes so long that its own deadlines pass.
static PLACES: Semaphore = Semaphore::const_new(2);

impl Browser {
    /// Starts one inside `netns`. `None` (after `skipped: REASON`) where this
    /// machine has no Chromium.
    pub async fn launch(netns: &NetNs) -> Option<Self> {
        Lab::require(Part::Browser)?;
        Some(Self::placed(netns.command("chromium")).await)
    }

    /// Starts one on this machine itself, which reaches its loopback. `None` (after
    /// `skipped: REASON`) where it has no Chromium.
    pub async fn here() -> Option<Self> {
        Lab::require(Part::Browser)?;
        Some(Self::begin(super::lab::command("chromium"), None).await)
    }

    /// The same inside `netns`, where the edge's host names lead to it, and its certificate counts
    /// as one of the web's: by its key, because nothing else of that authority is to be believed.
    pub async fn launch_before(netns: &NetNs, edge: &Edge) -> Option<Self> {
        Lab::require(Part::Browser)?;
        let mut command = netns.command("chromium");
        command.arg(format!("--host-resolver-rules=MAP *.trycloudflare.com {ADDRESS}"));
        command.arg(format!("--ignore-certificate-errors-spki-list={}", edge.key_digest()));
        Some(Self::placed(command).await)
    }

    /// The same inside `netns`, with a hosts file of its own.
    pub async fn launch_with_hosts(netns: &NetNs, hosts: &std::path::Path) -> Option<Self> {
        Lab::require(Part::Browser)?;
        let inside = netns.command("chromium");
        let mut command =
            super::product::with_hosts(hosts, &inside.get_program().to_string_lossy());
        command.args(inside.get_args());
        Some(Self::placed(command).await)
    }

    async fn placed(command: std::process::Command) -> Self {
        let place = PLACES.acquire().await.expect("nobody closes it");
        Self::begin(command, Some(place)).await
    }

    async fn begin(
        mut command: std::process::Command,
        place: Option<SemaphorePermit<'static>>,
    ) -> Self {
        sweep_profiles();
        let profile = tempfile::Builder::new()
            .prefix(&super::tag())
            .tempdir()
            .expect("make the browser's profile directory");
        let (to_browser_end, to_browser) = io::pipe().expect("make a pipe");
        let (from_browser, from_browser_end) = io::pipe().expect("make a pipe");
        command
            .args([
                "--headless=new",
                "--no-sandbox",
                "--disable-gpu",
                "--force-prefers-reduced-motion",
                "--disable-quic",
                "--no-first-run",
                "--no-default-browser-check",
                "--disable-background-networking",
                "--disable-component-update",
                "--disable-sync",
                "--disable-breakpad",
                "--disable-dev-shm-usage",
                "--disable-extensions",
                "--window-size=1280,900",
                "--remote-debugging-pipe",
            ])
            .arg(format!("--user-data-dir={}", profile.path().display()))
            .arg("about:blank")
            // What a user's session has set is not the test's.
            .env("HOME", profile.path())
            .env_remove("DBUS_SESSION_BUS_ADDRESS")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .process_group(0)
            .fd_mappings(vec![
                FdMapping { parent_fd: OwnedFd::from(to_browser_end), child_fd: 3 },
                FdMapping { parent_fd: OwnedFd::from(from_browser_end), child_fd: 4 },
            ])
            .expect("map the browser's pipes");
        let child = command.spawn().expect("start chromium");
        // The browser's ends are in `command` still: without this the pipe would
        // not close when the browser ends.
        drop(command);
        let wire = Wire::open(to_browser.into(), from_browser.into());
        let browser = Self { child, wire, _profile: profile, _place: place };
        browser
            .wire
            .call(None, "Browser.getVersion", json!({}))
            .await
            .unwrap_or_else(|why| panic!("chromium does not answer: {why}"));
        browser
    }

    /// A new tab, in the browser's own profile: it shares storage, and so the
    /// device identity, with the other tabs.
    pub async fn page(&self) -> Page {
        self.open(json!({"url": "about:blank"})).await
    }

    /// A new tab with storage of its own: to a gateway, another browser.
    pub async fn stranger(&self) -> Page {
        let context = self
            .wire
            .call(None, "Target.createBrowserContext", json!({}))
            .await
            .expect("make a browser context");
        let id = context["browserContextId"].clone();
        self.open(json!({"url": "about:blank", "browserContextId": id})).await
    }

    async fn open(&self, target: Value) -> Page {
        let target = self.wire.call(None, "Target.createTarget", target).await.expect("open a tab");
        let target = target["targetId"].clone();
        let attach = json!({"targetId": target, "flatten": true});
        let session =
            self.wire.call(None, "Target.attachToTarget", attach).await.expect("attach to a tab");
        let session = session["sessionId"].as_str().expect("a session id").to_owned();
        let page = Page { wire: Arc::clone(&self.wire), session, target };
        page.call("Page.enable", json!({})).await.expect("enable the page's domain");
        page
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        if let Some(group) =
            i32::try_from(self.child.id()).ok().and_then(rustix::process::Pid::from_raw)
        {
            let _ = rustix::process::kill_process_group(group, rustix::process::Signal::KILL);
        }
        let _ = self.child.wait();
    }
}

/// Removes the profile directories that killed test runs have left.
fn sweep_profiles() {
    for entry in std::fs::read_dir(std::env::temp_dir()).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let name = name.to_string_lossy();
        if name.starts_with("oclab-") && super::owner(&name).is_some_and(super::is_gone) {
            let _ = std::fs::remove_dir_all(entry.path());
        }
    }
}

/// One tab, which closes when it is dropped: a page that nobody looks at goes on moving.
#[derive(Debug)]
pub struct Page {
    wire: Arc<Wire>,
    session: String,
    target: Value,
}

impl Drop for Page {
    fn drop(&mut self) {
        self.wire.send(None, "Target.closeTarget", &json!({"targetId": self.target}));
    }
}

impl Page {
    /// Opens `url` and waits until it is loaded.
    pub async fn goto(&self, url: &str) -> Result<(), String> {
        for again in [true, true, false] {
            let answer = self.call("Page.navigate", json!({"url": url})).await?;
            match answer["errorText"].as_str() {
                None => break,
                // Containers and namespaces of other tests come and go.
                Some("net::ERR_NETWORK_CHANGED") if again => tokio::time::sleep(LOOK).await,
                Some(why) => return Err(format!("cannot open the page: {why}")),
            }
        }
        self.wait_for("document.readyState === 'complete'", CALL).await?;
        Ok(())
    }

    /// The text that can be seen, in document order, one piece a line, including
    /// what stands in shadow roots (`innerText` leaves those out). Empty while
    /// the page is changing.
    pub async fn text(&self) -> String {
        let text = self.eval(VISIBLE_TEXT).await.unwrap_or_default();
        text.as_str().unwrap_or_default().to_owned()
    }

    /// Waits until the page's text contains `needle`, and returns how long that
    /// took. The error holds the text that stood there instead.
    pub async fn wait_for_text(
        &self,
        needle: &str,
        deadline: Duration,
    ) -> Result<Duration, String> {
        let began = Instant::now();
        loop {
            let text = self.text().await;
            if text.contains(needle) {
                return Ok(began.elapsed());
            }
            if began.elapsed() > deadline {
                return Err(format!("no {needle:?} within {deadline:?}; the page says:\n{text}"));
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    /// Waits until the JavaScript expression `condition` holds, and returns how
    /// long that took.
    pub async fn wait_for(&self, condition: &str, deadline: Duration) -> Result<Duration, String> {
        let began = Instant::now();
        loop {
            // An error means that the page is changing: look again.
            let last = self.eval(condition).await;
            if last == Ok(Value::Bool(true)) {
                return Ok(began.elapsed());
            }
            if began.elapsed() > deadline {
                let text = self.text().await;
                return Err(format!(
                    "`{condition}` is {last:?} after {deadline:?}; the page says:\n{text}"
                ));
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    /// The value of the JavaScript expression `js`, awaited if it is a promise.
    pub async fn eval(&self, js: &str) -> Result<Value, String> {
        let expression = json!({"expression": js, "awaitPromise": true, "returnByValue": true});
        let mut answer = self.call("Runtime.evaluate", expression).await?;
        if let Some(exception) = answer.get("exceptionDetails") {
            let said = exception["exception"]["description"].as_str();
            return Err(said.or(exception["text"].as_str()).unwrap_or("an exception").to_owned());
        }
        Ok(answer["result"]["value"].take())
    }

    /// Writes what the page looks like, as PNG.
    pub async fn screenshot(&self, path: &Path) -> Result<(), String> {
        let answer = self.call("Page.captureScreenshot", json!({"format": "png"})).await?;
        let png = base64::engine::general_purpose::STANDARD
            .decode(answer["data"].as_str().unwrap_or_default())
            .map_err(|why| why.to_string())?;
        std::fs::write(path, png).map_err(|why| format!("{}: {why}", path.display()))
    }

    /// Any other method of the `DevTools` protocol, on this tab.
    pub async fn call(&self, method: &str, params: Value) -> Result<Value, String> {
        self.wire.call(Some(&self.session), method, params).await
    }
}

const VISIBLE_TEXT: &str = r"(() => {
  const pieces = [];
  const walk = (node) => {
    if (node.nodeType === Node.TEXT_NODE) {
      const text = node.textContent.replace(/\s+/g, ' ').trim();
      if (text) pieces.push(text);
      return;
    }
    if (node.nodeType === Node.ELEMENT_NODE) {
      if (/^(SCRIPT|STYLE|NOSCRIPT|TEMPLATE)$/.test(node.tagName)) return;
      const style = getComputedStyle(node);
      if (style.display === 'none' || style.visibility === 'hidden') return;
      if (node.shadowRoot) walk(node.shadowRoot);
    }
    node.childNodes.forEach(walk);
  };
  if (document.body) walk(document.body);
  return pieces.join('\n');
})()";

/// The protocol itself: JSON messages that end in a NUL, numbered calls and
/// their answers. Events are not used.
#[derive(Debug)]
struct Wire {
    next: AtomicU64,
    waiting: Arc<Waiting>,
    out: mpsc::UnboundedSender<String>,
}

/// Who waits for which answer; `None` once the browser has gone.
type Waiting = Mutex<Option<HashMap<u64, oneshot::Sender<Value>>>>;

impl Wire {
    fn open(to: OwnedFd, from: OwnedFd) -> Arc<Self> {
        let mut to = pipe::Sender::from_owned_fd(to).expect("the pipe to the browser");
        let mut from = pipe::Receiver::from_owned_fd(from).expect("the pipe from the browser");
        let waiting: Arc<Waiting> = Arc::new(Mutex::new(Some(HashMap::new())));
        let (out, mut queue) = mpsc::unbounded_channel::<String>();
        tokio::spawn(async move {
            while let Some(message) = queue.recv().await {
                if to.write_all(message.as_bytes()).await.is_err() {
                    break;
                }
            }
        });
        let answers = Arc::clone(&waiting);
        tokio::spawn(async move {
            let mut buffer = Vec::new();
            let mut chunk = vec![0; 64 * 1024];
            while let Ok(count @ 1..) = from.read(&mut chunk).await {
                buffer.extend_from_slice(&chunk[..count]);
                while let Some(end) = buffer.iter().position(|byte| *byte == 0) {
                    let message: Vec<u8> = buffer.drain(..=end).collect();
                    let Ok(message) = serde_json::from_slice::<Value>(&message[..end]) else {
                        continue;
                    };
                    let Some(id) = message["id"].as_u64() else {
                        continue;
                    };
                    let waiter = lock(&answers).as_mut().and_then(|map| map.remove(&id));
                    if let Some(waiter) = waiter {
                        let _ = waiter.send(message);
                    }
                }
            }
            // Nobody will be answered any more: dropping the senders says so.
            lock(&answers).take();
        });
        Arc::new(Self { next: AtomicU64::new(1), waiting, out })
    }

    /// A message, and the number that its answer has.
    fn line(&self, session: Option<&str>, method: &str, params: &Value) -> (u64, String) {
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        let mut message = json!({"id": id, "method": method, "params": params});
        if let Some(session) = session {
            message["sessionId"] = session.into();
        }
        (id, format!("{message}\0"))
    }

    /// Asks for something whose answer nobody waits for.
    fn send(&self, session: Option<&str>, method: &str, params: &Value) {
        let _ = self.out.send(self.line(session, method, params).1);
    }

    async fn call(
        &self,
        session: Option<&str>,
        method: &str,
        params: Value,
    ) -> Result<Value, String> {
        let (id, line) = self.line(session, method, &params);
        let (answer, answered) = oneshot::channel();
        match lock(&self.waiting).as_mut() {
            Some(waiting) => waiting.insert(id, answer),
            None => return Err("the browser has ended".to_owned()),
        };
        self.out.send(line).map_err(|_| "the browser has ended")?;
        let mut message = tokio::time::timeout(CALL, answered)
            .await
            .map_err(|_| format!("{method}: no answer within {CALL:?}"))?
            .map_err(|_| format!("{method}: the browser has ended"))?;
        if let Some(error) = message.get("error") {
            return Err(format!("{method}: {}", error["message"].as_str().unwrap_or_default()));
        }
        Ok(message["result"].take())
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}
