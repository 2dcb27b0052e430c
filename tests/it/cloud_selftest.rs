//! The lab's cloud, tested with real Terraform and the product's modules, used by hand as their
//! examples say: what the tests of EC2 and Lightsail stand on does what it says, and a module needs
//! no program.

use std::fmt::Write as _;
use std::fs::File;
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::cloud::{Cloud, Machine};
use crate::support::engine::Engine;
use crate::support::lab::{Lab, PREVIOUS, Part, cloud_search_path, command};
use crate::support::netns::NetNs;
use crate::support::source::root;

/// How long a machine may take on busy cores.
const PATIENCE: Duration = Duration::from_secs(120);
/// The gateway's port, which both modules open to everybody.
const OPEN: u16 = 18789;

/// What runs in the machine: answers with the address that its client comes from. In a container
/// of the machine's own engine, made of the machine's own files.
const ECHO: &str = "import socket\ns = socket.create_server(('', 18789))\nwhile True:\n  \
                    c, a = s.accept()\n  c.sendall(a[0].encode())\n  c.close()\n";

/// One of the product's modules, used by hand: in a folder of its own, with its example filled in.
struct Terraform<'a> {
    cloud: &'a Cloud,
    folder: tempfile::TempDir,
}

impl<'a> Terraform<'a> {
    fn by_hand(cloud: &'a Cloud, module: &str, keys: &Keys) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let from = root().join("terraform").join(module);
        for entry in std::fs::read_dir(&from).expect("the module").flatten() {
            if entry.file_type().expect("a type").is_file() {
                std::fs::copy(entry.path(), folder.path().join(entry.file_name())).expect("copied");
            }
        }
        let example = std::fs::read_to_string(from.join("terraform.tfvars.example"));
        let mut given = example.expect("the example");
        for (line, value) in [
            ("public_key = ", format!("{:?}", keys.read("client.pub").trim())),
            ("ssh_cidrs = ", format!("[\"{}/32\"]", cloud.operator())),
        ] {
            let old = given.lines().find(|it| it.starts_with(line)).expect("a line").to_owned();
            given = given.replace(&old, &format!("{line}{value}"));
        }
        // No image, which a machine would pull while it is looked at.
        write!(given, "image = \"\"\nhost_key = <<KEY\n{}KEY\n", keys.read("host")).unwrap();
        std::fs::write(folder.path().join("terraform.tfvars"), given).expect("written");
        let terraform = Self { cloud, folder };
        terraform.good(&["init", "-input=false"]);
        terraform
    }

    fn output(&self, args: &[&str]) -> Output {
        let mut terraform = self.cloud.command("terraform");
        terraform.env("PATH", cloud_search_path());
        terraform.current_dir(self.folder.path()).args(args).arg("-no-color");
        terraform.output().expect("run terraform")
    }

    fn good(&self, args: &[&str]) -> String {
        let output = self.output(args);
        let said = said(&output);
        let cloud = self.cloud;
        let calls = || cloud.calls().into_iter().map(|it| format!("{} {}", it.action, it.status));
        assert!(
            output.status.success(),
            "terraform {args:?}: {said}\n{}\n{:?}",
            cloud.log(),
            calls().collect::<Vec<_>>()
        );
        said
    }

    fn apply(&self) -> String {
        self.good(&["apply", "-auto-approve", "-input=false"])
    }

    fn destroy(&self) {
        self.good(&["destroy", "-auto-approve", "-input=false"]);
    }

    fn value(&self, name: &str) -> String {
        let outputs: Value =
            serde_json::from_str(&self.good(&["output", "-json"])).expect("the outputs");
        outputs[name]["value"].as_str().expect("a text").to_owned()
    }
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&[output.stdout.as_slice(), &output.stderr].concat()).into_owned()
}

/// Keys of an SSH client and of a host, in a folder of their own.
struct Keys {
    folder: tempfile::TempDir,
}

