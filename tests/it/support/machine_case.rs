//! The program with a cloud of its own, for what befalls the machines that it makes there.
//!
//! Owns one simulated cloud and one installation whose environment leads to it; how a launch is
//! begun, met at a step and ended; and what the cloud has against what the installation accounts
//! for. Refuses to be what is tested: it looks at files and at the cloud, never into the program.

use std::collections::BTreeSet;
use std::fs;
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use rustix::process::Signal;
use serde_json::Value;

use super::cloud::{Cloud, Machine, Resource};
use super::lab::cloud_search_path;
use super::netns::NetNs;
use super::product::{Done, Live, Product, Run, TOKEN, send};

/// An image that the lab's registry does not have: a launch gets as far as pulling it.
pub const NO_IMAGE: &str = "ghcr.io/openclaw/none:1";
/// The deployment.
pub const NAME: &str = "m";
/// The gateway's port.
const PORT: u16 = 18789;

/// An installation and its cloud.
pub struct Case {
    /// The cloud.
    pub cloud: Cloud,
    /// The installation.
    pub product: Product,
    /// `ec2` or `lightsail`.
    pub target: &'static str,
}

impl Case {
    /// With nothing in either; `None`, after `skipped: REASON`, where this machine cannot have one.
    pub fn start(target: &'static str) -> Option<Self> {
        let cloud = Cloud::start()?;
        let mut product = Product::bare();
        product.set("PATH", cloud_search_path());
        product.set("ANTHROPIC_API_KEY", KEY);
        // A machine of its own has every port free.
        product.unset("GATEWAY_PORT");
        for (name, value) in cloud.environment() {
            product.set(name, value);
        }
        product.set("OPENCLAW_PIPELINE_SSH_CIDR", format!("{}/32", cloud.operator()));
        Some(Self { cloud, product, target })
    }

    /// Whether it is EC2.
    pub fn is_ec2(&self) -> bool {
        self.target == "ec2"
    }

    /// A launch to be.
    pub fn launch(&self) -> Run {
        let args = ["launch", NAME, "--target", self.target, "--image", NO_IMAGE, "--no-link"];
        self.product.run(args)
    }

    /// A launch that fails; what it says ends with what exists and with both commands.
    #[track_caller]
    pub fn launch_fails(&self, code: i32) -> Done {
        let done = patient(self.launch());
        assert_eq!(done.code, code, "{}", done.stderr);
        self.tells_the_way(&done);
        done
    }

    /// A launch that gets as far as it can: to the image that nobody has.
    #[track_caller]
    pub fn launch_to_the_image(&self) -> Done {
        let done = self.launch_fails(1);
        let calls =
            || self.cloud.calls().into_iter().map(|it| format!("{} {}", it.action, it.status));
        assert!(
            done.stderr.contains("step fetch"),
            "{}{:?}",
            done.stderr,
            calls().collect::<Vec<_>>()
        );
        done.says(") is there: ");
        done
    }

    /// A launch that has just begun with a step.
    #[track_caller]
    pub fn launch_at(&self, step: &str) -> Live {
        Self::at(self.launch(), step)
    }

    /// A command that has just begun with a step.
    #[track_caller]
    pub fn at(run: Run, step: &str) -> Live {
        Self::reaches(run.arg("--json").live(), step)
    }

    /// The same command, once it has begun with a later step.
    #[track_caller]
    pub fn reaches(mut live: Live, step: &str) -> Live {
        let begun = format!("\"step\":\"{step}\"");
        while let Some(line) = live.line() {
            if line.contains(&begun) {
                return live;
            }
        }
        panic!("it never came to {step}: {:?}", live.done());
    }

    /// That a failure names the commands that go on and that clean up.
    #[track_caller]
    pub fn tells_the_way(&self, done: &Done) {
        done.says(&format!(" launch {NAME} --target {} goes on", self.target));
        done.says(&format!(" destroy {NAME} removes it"));
    }

    /// A removal to be.
    pub fn destroy(&self) -> Run {
        self.product.run(["destroy", NAME, "--yes"])
    }

    /// Removes it, after which there is nothing: not in the cloud, not here.
    #[track_caller]
    pub fn destroys_all(&self) -> Done {
        let (there, files) = (self.cloud.state(), self.product.deployment(NAME));
        let state = fs::read_to_string(self.file("terraform.tfstate")).unwrap_or_default();
        let had_files = files.exists();
        let done = patient(self.destroy());
        assert_eq!(done.code, 0, "{}", done.stderr);
        self.tells_what_it_removed(&done, &there, &state);
        if had_files {
            done.answers(&format!("the directory {}", files.display()));
        }
        self.cloud.assert_empty();
        assert!(!self.product.deployment(NAME).exists(), "its files are left");
        assert_eq!(self.product.json(["list"])["items"], serde_json::json!([]));
        done
    }

