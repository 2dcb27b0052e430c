//! The real program as a server.
//!
//! Owns a [`Served`]: `openclaw-pipeline serve` on a [`Product`]'s own installation and a port of
//! its own, with its log; what it launched ends with it, also by a panic. Refuses to know anything
//! of the server's inside, or to wait for ever.

use std::fs::{self, File};
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, Stdio};
use std::time::Duration;

use rustix::process::Signal;
use serde_json::{Value, json};

use super::client::LIMIT;
pub use super::client::{Answer, Call};
use super::ports::free_port;
use super::product::{BROKEN, OLDER, Product, send, until};

/// The operator's token, where there is one: distinctive, so that a leak is found.
pub const API_TOKEN: &str = "api~Wq73/kP+operator-0123456789=";

/// A version that never comes up: a launch of it goes on until it is given up.
pub const SLOW: (&str, u64) = ("2026.9.8", 18);

/// The pause between two looks: a token may look fifty times a second.
const LOOK: Duration = Duration::from_millis(40);

/// Asks for a path so often, on one connection, without waiting for an answer; returns all of them.
pub fn flood(address: SocketAddr, path: &str, token: Option<&str>, times: usize) -> String {
    let bearer = token.map(|it| format!("authorization: Bearer {it}\r\n")).unwrap_or_default();
    let head = format!("GET {path} HTTP/1.1\r\nhost: {address}\r\n{bearer}");
    let request = format!("{head}\r\n").repeat(times - 1) + &head + "connection: close\r\n\r\n";
    let mut stream = TcpStream::connect(address).expect("it listens");
    let mut reads = stream.try_clone().expect("a second handle");
    std::thread::scope(|scope| {
        scope.spawn(move || stream.write_all(request.as_bytes()).expect("it reads"));
        let mut answers = String::new();
        reads.read_to_string(&mut answers).expect("text, and its end");
        answers
    })
}

/// A server that runs.
pub struct Served {
    // Reaped before its installation is removed.
    server: Process,
    flags: Vec<String>,
    token: Option<String>,
    product: Product,
}

/// A token that was made by command.
#[derive(Debug, Clone)]
pub struct Made {
    /// Its text.
    pub text: String,
    /// Its id.
    pub id: String,
}

impl Served {
    /// On an installation with the newest version, with the operator's token.
    pub fn begin() -> Self {
        let mut product = Product::new();
        product.set("OPENCLAW_PIPELINE_API_TOKEN", API_TOKEN);
        Self::on(product, &[])
    }

    /// The same with further versions: the one before, one that fails at once ([`BROKEN`]), and one
    /// that never comes up ([`SLOW`]).
    pub fn with_versions() -> Self {
        let mut product = Product::new();
        product.install(OLDER);
        product.install_faulty(BROKEN, Some("{exit_code: 1}"));
        product.install_faulty(SLOW, Some("{never_started: true}"));
        product.set("OPENCLAW_PIPELINE_API_TOKEN", API_TOKEN);
        Self::on(product, &[])
    }

    /// The same without any token: whoever reaches it may call.
    pub fn open() -> Self {
        Self::on(Product::new(), &[])
    }

    /// On an installation as the test prepared it, with these flags.
    pub fn on(product: Product, flags: &[&str]) -> Self {
        let flags: Vec<String> = flags.iter().map(ToString::to_string).collect();
        let server = Process::start(&product, &flags);
        let token = product.variable("OPENCLAW_PIPELINE_API_TOKEN");
        Self { server, flags, token, product }
    }

    /// The installation: commands beside the server, files, processes.
    pub fn product(&self) -> &Product {
        &self.product
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.server.address
    }

    /// Its base URL, without a slash at its end.
    pub fn url(&self) -> &str {
        &self.server.url
    }

    /// Its process.
    pub fn pid(&self) -> i32 {
        i32::try_from(self.server.child.id()).expect("a pid")
    }

    /// Everything that its servers said, the ended ones included.
    pub fn log(&self) -> String {
        let log = fs::read(self.product.path(LOG)).expect("a log");
        String::from_utf8_lossy(&log).into_owned()
    }

    /// No server panicked, and none answered that it was at fault.
    #[track_caller]
    pub fn assert_well(&self) {
        let log = self.log();
        for sign in ["panicked", "\"level\":\"ERROR\"", "\"status\":500"] {
            let line = log.lines().find(|line| line.contains(sign));
            assert!(line.is_none(), "{sign}: {line:?}");
        }
    }

    /// One gateway that is the recorded one, with one keeper, and a deployment that runs.
    #[track_caller]
    pub fn assert_one_gateway(&self, name: &str) {
        assert_eq!(self.product.status(name), "running");
        let gateways = self.product.gateways();
        assert_eq!(gateways, Vec::from_iter(self.product.gateway(name)), "the one gateway");
        assert_eq!(self.product.keepers().len(), 1, "one keeper");
        assert_eq!(self.product.processes().len(), 3, "{:?}", self.product.processes());
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: Signal) {
        send(self.pid(), signal);
    }

    /// Tells it to stop, and waits until it has; answers its exit code.
    pub fn stop(&mut self) -> i32 {
        self.signal(Signal::TERM);
        self.exit()
    }

    /// Waits until it has ended by itself; answers its exit code.
    pub fn exit(&mut self) -> i32 {
        let child = &mut self.server.child;
        let status = until("the server ends", || child.try_wait().expect("it can be waited for"));
        status.code().expect("it ends by itself")
    }

    /// Kills it: nothing of it gets to say anything any more.
    pub fn kill(&mut self) {
        self.server.end();
    }