impl Keys {
    fn new(client: &str) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        for (name, kind) in [("client", client), ("host", "ed25519")] {
            let mut keygen = command("ssh-keygen");
            keygen.args(["-q", "-t", kind, "-N", "", "-C", "", "-f", name]);
            assert!(keygen.current_dir(folder.path()).status().expect("ssh-keygen").success());
        }
        Self { folder }
    }

    fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.folder.path().join(name)).expect("a key")
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// A command for `ec2-user` over SSH, that takes no host key but this one.
    fn ssh(&self, address: Ipv4Addr, script: &str) -> Command {
        let known = self.path("known_hosts");
        std::fs::write(&known, format!("{address} {}", self.read("host.pub"))).expect("a file");
        let mut ssh = command("ssh");
        ssh.args(["-F", "none", "-i"]).arg(self.path("client"));
        ssh.args(["-o", "BatchMode=yes", "-o", "StrictHostKeyChecking=yes"]);
        ssh.args(["-o", "ConnectTimeout=3", "-o", "IdentitiesOnly=yes", "-o", "LogLevel=ERROR"]);
        ssh.args(["-o", "HostKeyAlgorithms=ssh-ed25519", "-o"]);
        ssh.arg(format!("UserKnownHostsFile={}", known.display()));
        ssh.arg(format!("ec2-user@{address}")).arg(script);
        ssh
    }

    /// What a script printed, once SSH lets it in and it succeeds.
    fn until(&self, cloud: &Cloud, address: Ipv4Addr, script: &str) -> String {
        until(script, || {
            let output = self.ssh(address, script).output().expect("run ssh");
            if output.status.success() { Ok(said(&output)) } else { Err(said(&output)) }
        })
        .unwrap_or_else(|why| panic!("{why}\n{:?}\n{}", cloud.instances(), cloud.log()))
    }
}

fn until<T>(what: &str, mut look: impl FnMut() -> Result<T, String>) -> Result<T, String> {
    let end = Instant::now() + PATIENCE;
    loop {
        match look() {
            Ok(found) => return Ok(found),
            Err(why) if Instant::now() > end => return Err(format!("{what}: {why}")),
            Err(_) => std::thread::sleep(Duration::from_millis(200)),
        }
    }
}

/// The one instance that there is.
fn only(cloud: &Cloud) -> Machine {
    let mut machines = cloud.instances();
    assert_eq!(machines.len(), 1, "{machines:?}");
    machines.remove(0)
}

/// What answers at a port of an address to a client that runs there; `None` if nothing does.
fn asked(mut client: Command, address: Ipv4Addr, port: u16) -> Option<String> {
    let script = format!("exec 3<>/dev/tcp/{address}/{port} && cat <&3");
    let output = client.args(["3", "bash", "-c", &script]).output().expect("run bash");
    output.status.success().then(|| said(&output))
}

/// Docker works in the machine; a client from elsewhere is seen there as who it is, at the open
/// port and at no other.
fn the_way_in_is_as_ordered(cloud: &Cloud, keys: &Keys, address: Ipv4Addr) {
    keys.until(cloud, address, IS_READY);
    keys.until(cloud, address, "docker version && docker compose version");
    let from = keys.until(cloud, address, "echo $SSH_CONNECTION");
    assert!(from.starts_with(&format!("{} ", cloud.operator())), "{from}");

    let mut echo = "tar -c -T /dev/null | docker import - empty && docker run -d".to_owned();
    write!(echo, " -p {OPEN}:{OPEN} -v /usr:/usr:ro -v /lib:/lib:ro -v /lib64:/lib64:ro").unwrap();
    write!(echo, " empty /usr/bin/python3 -c \"{ECHO}\"").unwrap();
    keys.until(cloud, address, &echo);
    let answer = until("the container answers", || {
        asked(command("timeout"), address, OPEN).ok_or_else(String::new)
    });
    assert_eq!(answer, Ok(cloud.operator().to_string()));
    let Some(netns) = NetNs::create() else { return };
    let inside = netns.inside().to_string();
    assert_eq!(asked(netns.command("timeout"), address, OPEN), Some(inside));
    assert_eq!(asked(netns.command("timeout"), address, 22), None);
    assert_eq!(asked(command("timeout"), address, 2375), None);
}

/// A machine pulls from what it knows as ghcr.io, and what it runs is reached from here.
fn a_gateway_is_pulled_and_answers(cloud: &Cloud, keys: &Keys, address: Ipv4Addr) {
    let Some([newest, previous]) = cloud.standin() else { return };
    let asked = format!("docker run --rm {previous} openclaw --version");
    assert!(keys.until(cloud, address, &asked).contains(PREVIOUS));
    let config = r#"{"gateway":{"mode":"local","bind":"lan","auth":{"mode":"token"}}}"#;
    let run = format!(
        "docker ps -aq | xargs -r docker rm -f && docker run -d --name gateway -p {OPEN}:{OPEN} \
         -e OPENCLAW_GATEWAY_TOKEN=tok0123456789abcdef0123456789abcdef {newest} sh -c \
         'echo '\\''{config}'\\'' >~/.openclaw/openclaw.json && exec node openclaw.mjs gateway'"
    );
    keys.until(cloud, address, &run);
    let real = "docker exec gateway node -e 'console.log(6 * 7)'";
    assert_eq!(keys.until(cloud, address, real), "42\n");
    let url = format!("http://{address}:{OPEN}/startupz");
    let answer = until("the gateway answers", || {
        let curl = command("curl").args(["-sf", "-m", "5", &url]).output().expect("run curl");
        if curl.status.success() { Ok(said(&curl)) } else { Err(said(&curl)) }
    });
    assert!(answer.as_ref().is_ok_and(|it| it.contains("started")), "{answer:?}");
}

