//! One machine: its state, its start and stop, and what it printed while it booted.
//!
//! Owns these for EC2 and Lightsail alike. Refuses to take what a machine printed for more than
//! untrusted text.

use std::net::Ipv4Addr;

use base64::Engine;
use serde_json::{Value, json};

use super::client::Aws;
use super::error::{CallError, Problem};
use super::service::{Call, Service};
use super::xml;
use crate::domain::{Failure, text};

/// How many lines of a boot are kept: the last ones, where it ends.
const LINES: usize = 200;
/// How long such a line is, in characters.
const LINE_MAX: usize = 400;

/// Which machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MachineId {
    /// EC2's, by its id.
    Ec2(String),
    /// Lightsail's, by its name.
    Lightsail(String),
}

/// What a machine is doing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MachineState {
    /// It begins to run.
    Pending,
    /// It runs.
    Running,
    /// It is about to stop.
    Stopping,
    /// It is stopped: its disk is there, and costs.
    Stopped,
    /// It is about to be gone.
    ShuttingDown,
    /// It is gone.
    Terminated,
    /// AWS says something else.
    Other(String),
}

impl MachineState {
    fn read(name: &str) -> Self {
        match name {
            "pending" | "starting" | "rebooting" => Self::Pending,
            "running" => Self::Running,
            "stopping" => Self::Stopping,
            "stopped" => Self::Stopped,
            "shutting-down" => Self::ShuttingDown,
            "terminated" => Self::Terminated,
            other => Self::Other(text::clean(other, 40)),
        }
    }
}

/// A machine as it is now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Machine {
    /// What it is doing.
    pub state: MachineState,
    /// Its public address, if it has one just now.
    pub address: Option<Ipv4Addr>,
    /// Its instance type or bundle.
    pub size: String,
    /// Where it stands.
    pub zone: Option<String>,
    /// Why it is in this state, if AWS says.
    pub reason: Option<String>,
}

impl Aws {
    /// A machine as it is now; none if AWS does not have it.
    pub async fn machine(&self, id: &MachineId) -> Result<Option<Machine>, CallError> {
        let found = match id {
            MachineId::Ec2(id) => {
                let call = Call::form(Service::Ec2, "DescribeInstances").with("InstanceId.1", id);
                self.xml(call, read_instance).await
            }
            MachineId::Lightsail(name) => {
                let input = json!({ "instanceName": name });
                let answer = self.json(Call::json(Service::Lightsail, "GetInstance", input)).await;
                answer.map(|answer| read_lightsail(&answer["instance"]))
            }
        };
        match found {
            Err(error) if error.problem() == Some(Problem::NotFound) => Ok(None),
            found => found,
        }
    }

    /// Starts a machine that is stopped. One that runs is left alone.
    pub async fn start_machine(&self, id: &MachineId) -> Result<(), CallError> {
        self.act(id, ("StartInstances", "StartInstance")).await
    }

    /// Stops a machine. One that is stopped is left alone.
    pub async fn stop_machine(&self, id: &MachineId) -> Result<(), CallError> {
        self.act(id, ("StopInstances", "StopInstance")).await
    }

    /// Starts the machine's system anew.
    pub async fn reboot_machine(&self, id: &MachineId) -> Result<(), CallError> {
        self.act(id, ("RebootInstances", "RebootInstance")).await
    }

    async fn act(
        &self,
        id: &MachineId,
        action: (&'static str, &'static str),
    ) -> Result<(), CallError> {
        let call = match id {
            MachineId::Ec2(id) => Call::form(Service::Ec2, action.0).with("InstanceId.1", id),
            MachineId::Lightsail(name) => {
                Call::json(Service::Lightsail, action.1, json!({ "instanceName": name }))
            }
        };
        self.send(&call).await.map(|_| ())
    }

    /// What a machine of EC2's printed last while it booted, line by line. AWS gives it with a
    /// delay of minutes, so there may be nothing yet.
    pub async fn console_output(&self, id: &str) -> Result<Vec<String>, CallError> {
        let call = Call::form(Service::Ec2, "GetConsoleOutput").with("InstanceId", id);
        self.xml(call, read_console).await
    }
}

fn read_instance(body: &str) -> Result<Option<Machine>, Failure> {
    let document = xml::parse(body)?;
    let Some(instance) = xml::lists(document.root(), "instancesSet").into_iter().next() else {
        return Ok(None);
    };
    let field = |path: &[&str]| xml::text(instance, path);
    let state = field(&["instanceState", "name"]).ok_or_else(xml::unreadable)?;
    Ok(Some(Machine {
        state: MachineState::read(&state),
        address: field(&["ipAddress"]).and_then(|it| it.parse().ok()),
        size: field(&["instanceType"]).unwrap_or_default(),
        zone: field(&["placement", "availabilityZone"]),
        reason: field(&["stateReason", "message"]).map(|it| text::clean(&it, 200)),
    }))
}