    /// That a removal names each thing that there was: as the module's, or as what was left of it.
    #[track_caller]
    fn tells_what_it_removed(&self, done: &Done, there: &[Resource], state: &str) {
        for it in there {
            let Some(words) = in_words(&it.kind) else { continue };
            let named = words.iter().any(|word| done.stdout.contains(&format!("{word} ")));
            assert!(named, "{it:?} is not named: {}", done.stdout);
        }
        let has_instance = there.iter().any(|it| it.kind == "lightsail:instance");
        if has_instance && state.contains("aws_lightsail_instance_public_ports") {
            done.answers("the firewall");
        }
    }

    /// That a failure says what there is now, and nothing else.
    #[track_caller]
    pub fn says_what_exists(&self, done: &Done, there: &[Resource]) {
        let way = format!(" launch {NAME} --target {} goes on", self.target);
        let told = done.stderr.split(&way).next().filter(|told| *told != done.stderr);
        let told = told.expect("the way on").rsplit([';', '"', '\n']).next().unwrap_or_default();
        let told = told.rsplit_once(": ").expect("a sentence before the command").0;
        let kinds = there.iter().filter_map(|it| Some(in_words(&it.kind)?[0]));
        let kinds: BTreeSet<_> = kinds.collect();
        for word in ["the instance", "the address", "the SSH key", "the firewall"] {
            // Lightsail's firewall is there with its instance, or not yet.
            if self.is_ec2() || word != "the firewall" {
                assert_eq!(told.contains(word), kinds.contains(word), "{told:?} of {there:?}");
            }
        }
        assert!(!kinds.is_empty() && told.ends_with(" there"), "{told:?} of {there:?}");
    }

    /// A file of the deployment's.
    pub fn file(&self, name: &str) -> PathBuf {
        self.product.deployment(NAME).join(name)
    }

    /// A file of the deployment's, as text.
    #[track_caller]
    pub fn text(&self, name: &str) -> String {
        fs::read_to_string(self.file(name)).expect("the file")
    }

    /// What a state of Terraform's holds, by id and by name.
    fn held(state: &str) -> BTreeSet<String> {
        let state: Value = serde_json::from_str(state).unwrap_or_default();
        let each = |value: &Value| value.as_array().cloned().unwrap_or_default();
        let mut held = BTreeSet::new();
        for resource in each(&state["resources"]) {
            for instance in each(&resource["instances"]) {
                let attributes = &instance["attributes"];
                for id in [&attributes["id"], &attributes["key_pair_id"], &attributes["arn"]] {
                    held.extend(id.as_str().map(str::to_owned));
                }
            }
        }
        held
    }

    /// That the cloud has nothing that the installation does not account for. A disk goes with its
    /// instance.
    #[track_caller]
    pub fn all_is_accounted_for(&self) -> Vec<Resource> {
        self.all_is_accounted_for_of(NAME)
    }

    /// The same of another deployment, the only one that there is.
    #[track_caller]
    pub fn all_is_accounted_for_of(&self, name: &str) -> Vec<Resource> {
        let state = self.product.deployment(name).join("terraform.tfstate");
        self.all_is_accounted_for_in(&fs::read_to_string(state).unwrap_or_default())
    }

    /// The same, where the state is elsewhere.
    #[track_caller]
    pub fn all_is_accounted_for_in(&self, state: &str) -> Vec<Resource> {
        let there = self.all_is_held_in(state);
        self.sweep_agrees(&there);
        there
    }

    /// That the cloud has nothing that is not in a state.
    #[track_caller]
    pub fn all_is_held_in(&self, state: &str) -> Vec<Resource> {
        let (held, there) = (Self::held(state), self.cloud.state());
        let has_instance = self.cloud.instances().iter().any(|it| held.contains(&it.id));
        let is_held =
            |it: &&Resource| held.contains(&it.id) || it.kind == "ec2:volume" && has_instance;
        let lost: Vec<_> = there.iter().filter(|it| !is_held(it)).collect();
        assert!(lost.is_empty(), "nobody accounts for {lost:#?} beside {held:?}");
        there
    }