/// How often its user data ran.
const RUNS: &str = "sudo grep -c '^== ssh:' /var/log/openclaw-pipeline/boot.log";
/// The machine's own word that it is set up.
const IS_READY: &str = "sudo grep '\"state\":\"done\"' /var/lib/openclaw-pipeline/boot.json";

#[test]
fn the_ec2_module_by_hand_makes_a_machine_behind_its_address() {
    let Some(cloud) = Cloud::start() else { return };
    let keys = Keys::new("ed25519");
    let terraform = Terraform::by_hand(&cloud, "ec2", &keys);
    // The provider tries again when it is throttled.
    cloud.refuse("ImportKeyPair", "RequestLimitExceeded", 2);
    terraform.apply();
    assert_eq!(cloud.called("ImportKeyPair"), 3);
    let machine = only(&cloud);
    assert_eq!(machine.id, terraform.value("instance_id"));
    assert_eq!(machine.name, terraform.value("resource_name"));
    let address: Ipv4Addr = terraform.value("public_ip").parse().expect("an address");
    assert_eq!(machine.public, Some(address));
    assert_eq!(terraform.value("ssh_command"), format!("ssh ec2-user@{address}"));
    the_way_in_is_as_ordered(&cloud, &keys, address);
    a_gateway_is_pulled_and_answers(&cloud, &keys, address);

    // Nothing follows from a newer image.
    let image = terraform.value("ami_id");
    cloud.release_image();
    assert!(terraform.apply().contains("0 added, 0 changed, 0 destroyed"));
    assert_eq!(terraform.value("ami_id"), image);
    assert_eq!(only(&cloud).id, machine.id);

    // What asks once more for the address, because it did not hear the answer, has it as before.
    let again = cloud.api(
        "it = boto3.client('ec2', region_name='us-west-2')\n\
         has = it.describe_addresses()['Addresses'][0]\n\
         said = it.associate_address(\n\
             AllocationId=has['AllocationId'], InstanceId=has['InstanceId'])\n\
         print(said['AssociationId'] == has['AssociationId'])",
    );
    assert_eq!(again, "True");

    let kinds: Vec<_> = cloud.state().into_iter().map(|it| it.kind).collect();
    for kind in ["instance", "key-pair", "security-group", "address", "volume"] {
        assert!(kinds.contains(&format!("ec2:{kind}")), "{kind}: {kinds:?}");
    }
    terraform.destroy();
    cloud.assert_empty();
    assert_eq!(asked(command("timeout"), address, OPEN), None);
}

#[test]
fn the_lightsail_module_by_hand_makes_a_machine_behind_its_address() {
    let Some(cloud) = Cloud::start() else { return };
    // Lightsail takes no other kind.
    let keys = Keys::new("rsa");
    let terraform = Terraform::by_hand(&cloud, "lightsail", &keys);
    cloud.refuse("AllocateStaticIp", "ThrottlingException", 2);
    terraform.apply();
    assert_eq!(cloud.called("AllocateStaticIp"), 3);
    let machine = only(&cloud);
    assert_eq!(
        (machine.service.as_str(), &machine.id),
        ("lightsail", &terraform.value("instance_id"))
    );
    let address: Ipv4Addr = terraform.value("public_ip").parse().expect("an address");
    assert_eq!(machine.public, Some(address));
    the_way_in_is_as_ordered(&cloud, &keys, address);
    assert!(terraform.apply().contains("0 added, 0 changed, 0 destroyed"));

    // What has tags is found by them; the address has none.
    for found in cloud.state() {
        let tagged = found.tags.get("openclaw-pipeline:deployment").is_some_and(|it| it == "main");
        assert_eq!(tagged, found.kind != "lightsail:static-ip", "{found:?}");
    }
    terraform.destroy();
    cloud.assert_empty();
}

