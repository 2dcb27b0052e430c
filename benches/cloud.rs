//! Launching and destroying on EC2, against the same by hand: bare Terraform with the same module,
//! and Docker Compose over SSH; and what twenty launches at once cost the server.
//!
//! The cloud is the lab's: Terraform, its provider, the machines and their engines are real, their
//! hardware is this machine's. Product and floor take turns.

use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::stats::{Samples, ms};
use super::support::cloud::Cloud;
use super::support::lab::{Lab, Part, search_path};
use super::support::product::Product;
use super::support::real::TOKEN;
use super::support::server::Served;

/// How many pairs.
const PAIRS: usize = 3;
/// How many launches at once.
const MANY: usize = 20;
/// The image of the pairs.
const IMAGE: &str = "ghcr.io/openclaw/openclaw:latest";
/// The key that both sides give.
const KEY: &str = "sk-ant-a-key-that-only-looks-like-one";
/// What the server's caller shows.
const API_TOKEN: &str = "a-token-for-measuring-0123456789";
/// How often the floor looks.
const LOOK: Duration = Duration::from_millis(50);

/// `launch-ec2` and `many-ec2`.
pub fn run(wanted: &impl Fn(&str) -> bool) {
    if Lab::require(Part::Cloud).is_none() {
        return;
    }
    if wanted("launch-ec2") {
        pairs();
    }
    if wanted("many-ec2") {
        many();
    }
}

/// A server in a cloud of its own.
fn served(cloud: &Cloud) -> Served {
    let mut product = Product::bare();
    product.set("OPENCLAW_PIPELINE_API_TOKEN", API_TOKEN);
    product.set("OPENCLAW_PIPELINE_SSH_CIDR", format!("{}/32", cloud.operator()));
    for (name, value) in cloud.environment() {
        product.set(name, value);
    }
    product.set("PATH", search_path());
    Served::on(product, &[])
}

fn launch(served: &Served, name: &str, image: &str) -> Value {
    let body = json!({
        "name": name, "target": "ec2", "image": image, "approval": "off", "token": TOKEN,
        "anthropic_api_key": KEY,
    });
    served.post("/launch", &body).ok(202)
}

/// Waits for an operation's event on its stream, as a front end does: asking again and again would be
/// most of what the server does meanwhile.
fn until_heard(served: &Served, begun: &Value, event: &str) {
    let id = begun["operation_id"].as_str().or_else(|| begun["id"].as_str()).expect("its id");
    let mut tcp = TcpStream::connect(served.address()).expect("the server listens");
    let request = format!(
        "GET /v1/operations/{id}/events HTTP/1.1\r\nHost: {}\r\nAuthorization: Bearer \
         {API_TOKEN}\r\nAccept: text/event-stream\r\n\r\n",
        served.address()
    );
    tcp.write_all(request.as_bytes()).expect("the server reads");
    for line in BufReader::new(tcp).lines() {
        let line = line.expect("the stream goes on");
        let heard = line.strip_prefix("event: ").map(str::trim);
        if heard == Some(event) {
            return;
        }
        assert!(!line.contains("\"failed\""), "{line}");
    }
    panic!("the stream ended before {event}");
}

fn pairs() {
    let Some(cloud) = Cloud::start() else { return };
    let served = served(&cloud);
    // The module is initialised once for a machine; so is the floor's plugin.
    until_heard(&served, &launch(&served, "warm", IMAGE), "completed");
    until_heard(&served, &served.delete("/v1/deployments/warm").ok(202), "destroyed");
    let (mut ours, mut theirs) = (Samples(Vec::new()), Samples(Vec::new()));
    let (mut gone, mut destroyed) = (Samples(Vec::new()), Samples(Vec::new()));
    let mut own = Vec::new();
    for number in 0..PAIRS {
        let name = format!("pair{number}");
        let (begun, before) = (Instant::now(), cpu_s(served.pid()));
        until_heard(&served, &launch(&served, &name, IMAGE), "completed");
        ours.0.push(begun.elapsed());
        own.push(cpu_s(served.pid()) - before);
        let begun = Instant::now();
        let removing = served.delete(&format!("/v1/deployments/{name}")).ok(202);
        until_heard(&served, &removing, "destroyed");
        gone.0.push(begun.elapsed());

        let floor = Floor::new(&cloud, number);
        let begun = Instant::now();
        floor.launch();
        theirs.0.push(begun.elapsed());
        let begun = Instant::now();
        floor.terraform(&["destroy", "-auto-approve", "-input=false"]);
        destroyed.0.push(begun.elapsed());
        let last = |samples: &Samples| samples.0.last().map_or(0.0, Duration::as_secs_f64);
        println!(
            "  pair {number}: launch {:.1} s, by hand {:.1} s; destroy {:.1} s, by hand {:.1} s",
            last(&ours),
            last(&theirs),
            last(&gone),
            last(&destroyed)
        );
    }
    println!("POST /launch on EC2 to completed:");
    println!("{}", ours.line("launch"));
    println!("{}", theirs.line("init, apply, compose up by hand"));
    println!("  launch = {:.3} x floor; allowed 1.10 x", ms(ours.median()) / ms(theirs.median()));
    own.sort_by(f64::total_cmp);
    println!("  the server's own CPU a launch: {:.2} s at most; allowed 0.3 s", own[own.len() - 1]);
    println!("destroy on EC2:");
    println!("{}", gone.line("destroy"));
    println!("{}", destroyed.line("terraform destroy by hand"));
    let ratio = ms(gone.median()) / ms(destroyed.median());
    println!("  destroy = {ratio:.3} x floor; allowed 1.10 x\n");
    cloud.assert_empty();
}