    /// That the installation's own sweep says the same. What an interrupted operation will make of it
    /// is that one's to say.
    #[track_caller]
    pub fn sweep_agrees(&self, there: &[Resource]) {
        let done = patient(self.product.run(["--json", "doctor", "--orphans"]));
        let said: Value = serde_json::from_str(&done.stdout).expect("an object");
        let sweep = &said["sweep"];
        assert_eq!(sweep["orphans"], serde_json::json!([]), "{sweep:#}");
        let unseen = sweep["unseen"].as_array().expect("a list").iter();
        for unseen in unseen {
            assert!(unseen.to_string().contains("has not come to its end"), "{sweep:#}");
        }
        assert_eq!(sweep["accounted"], there.len(), "{sweep:#} of {there:#?}");
    }

    /// That no process of the installation has a secret among its arguments.
    #[track_caller]
    pub fn no_secret_in_arguments(&self) {
        for process in self.product.processes() {
            for secret in [TOKEN, KEY] {
                assert!(!process.args.iter().any(|it| it.contains(secret)), "{:?}", process.args);
            }
        }
    }

    /// The gateway's port, from somewhere on the internet.
    pub fn plain_from(&self, netns: &NetNs) -> std::io::Result<TcpStream> {
        let address = self.only().public.expect("an address");
        let to = SocketAddr::from((address, PORT));
        netns.within(move || TcpStream::connect_timeout(&to, Duration::from_secs(3)))
    }

    /// Ends the connections that commands share: what the machine does to new ones shows then.
    pub fn close_connections(&self) {
        for process in self.product.processes() {
            if process.args[0].starts_with("ssh") {
                send(process.pid, Signal::KILL);
            }
        }
    }

    /// The one instance that there is.
    #[track_caller]
    pub fn only(&self) -> Machine {
        let mut machines = self.cloud.instances();
        assert_eq!(machines.len(), 1, "{machines:?}");
        machines.remove(0)
    }
}

/// The account of a simulated cloud.
const OURS: &str = "123456789012";
/// An account beside it.
const THEIRS: &str = "111122223333";

/// What the environment of somebody has who works in another account.
pub struct Theirs(Vec<(&'static str, String)>);

impl Case {
    /// Somebody of another account.
    pub fn theirs(&self) -> Theirs {
        let said = self.cloud.api(&format!(
            "it = boto3.client('sts').assume_role(RoleArn='arn:aws:iam::{THEIRS}:role/x', \
             RoleSessionName='theirs')['Credentials']\n\
             print(it['AccessKeyId'], it['SecretAccessKey'], it['SessionToken'])"
        ));
        let names = ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"];
        let values: Vec<String> = said.split_whitespace().map(str::to_owned).collect();
        assert_eq!(values.len(), names.len(), "{said}");
        Theirs(names.into_iter().zip(values).collect())
    }
}

impl Theirs {
    /// That a command is refused for its account, and says whose credentials are needed.
    #[track_caller]
    pub fn refused(&self, run: Run) -> Done {
        let done = self.0.iter().fold(run, |run, (name, value)| run.env(name, value)).code(4);
        for words in [OURS, THEIRS, "nothing was changed", "AWS_PROFILE"] {
            done.says(words);
        }
        done
    }
}

/// What something in the cloud is called when Terraform has it, and when it is a stray.
fn in_words(kind: &str) -> Option<[&'static str; 2]> {
    Some(match kind {
        "ec2:instance" => ["the instance", "the EC2 instance"],
        "ec2:address" => ["the address", "the elastic IP"],
        "ec2:key-pair" => ["the SSH key", "the EC2 key pair"],
        "ec2:security-group" => ["the firewall", "the security group"],
        "lightsail:instance" => ["the instance", "the Lightsail instance"],
        "lightsail:static-ip" => ["the address", "the Lightsail static IP"],
        "lightsail:key-pair" => ["the SSH key", "the Lightsail key pair"],
        _ => return None,
    })
}

/// Runs it to its end. Terraform on busy cores takes its time, twice where an interrupted launch is
/// gone on with first.
pub fn patient(run: Run) -> Done {
    let mut command = run.into_command();
    let output = command.stdin(Stdio::null()).output().expect("the program starts");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let code = output.status.code().unwrap_or(-1);
    Done { code, stdout: text(&output.stdout), stderr: text(&output.stderr) }
}

/// The same, to an end with this code.
#[track_caller]
pub fn ends(run: Run, code: i32) -> Done {
    let done = patient(run);
    assert_eq!(done.code, code, "{}{}", done.stdout, done.stderr);
    done
}

/// The same, to a good end.
#[track_caller]
pub fn good(run: Run) -> Done {
    ends(run, 0)
}

/// A provider's key, distinctive, so that a leak is found.
pub const KEY: &str = "sk-ant-Zx81qQ0123456789-a-key-that-only-looks-like-one";