#[test]
fn what_befalls_a_machine_is_seen() {
    let Some(cloud) = Cloud::start() else { return };
    let keys = Keys::new("ed25519");
    let terraform = Terraform::by_hand(&cloud, "ec2", &keys);
    terraform.apply();
    let address: Ipv4Addr = terraform.value("public_ip").parse().expect("an address");
    let id = only(&cloud).id;
    keys.until(&cloud, address, IS_READY);
    // What it was told at its first boot may be done again: nothing follows, and its key stays.
    assert_eq!(keys.until(&cloud, address, RUNS), "1\n");
    keys.until(&cloud, address, "sudo /var/lib/cloud/instance/scripts/part-001");
    assert_eq!(keys.until(&cloud, address, RUNS), "2\n");
    keys.until(&cloud, address, IS_READY);
    let refused = || {
        let output = keys.ssh(address, "true").output().expect("run ssh");
        if output.status.success() { Err("let in".to_owned()) } else { Ok(said(&output)) }
    };

    cloud.befall(&id, "refuse_ssh");
    assert!(until("sshd is down", refused).is_ok_and(|it| it.contains("refused")));
    cloud.befall(&id, "accept_ssh");
    keys.until(&cloud, address, "true");

    cloud.befall(&id, "fill_disk");
    let full = "! sudo dd if=/dev/zero of=/var/lib/docker/x bs=1M count=64 2>&1";
    assert!(keys.until(&cloud, address, full).contains("No space left on device"));
    cloud.befall(&id, "empty_disk");
    keys.until(&cloud, address, "sudo dd if=/dev/zero of=/var/lib/docker/x bs=1M count=64");

    // The disk outlives a reboot, by the API and its own, and user data ran once.
    cloud.run(&id, "touch /var/lib/docker/kept /kept");
    let boot = "stat -c %Y.%i /proc/1/ns/pid; cat /proc/1/stat | cut -d' ' -f22";
    let first = cloud.run(&id, boot);
    cloud.api(&format!(
        "boto3.client('ec2', region_name='us-west-2').reboot_instances(InstanceIds=['{id}'])"
    ));
    let boots_anew = |before: &str| {
        let booted = until("it reboots", || match cloud.try_run(&id, boot) {
            Some(now) if now != before => Ok(now),
            other => Err(format!("{other:?}")),
        });
        keys.until(&cloud, address, "sudo test -e /var/lib/docker/kept && test -e /kept");
        booted.expect("another boot")
    };
    let second = boots_anew(&first);
    // It may be gone before it could answer.
    let _ = keys.ssh(address, "sudo systemctl reboot").output();
    boots_anew(&second);
    assert_eq!(keys.until(&cloud, address, RUNS), "2\n", "no boot ran it again");
    let _ = keys.ssh(address, "sudo systemctl poweroff").output();
    let off = until("it is off", || match only(&cloud).state.as_str() {
        "stopped" => Ok(()),
        other => Err(other.to_owned()),
    });
    assert_eq!(off, Ok(()));
    cloud.api(&format!(
        "boto3.client('ec2', region_name='us-west-2').start_instances(InstanceIds=['{id}'])"
    ));
    keys.until(&cloud, address, "test -e /kept");

    cloud.befall(&id, "new_host_key");
    let changed = until("the host key is another", || match refused() {
        Ok(why) if why.contains("HOST IDENTIFICATION HAS CHANGED") => Ok(()),
        other => Err(format!("{other:?}")),
    });
    assert_eq!(changed, Ok(()));

    cloud.kill(&id, "terminated");
    let gone = until("the instance is gone", || {
        if cloud.instances().is_empty() { Ok(()) } else { Err(format!("{:?}", cloud.instances())) }
    });
    assert_eq!(gone, Ok(()));
    let planned = terraform.good(&["plan", "-input=false"]);
    assert!(planned.contains("# aws_instance.gateway will be created"), "{planned}");
    terraform.destroy();
    cloud.assert_empty();
}