    /// Starts another one after it, on the same installation, with the same flags.
    pub fn start_again(&mut self) {
        self.server.end();
        self.server = Process::start(&self.product, &self.flags);
    }

    /// A call with the operator's token, where there is one.
    pub fn call(&self, method: &str, path: &str) -> Call {
        let call = Call::to(self.address(), method, path);
        match &self.token {
            Some(token) => call.token(token),
            None => call,
        }
    }

    /// GET.
    pub fn get(&self, path: &str) -> Answer {
        self.call("GET", path).send()
    }

    /// POST of a JSON body.
    pub fn post(&self, path: &str, body: &Value) -> Answer {
        self.call("POST", path).json(body).send()
    }

    /// DELETE.
    pub fn delete(&self, path: &str) -> Answer {
        self.call("DELETE", path).send()
    }

    /// Makes a token by command; the arguments are those of `tokens create`.
    pub fn token<const N: usize>(&self, args: [&str; N]) -> Made {
        let run = self.product.run(["tokens", "create", "--json", "--label", "a test"]);
        let made = args.iter().fold(run, |run, arg| run.arg(arg)).ok().json();
        let text = |field: &str| made[field].as_str().expect("a text").to_owned();
        Made { text: text("token"), id: text("id") }
    }

    /// The body of a launch on the stand-in, with a port of its own.
    pub fn launch_body(name: &str) -> Value {
        json!({ "name": name, "target": "process", "port": free_port() })
    }

    /// The same of a version.
    pub fn launch_of(name: &str, version: (&str, u64)) -> Value {
        let mut body = Self::launch_body(name);
        body["version"] = json!(version.0);
        body
    }

    /// Makes a deployment that has a history and no gateway: its launch fails, because the port
    /// that it names is the server's own.
    pub fn put(&self, name: &str) {
        let body = json!({ "name": name, "target": "process", "port": self.address().port() });
        let ended = self.ended(&self.post("/v1/deployments", &body).ok(202));
        assert_eq!(ended["status"], "failed", "{ended:#}");
    }

    /// Launches a gateway on the stand-in, and waits until it is proven; answers the operation.
    pub fn launch(&self, name: &str) -> Value {
        let begun = self.post("/v1/deployments", &Self::launch_body(name)).ok(202);
        let ended = self.ended(&begun);
        assert_eq!(ended["status"], "succeeded", "{ended:#}");
        ended
    }

    /// An operation when it is over. Takes what names it: a 202's body.
    #[track_caller]
    pub fn ended(&self, begun: &Value) -> Value {
        let id = begun["id"].as_str().or_else(|| begun["operation_id"].as_str()).expect("an id");
        let path = format!("/v1/operations/{id}");
        self.until("the operation ends", || {
            let operation = self.get(&path).ok(200);
            (operation["status"] != "running").then_some(operation)
        })
    }

    /// An operation when it is over, however long its machine takes.
    pub fn ended_however_long(&self, begun: &Value) -> Value {
        let id = begun["operation_id"].as_str().or_else(|| begun["id"].as_str()).expect("an id");
        let path = format!("/v1/operations/{id}");
        // Each look waits anew, so that no limit of one look bounds the whole.
        loop {
            let operation = until("an answer", || Some(self.get(&path).ok(200)));
            if operation["status"] != "running" {
                return operation;
            }
            std::thread::sleep(LOOK);
        }
    }

    /// Waits until there is an answer, and looks no more often than a client may.
    #[track_caller]
    pub fn until<T>(&self, what: &str, mut probe: impl FnMut() -> Option<T>) -> T {
        until(what, || {
            let answer = probe();
            if answer.is_none() {
                std::thread::sleep(LOOK);
            }
            answer
        })
    }

    /// Sends bytes as they are; answers everything that comes back until the server closes.
    pub fn raw(&self, bytes: &[u8]) -> String {
        let mut stream = TcpStream::connect(self.address()).expect("it listens");
        stream.set_read_timeout(Some(LIMIT)).expect("a deadline");
        // A server that refuses early does not read to the end.
        let _ = stream.write_all(bytes);
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
        String::from_utf8_lossy(&answer).into_owned()
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let log = self.log();
            let last: Vec<&str> = log.lines().rev().take(40).collect();
            for line in last.into_iter().rev() {
                let _ = writeln!(std::io::stderr(), "serve: {line}");
            }
        }
    }
}

/// The log's place in the installation's directory.
const LOG: &str = "serve.log";

/// One `serve`.
struct Process {
    child: Child,
    address: SocketAddr,
    url: String,
}

impl Process {
    fn start(product: &Product, flags: &[String]) -> Self {
        let log = File::options().create(true).append(true).open(product.path(LOG)).expect("a log");
        let mut command = product.run(["serve", "--json", "--port", "0"]).into_command();
        command.args(flags).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(log);
        let mut child = command.spawn().expect("the program starts");
        let mut line = String::new();
        let mut stdout = BufReader::new(child.stdout.take().expect("piped"));
        stdout.read_line(&mut line).expect("its output is text");
        let said: Value = serde_json::from_str(&line).unwrap_or_else(|why| {
            let _ = child.wait();
            let log = fs::read_to_string(product.path(LOG)).unwrap_or_default();
            panic!("the server does not start: {why}: {line:?}\n{log}")
        });
        let url = said["url"].as_str().expect("a URL").to_owned();
        let (_, address) = url.split_once("://").expect("a scheme");
        let address = address.parse().expect("an address");
        Self { child, address, url }
    }

    fn end(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.end();
    }
}