fn read_lightsail(instance: &Value) -> Option<Machine> {
    Some(Machine {
        state: MachineState::read(instance["state"]["name"].as_str()?),
        address: instance["publicIpAddress"].as_str().and_then(|it| it.parse().ok()),
        size: instance["bundleId"].as_str().unwrap_or_default().to_owned(),
        zone: instance["location"]["availabilityZone"].as_str().map(ToOwned::to_owned),
        reason: None,
    })
}

fn read_console(body: &str) -> Result<Vec<String>, Failure> {
    let document = xml::parse(body)?;
    let Some(output) = xml::find(document.root(), "output").and_then(|it| xml::text(it, &[]))
    else {
        return Ok(Vec::new());
    };
    let output: String = output.chars().filter(|c| !c.is_whitespace()).collect();
    let bytes = base64::engine::general_purpose::STANDARD.decode(output);
    let bytes = bytes.map_err(|_| xml::unreadable())?;
    let all = String::from_utf8_lossy(&bytes);
    let lines: Vec<String> = all
        .split(['\n', '\r'])
        .map(|line| text::clean(line.trim_end(), LINE_MAX))
        .filter(|line| !line.is_empty())
        .collect();
    Ok(lines[lines.len().saturating_sub(LINES)..].to_vec())
}

#[cfg(test)]
mod tests {
    use super::super::fake::Fake;
    use super::*;

    #[tokio::test]
    async fn an_instance_is_read_and_one_that_is_not_there_is_none() {
        let body = "<DescribeInstancesResponse><reservationSet><item><instancesSet><item>\
                    <instanceId>i-1</instanceId><instanceState><code>80</code><name>stopped</name>\
                    </instanceState><instanceType>t3.medium</instanceType><placement>\
                    <availabilityZone>us-east-1a</availabilityZone></placement><stateReason>\
                    <code>c</code><message>User initiated</message></stateReason>\
                    <ipAddress>198.51.100.7</ipAddress></item></instancesSet></item>\
                    </reservationSet></DescribeInstancesResponse>";
        let gone = "<Response><Errors><Error><Code>InvalidInstanceID.NotFound</Code><Message>The \
                    instance ID 'i-2' does not exist</Message></Error></Errors></Response>";
        let fake = Fake::answering([(200, body), (400, gone)]).await;
        let machine = fake.aws().machine(&MachineId::Ec2("i-1".into())).await.expect("an answer");
        let machine = machine.expect("a machine");
        assert_eq!(machine.state, MachineState::Stopped);
        assert_eq!(machine.address, Some(Ipv4Addr::new(198, 51, 100, 7)));
        assert_eq!(machine.zone.as_deref(), Some("us-east-1a"));
        assert_eq!(machine.reason.as_deref(), Some("User initiated"));
        let none = fake.aws().machine(&MachineId::Ec2("i-2".into())).await.expect("an answer");
        assert_eq!(none, None);
    }

    #[tokio::test]
    async fn lightsails_machine_is_read_started_and_stopped_by_name() {
        let body = json!({ "instance": { "name": "a", "bundleId": "medium_3_0",
            "publicIpAddress": "198.51.100.8", "state": { "code": 16, "name": "running" },
            "location": { "availabilityZone": "us-east-1a", "regionName": "us-east-1" } } });
        let gone =
            json!({ "__type": "NotFoundException", "message": "The Instance does not exist: b" });
        let operations = json!({ "operations": [] }).to_string();
        let fake = Fake::answering([
            (200, body.to_string()),
            (400, gone.to_string()),
            (200, operations.clone()),
            (200, operations),
        ])
        .await;
        let aws = fake.aws();
        let a = MachineId::Lightsail("a".into());
        let machine = aws.machine(&a).await.expect("an answer").expect("a machine");
        assert_eq!((machine.state, machine.size.as_str()), (MachineState::Running, "medium_3_0"));
        let b = MachineId::Lightsail("b".into());
        assert_eq!(aws.machine(&b).await.expect("an answer"), None);
        aws.stop_machine(&a).await.expect("stopped");
        aws.start_machine(&a).await.expect("started");
        let asked = fake.asked();
        assert!(asked[2].head.contains("Lightsail_20161128.StopInstance"), "{}", asked[2].head);
        assert_eq!(asked[3].body, "{\"instanceName\":\"a\"}");
    }

    #[tokio::test]
    async fn ec2s_machine_is_rebooted_by_id() {
        let fake = Fake::answering([(200, "<R><return>true</return></R>")]).await;
        fake.aws().reboot_machine(&MachineId::Ec2("i-1".into())).await.expect("rebooted");
        assert_eq!(fake.bodies(), ["Action=RebootInstances&Version=2016-11-15&InstanceId.1=i-1"]);
    }

    #[test]
    fn a_boots_last_lines_are_kept_clean() {
        let boot: Vec<String> = (0..300).map(|n| format!("line {n}\r\n\u{1b}[31m\n")).collect();
        let boot = base64::engine::general_purpose::STANDARD.encode(boot.concat());
        let body = format!("<R><instanceId>i</instanceId><output>{boot}</output></R>");
        let lines = read_console(&body).expect("read");
        assert_eq!((lines.len(), lines[199].as_str()), (200, "line 299"));
        assert!(read_console("<R><output/></R>").expect("read").is_empty());
    }
}