#[test]
fn what_a_killed_simulator_left_is_swept_by_the_next() {
    let Some(cloud) = Cloud::start() else { return };
    let keys = Keys::new("ed25519");
    let terraform = Terraform::by_hand(&cloud, "ec2", &keys);
    terraform.apply();
    let container = only(&cloud).container;
    let address = terraform.value("public_ip");
    let tag = format!("oclab-{}-", cloud.pid());
    let home = Lab::require(Part::Cloud).expect("it is here").home().to_owned();
    let disk = home.join("cloud/disks").join(&container);
    let remains = move || {
        let engine = Engine::get().expect("the engine");
        let held = command("ip").args(["route", "show", "table", "local", &address]).output();
        let rules = command("/run/openclaw-lab/bin/iptables").args(["-t", "nat", "-S"]).output();
        [
            engine.output(&["container", "inspect", &container]).status.success(),
            !held.expect("run ip").stdout.is_empty(),
            said(&rules.expect("run iptables")).contains(&tag),
            disk.exists(),
        ]
    };
    drop(terraform);
    // Others of this machine sweep, too: they wait for this lock when they begin.
    let others = File::create("/run/openclaw-lab/cloud/lock").expect("the simulators' lock");
    others.lock().expect("held");
    cloud.kill_simulator();
    assert_eq!(remains(), [true; 4]);
    drop(others);
    let Some(next) = Cloud::start() else { return };
    let swept = until("all of it is swept", || {
        let left = remains();
        if left == [false; 4] { Ok(()) } else { Err(format!("{left:?}")) }
    });
    assert_eq!(swept, Ok(()));
    next.assert_empty();
}

/// What a module could run into on AWS, and would not on a simulator that takes everything.
const REFUSED: &str = r"
def refused(call, **given):
    try:
        call(**given)
    except Exception as error:
        print(error.response['Error']['Code'])
    else:
        print('taken')

ec2, lightsail, x86, arm = boto3.client('ec2'), boto3.client('lightsail'), 'ami-001ab000000000000', 'ami-011ab000000000000'
def run(**given):
    asked = dict(ImageId=x86, MinCount=1, MaxCount=1, InstanceType='t3.medium')
    refused(ec2.run_instances, **{**asked, **given})
run(DryRun=True)
run(InstanceType='t3.mediumx')
run(ImageId=arm)
run(ImageId='ami-00000000000000000')
run(KeyName='none')
run(UserData='x' * 16385)
run(Placement={'AvailabilityZone': 'us-east-1e'})
def create(**given):
    asked = dict(instanceNames=['ab'], availabilityZone='us-east-1a', bundleId='medium_3_0', blueprintId='amazon_linux_2023')
    refused(lightsail.create_instances, **{**asked, **given})
create(bundleId='medium_9_0')
create(blueprintId='amazon_linux_9')
create(availabilityZone='eu-west-1a')
create(keyPairName='none')
create(userData='x' * 16385)
refused(lightsail.get_instance, instanceName='none')
lightsail.allocate_static_ip(staticIpName='address')
refused(lightsail.allocate_static_ip, staticIpName='address')
refused(lightsail.tag_resource, resourceName='address', tags=[{'key': 'a', 'value': 'b'}])
refused(lightsail.get_certificates)
refused(lightsail.import_key_pair, keyPairName='key', publicKeyBase64='ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIKZjYw0XJ3mBzPcSg4SLnYgvNYqU7cYdHNlrAI1MiCrn')
lightsail.release_static_ip(staticIpName='address')
";

#[test]
fn what_aws_refuses_is_refused() {
    let Some(cloud) = Cloud::start() else { return };
    let codes = cloud.api(REFUSED);
    let codes: Vec<_> = codes.lines().collect();
    let wrong = "InvalidParameterValue";
    let ec2 = ["DryRunOperation", wrong, wrong, "InvalidAMIID.NotFound", "InvalidKeyPair.NotFound"];
    assert_eq!(codes[..5], ec2);
    assert_eq!(codes[5..7], [wrong, "Unsupported"]);
    let (wrong, none) = ("InvalidInputException", "NotFoundException");
    assert_eq!(codes[7..13], [wrong, wrong, wrong, none, wrong, none]);
    assert_eq!(codes[13..], [wrong, wrong, "InvalidAction", wrong]);
    cloud.assert_empty();

    // A repeated request makes nothing twice, even where the first answer was lost.
    cloud.fault(&json!({"action": "RunInstances", "code": "InternalError", "after": true}));
    let run = "client = boto3.client('ec2')\nfound = client.run_instances(MinCount=1, MaxCount=1, \
               ImageId='ami-001ab000000000000', InstanceType='t3.medium')\n\
               print(found['Instances'][0]['InstanceId'])";
    assert_eq!(cloud.api(run), only(&cloud).id);
    assert_eq!(cloud.called("RunInstances"), 9);
}