fn many() {
    let Some(cloud) = Cloud::start() else { return };
    let Some([image, _]) = cloud.standin() else { return };
    cloud.make_room(u32::try_from(MANY).expect("a few"));
    let served = served(&cloud);
    let begun = Instant::now();
    let all: Vec<Value> =
        (0..MANY).map(|number| launch(&served, &format!("many{number}"), &image)).collect();
    let (mut most, mut runs, mut terraform, mut together) = (0, 0, 0, 0);
    loop {
        most = most.max(resident_kib(served.pid()));
        let now = terraforms();
        runs = runs.max(now.len());
        terraform = terraform.max(now.iter().copied().max().unwrap_or_default());
        together = together.max(now.iter().sum());
        let listed = served.get("/status").ok(200);
        if listed["count"] == 0 {
            break;
        }
        std::thread::sleep(LOOK * 4);
    }
    let took = begun.elapsed();
    let ended: Vec<Value> = all.iter().map(|begun| served.ended(begun)).collect();
    let failed = ended.iter().find(|it| it["status"] != "succeeded");
    assert!(failed.is_none(), "one that failed: {}", failed.unwrap_or(&Value::Null)["error"]);
    let addresses: BTreeSet<String> = (0..MANY)
        .map(|number| served.get(&format!("/v1/deployments/many{number}")).ok(200))
        .map(|it| it["address"].as_str().expect("it has a machine").to_owned())
        .collect();
    assert_eq!((addresses.len(), cloud.instances().len()), (MANY, MANY), "each has its own");
    println!("{MANY} launches at once on EC2, stand-in gateways:");
    println!("  all proven in {:.0} s, each on a machine of its own", took.as_secs_f64());
    let mib = |kib: u64| f64::from(u32::try_from(kib).unwrap_or(u32::MAX)) / 1024.0;
    println!("  the server's memory: {:.1} MiB at most; allowed 40 MB", mib(most));
    println!(
        "  {runs} Terraform runs at once at most; one took up to {:.0} MiB with its provider, all \
         together {:.0} MiB\n",
        mib(terraform),
        mib(together)
    );
    // A token may begin thirty removals a minute; the operator as many as there are.
    std::thread::scope(|scope| {
        for number in 0..MANY {
            let served = &served;
            scope.spawn(move || {
                served.product().run(["destroy", &format!("many{number}"), "--yes"]).ok();
            });
        }
    });
    cloud.assert_empty();
}

/// The same by hand.
struct Floor<'a> {
    cloud: &'a Cloud,
    dir: tempfile::TempDir,
    number: usize,
}

impl<'a> Floor<'a> {
    fn new(cloud: &'a Cloud, number: usize) -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let module = Path::new(env!("CARGO_MANIFEST_DIR")).join("terraform/ec2");
        for entry in fs::read_dir(module).expect("the module").flatten() {
            if entry.file_type().is_ok_and(|it| it.is_file()) {
                fs::copy(entry.path(), dir.path().join(entry.file_name())).expect("copied");
            }
        }
        Self { cloud, dir, number }
    }

    fn path(&self, part: &str) -> std::path::PathBuf {
        self.dir.path().join(part)
    }

