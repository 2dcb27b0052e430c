//! The AWS driver against the lab's cloud.
//!
//! Owns what only a service that answers by itself can show: that what is signed, asked and read
//! fits together, from the identity to an empty account. What Terraform would make is made here by
//! AWS's own Python library.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::support::cloud::Cloud;
use openclaw_pipeline::domain::{Failure, FailureKind};
use openclaw_pipeline::drivers::aws::machines::{MachineId, MachineState};
use openclaw_pipeline::drivers::aws::permissions::Launch;
use openclaw_pipeline::drivers::aws::sizes::Architecture;
use openclaw_pipeline::drivers::aws::sweep::{Kind, Mark};
use openclaw_pipeline::drivers::aws::{Aws, Environment};

const TAG: &str = "openclaw-pipeline:installation";

/// How long a machine of the lab's may take to another state.
const PATIENCE: Duration = Duration::from_secs(120);

/// The driver, speaking to the lab's cloud.
fn driver(environment: &[(&'static str, String)]) -> Aws {
    let all: BTreeMap<&str, String> = environment.iter().cloned().collect();
    Aws::new(Environment::read(|name| all.get(name).cloned()), None).expect("a driver")
}

/// Waits until a machine is in a state.
async fn reaches(aws: &Aws, id: &MachineId, state: &MachineState) {
    let end = Instant::now() + PATIENCE;
    loop {
        let machine = aws.machine(id).await.expect("an answer").expect("a machine");
        if machine.state == *state {
            return;
        }
        assert!(Instant::now() < end, "{machine:?}");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

fn mark() -> Mark {
    let is_own_name =
        Arc::new(|name: &str| name.starts_with("openclaw-") && name.ends_with("-1a2b"));
    Mark { key: TAG.into(), value: "i1".into(), is_own_name }
}

/// What every script begins with.
const BEGIN: &str = "
import json
TAGS = [{'Key': 'openclaw-pipeline:installation', 'Value': 'i1'}]
def tagged(kind, value='i1'):
    return [{'ResourceType': kind, 'Tags': [dict(TAGS[0], Value=value)]}]
";

#[tokio::test]
async fn an_account_is_asked_what_it_is_has_and_allows() {
    let Some(cloud) = Cloud::start() else { return };
    let aws = driver(&cloud.environment());
    let identity = aws.identity().await.expect("an identity");
    assert_eq!(identity.account.len(), 12, "{identity:?}");
    aws.check_region().await.expect("a region of the account");
    let failure = Failure::from(aws.elsewhere("us-esat-1").check_region().await.expect_err("none"));
    assert!(failure.message.contains("near to it: us-east-1"), "{failure}");
    let size = aws.instance_type("t4g.medium").await.expect("a type");
    assert_eq!((size.architecture, size.memory_mib, size.vcpus), (Architecture::Arm64, 4096, 2));
    let failure = Failure::from(aws.instance_type("t3.meduim").await.expect_err("none"));
    assert!(failure.message.contains("t3.medium"), "{failure}");
    let bundle = aws.bundle("medium_3_0").await.expect("a bundle");
    assert_eq!((bundle.memory_mib, bundle.vcpus), (4096, 2));
    let failure = Failure::from(aws.bundle("medum_3_0").await.expect_err("none"));
    assert!(failure.message.contains("medium_3_0"), "{failure}");
    let addresses = aws.room_for_addresses().await;
    assert_eq!(addresses.used, Some(0), "{addresses:?}");

    let launch = Launch {
        image: "ami-0123456789abcdef0".into(),
        instance_type: "t3.medium".into(),
        subnet: None,
        tags: vec![(TAG.into(), "i1".into())],
        public_key:
            "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIBYf3q0r0i8N0L7S0C5Kk7bX0qkqX1m3Vg7F4uJtQ0aB x"
                .into(),
    };
    let permissions = aws.permissions(&launch).await.expect("dry runs");
    permissions.check().expect("everything is allowed");
    cloud.refuse("AllocateAddress", "UnauthorizedOperation", 1);
    let permissions = aws.permissions(&launch).await.expect("dry runs");
    let failure = permissions.check().expect_err("one is missing");
    assert!(failure.message.contains("ec2:AllocateAddress"), "{failure}");
    cloud.assert_empty();
}

#[tokio::test]
async fn what_aws_has_no_room_for_at_first_is_asked_again() {
    let Some(cloud) = Cloud::start() else { return };
    cloud.refuse("GetCallerIdentity", "RequestLimitExceeded", 2);
    driver(&cloud.environment()).identity().await.expect("an identity");
    assert_eq!(cloud.called("GetCallerIdentity"), 3);
}

/// What Terraform would make on EC2, and an instance of another installation.
const MAKE_EC2: &str = "
ec2, iam = boto3.client('ec2'), boto3.client('iam')
image = ec2.describe_images(Owners=['amazon'])['Images'][0]['ImageId']
def run(value):
    made = ec2.run_instances(ImageId=image, InstanceType='t3.medium', MinCount=1, MaxCount=1,
                             TagSpecifications=tagged('instance', value))
    return made['Instances'][0]['InstanceId']
ours, theirs = run('i1'), run('i2')
ec2.get_waiter('instance_running').wait(InstanceIds=[ours, theirs], WaiterConfig={'Delay': 1})
address = ec2.allocate_address(Domain='vpc', TagSpecifications=tagged('elastic-ip'))
ec2.associate_address(AllocationId=address['AllocationId'], InstanceId=ours)
ec2.create_volume(AvailabilityZone='us-east-1a', Size=8, TagSpecifications=tagged('volume'))
ec2.create_security_group(GroupName='g1', Description='d',
                          TagSpecifications=tagged('security-group'))
ec2.create_key_pair(KeyName='k1', TagSpecifications=tagged('key-pair'))
name, trust = 'openclaw-demo-1a2b', {'Version': '2012-10-17', 'Statement': []}
iam.create_role(RoleName=name, AssumeRolePolicyDocument=json.dumps(trust), Tags=TAGS)
right = {'Effect': 'Allow', 'Action': 's3:ListAllMyBuckets', 'Resource': '*'}
iam.put_role_policy(RoleName=name, PolicyName='p',
                    PolicyDocument=json.dumps(dict(trust, Statement=[right])))
iam.create_instance_profile(InstanceProfileName=name, Tags=TAGS)
iam.add_role_to_instance_profile(InstanceProfileName=name, RoleName=name)
print(json.dumps([ours, theirs]))
";

#[tokio::test]
async fn ec2s_things_are_found_by_their_tag_and_removed_and_others_left() {
    let Some(cloud) = Cloud::start() else { return };
    let aws = driver(&cloud.environment());
    let made = cloud.api(&format!("{BEGIN}{MAKE_EC2}"));
    let made: Vec<String> = serde_json::from_str(&made).expect("ids");
    let [instance, theirs] = made.as_slice() else { panic!("{made:?}") };
    let id = MachineId::Ec2(instance.clone());
    reaches(&aws, &id, &MachineState::Running).await;
    aws.stop_machine(&id).await.expect("stopped");
    reaches(&aws, &id, &MachineState::Stopped).await;
    aws.start_machine(&id).await.expect("started");
    reaches(&aws, &id, &MachineState::Running).await;
    aws.reboot_machine(&id).await.expect("rebooted");
    aws.console_output(instance).await.expect("an output");
    // Two run. The simulator does not say that each core has two threads.
    let room = aws.room_for_vcpus().await;
    assert!(room.used.is_some_and(|used| used >= 2), "{room:?}");

    let sweep = aws.sweep(&mark(), &Kind::ALL).await;
    assert!(sweep.unseen.is_empty(), "{:?}", sweep.unseen);
    assert_eq!(
        sweep.found.iter().map(|it| it.kind).collect::<Vec<_>>(),
        [
            Kind::Instance,
            Kind::Address,
            Kind::Volume,
            Kind::SecurityGroup,
            Kind::KeyPair,
            Kind::InstanceProfile,
            Kind::Role
        ]
    );
    let mut foreign = sweep.found[0].clone();
    foreign.id.clone_from(theirs);
    let failure = aws.remove(&foreign, &mark()).await.expect_err("theirs");
    assert_eq!(failure.kind, FailureKind::Conflict, "{failure}");
    for removal in aws.remove_all(sweep.found, &mark()).await {
        removal.outcome.unwrap_or_else(|failure| panic!("{}: {failure}", removal.found));
    }
    assert!(aws.sweep(&mark(), &Kind::ALL).await.found.is_empty());
    let left: Vec<String> = cloud.instances().into_iter().map(|machine| machine.id).collect();
    assert_eq!(left, std::slice::from_ref(theirs));
}

/// The same on Lightsail, whose addresses have no tags.
const MAKE_LIGHTSAIL: &str = "
import time
lightsail = boto3.client('lightsail')
tags = [{'key': TAGS[0]['Key'], 'value': 'i1'}]
lightsail.create_key_pair(keyPairName='openclaw-demo-key-1a2b', tags=tags)
lightsail.allocate_static_ip(staticIpName='openclaw-demo-ip-1a2b')
lightsail.allocate_static_ip(staticIpName='theirs')
name = 'openclaw-demo-1a2b'
lightsail.create_instances(instanceNames=[name], availabilityZone='us-east-1a',
                           blueprintId='amazon_linux_2023', bundleId='medium_3_0',
                           keyPairName='openclaw-demo-key-1a2b', tags=tags)
while lightsail.get_instance_state(instanceName=name)['state']['name'] != 'running':
    time.sleep(0.2)
lightsail.attach_static_ip(staticIpName='openclaw-demo-ip-1a2b', instanceName=name)
";

#[tokio::test]
async fn lightsails_things_are_found_by_tag_or_name_and_removed() {
    let Some(cloud) = Cloud::start() else { return };
    let aws = driver(&cloud.environment());
    cloud.api(&format!("{BEGIN}{MAKE_LIGHTSAIL}"));
    let id = MachineId::Lightsail("openclaw-demo-1a2b".into());
    reaches(&aws, &id, &MachineState::Running).await;
    aws.stop_machine(&id).await.expect("stopped");
    reaches(&aws, &id, &MachineState::Stopped).await;
    aws.start_machine(&id).await.expect("started");

    let kinds = [Kind::LightsailInstance, Kind::LightsailStaticIp, Kind::LightsailKeyPair];
    let sweep = aws.sweep(&mark(), &kinds).await;
    assert!(sweep.unseen.is_empty(), "{:?}", sweep.unseen);
    assert_eq!(sweep.found.iter().map(|it| it.kind).collect::<Vec<_>>(), kinds);
    for removal in aws.remove_all(sweep.found, &mark()).await {
        removal.outcome.unwrap_or_else(|failure| panic!("{}: {failure}", removal.found));
    }
    assert_eq!(aws.machine(&id).await.expect("an answer"), None);
    let left: Vec<String> = cloud.state().into_iter().map(|it| it.name).collect();
    assert_eq!(left, ["theirs"]);
}