    fn terraform(&self, args: &[&str]) -> String {
        let mut terraform = self.cloud.command("terraform");
        let output = terraform.current_dir(self.dir.path()).args(args).output().expect("runs");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "terraform {args:?}: {said}");
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    fn launch(&self) {
        let keygen = |name: &str| {
            let mut keygen = Command::new("ssh-keygen");
            keygen.args(["-q", "-t", "ed25519", "-N", "", "-f"]).arg(self.path(name));
            assert!(keygen.status().expect("runs").success());
            fs::read_to_string(self.path(&format!("{name}.pub"))).expect("a key")
        };
        let public = keygen("key");
        let values = json!({
            "name": format!("floor{}", self.number), "region": "us-east-1", "image": IMAGE,
            "public_key": public.trim(), "ssh_cidrs": [format!("{}/32", self.cloud.operator())],
        });
        fs::write(self.path("floor.auto.tfvars.json"), values.to_string()).expect("values");
        self.terraform(&["init", "-input=false"]);
        self.terraform(&["apply", "-auto-approve", "-input=false"]);
        let address = self.terraform(&["output", "-raw", "public_ip"]);
        let address: Ipv4Addr = address.trim().parse().expect("an address");
        self.until("Docker", || self.ssh(address, "sudo docker info >/dev/null", None));
        let file = include_str!("../docker-compose.yml");
        assert!(self.ssh(address, "cat >docker-compose.yml", Some(file)));
        let up = format!(
            "sudo env OPENCLAW_GATEWAY_TOKEN={TOKEN} ANTHROPIC_API_KEY={KEY} GATEWAY_BIND=0.0.0.0 \
             sh -c 'docker compose up -d openclaw-gateway || \
             docker-compose up -d openclaw-gateway'"
        );
        assert!(self.ssh(address, &up, None), "compose up");
        self.until("the gateway", || is_started((address, 18789).into()));
    }

    fn ssh(&self, address: Ipv4Addr, script: &str, input: Option<&str>) -> bool {
        let mut ssh = Command::new("ssh");
        ssh.args(["-o", "BatchMode=yes", "-o", "StrictHostKeyChecking=accept-new"]);
        ssh.args(["-o", "ConnectTimeout=5", "-o", "LogLevel=ERROR", "-o"]);
        ssh.arg(format!("UserKnownHostsFile={}", self.path("known").display()));
        ssh.arg("-i").arg(self.path("key")).arg(format!("ec2-user@{address}")).arg(script);
        ssh.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
        let mut child = ssh.spawn().expect("runs");
        let mut pipe = child.stdin.take().expect("its input");
        let _ = pipe.write_all(input.unwrap_or_default().as_bytes());
        drop(pipe);
        child.wait().expect("ends").success()
    }

    fn until(&self, what: &str, mut is_there: impl FnMut() -> bool) {
        let end = Instant::now() + Duration::from_secs(300);
        while !is_there() {
            assert!(Instant::now() < end, "floor {}: {what} never came", self.number);
            std::thread::sleep(LOOK);
        }
    }
}

/// A bare probe.
fn is_started(address: SocketAddr) -> bool {
    let ask = || -> std::io::Result<String> {
        let mut tcp = TcpStream::connect_timeout(&address, Duration::from_secs(2))?;
        tcp.set_read_timeout(Some(Duration::from_secs(10)))?;
        let request =
            format!("GET /startupz HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
        tcp.write_all(request.as_bytes())?;
        let mut text = String::new();
        tcp.read_to_string(&mut text)?;
        Ok(text)
    };
    ask().is_ok_and(|text| text.contains("\"status\":\"started\""))
}

/// The processor time that a process itself took so far.
fn cpu_s(pid: i32) -> f64 {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).expect("it lives");
    let (_, fields) = text.rsplit_once(')').expect("its name");
    let fields: Vec<&str> = fields.split_whitespace().collect();
    let ticks: u32 = fields[11..13].iter().map(|it| it.parse::<u32>().expect("ticks")).sum();
    f64::from(ticks) / 100.0
}

fn resident_kib(pid: i32) -> u64 {
    field_kib(&format!("/proc/{pid}/status"), "VmRSS:").unwrap_or_default()
}

/// A field of a file that the kernel writes, in KiB.
pub fn field_kib(path: &str, name: &str) -> Option<u64> {
    let text = fs::read_to_string(path).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    line.split_whitespace().next()?.parse().ok()
}

/// What each run of Terraform takes now with its provider, in KiB.
fn terraforms() -> Vec<u64> {
    let mut runs: Vec<(String, u64)> = Vec::new();
    for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let path = entry.path();
        let Ok(line) = fs::read_to_string(path.join("cmdline")) else { continue };
        if !line.contains("terraform") {
            continue;
        }
        let status = path.join("status").to_string_lossy().into_owned();
        let resident = field_kib(&status, "VmRSS:").unwrap_or_default();
        let Ok(text) = fs::read_to_string(path.join("stat")) else { continue };
        let Some((_, fields)) = text.rsplit_once(')') else { continue };
        // A run is a process group: the program, and its provider.
        let group = fields.split_whitespace().nth(2).unwrap_or_default().to_owned();
        match runs.iter_mut().find(|(it, _)| *it == group) {
            Some((_, sum)) => *sum += resident,
            None => runs.push((group, resident)),
        }
    }
    runs.into_iter().map(|(_, sum)| sum).collect()
}
