//! The module of a cluster, with the real Terraform and its real provider against the simulated cloud.
//!
//! Refuses to say that anything runs on that cluster: there are no nodes behind it. What runs on one
//! is shown on the lab's real one.

use std::collections::BTreeMap;
use std::process::Output;

use serde_json::json;

use crate::support::cloud::Cloud;
use crate::support::source::{files, has_extension, root};
use crate::support::terraform::said;

/// The module in a folder of its own, with its variables.
struct Placed {
    cloud: Cloud,
    folder: tempfile::TempDir,
}

impl Placed {
    fn new() -> Option<Self> {
        let cloud = Cloud::start()?;
        let folder = tempfile::tempdir().expect("a folder");
        let module = files("terraform/")
            .into_iter()
            .filter(|path| has_extension(path, "tf") && !path["terraform/".len()..].contains('/'));
        for path in module {
            let name = std::path::Path::new(&path).file_name().expect("a name");
            std::fs::copy(root().join(&path), folder.path().join(name)).expect("a copy");
        }
        let variables = json!({
            "region": "us-east-1", "api_cidrs": ["203.0.113.7/32"], "installation": "inst-1",
        });
        let file = folder.path().join("lab.auto.tfvars.json");
        std::fs::write(file, variables.to_string()).expect("the variables");
        Some(Self { cloud, folder })
    }

    fn terraform(&self, args: &[&str]) -> Output {
        let mut terraform = self.cloud.command("terraform");
        terraform.args(args).args(["-no-color", "-input=false"]);
        terraform.current_dir(self.folder.path()).output().expect("terraform starts")
    }

    #[track_caller]
    fn ends_well(&self, args: &[&str]) {
        let output = self.terraform(args);
        assert!(output.status.success(), "{args:?}: {}", said(&output));
    }
}

#[test]
fn it_is_made_once_and_removed_whole() {
    let Some(placed) = Placed::new() else { return };
    placed.ends_well(&["init"]);
    placed.ends_well(&["apply", "-auto-approve"]);

    let mut made = BTreeMap::<String, usize>::new();
    for it in placed.cloud.state() {
        assert_eq!(
            it.tags.get("openclaw-pipeline:installation").map(String::as_str),
            Some("inst-1")
        );
        *made.entry(it.kind).or_default() += 1;
    }
    let expected = [
        ("ec2:address", 1),
        ("ec2:internet-gateway", 1),
        ("ec2:launch-template", 1),
        ("ec2:nat-gateway", 1),
        ("ec2:route-table", 2),
        ("ec2:security-group", 1),
        ("ec2:subnet", 4),
        ("ec2:vpc", 1),
        ("eks:cluster", 1),
        ("eks:node-group", 1),
        ("iam:role", 3),
        ("kms:key", 1),
        ("logs:group", 1),
    ];
    assert_eq!(made, expected.map(|(kind, count)| (kind.to_owned(), count)).into());
    for addon in
        ["vpc-cni", "kube-proxy", "coredns", "aws-ebs-csi-driver", "eks-pod-identity-agent"]
    {
        let asked = format!(
            "it = boto3.client('eks', region_name='us-east-1')\n\
             name = it.list_clusters()['clusters'][0]\n\
             print(it.describe_addon(clusterName=name, addonName='{addon}')['addon']['status'])"
        );
        assert_eq!(placed.cloud.api(&asked).trim(), "ACTIVE", "{addon}");
    }

    // Nodes have no address of their own, and reach the internet by the gateway; each role is what it is for.
    let wiring = placed.cloud.api(
        r#"
eks, ec2 = [boto3.client(it, region_name="us-east-1") for it in ("eks", "ec2")]
iam = boto3.client("iam")
name = eks.list_clusters()["clusters"][0]
group = eks.describe_nodegroup(clusterName=name, nodegroupName="gateways")["nodegroup"]
for subnet in group["subnets"]:
    about = ec2.describe_subnets(SubnetIds=[subnet])["Subnets"][0]
    of = [{"Name": "association.subnet-id", "Values": [subnet]}]
    routes = ec2.describe_route_tables(Filters=of)["RouteTables"][0]["Routes"]
    out = [it for it in routes if it.get("DestinationCidrBlock") == "0.0.0.0/0"]
    print("node", about["MapPublicIpOnLaunch"], [it.get("NatGatewayId", "")[:4] for it in out])
for nat in ec2.describe_nat_gateways()["NatGateways"]:
    of = [{"Name": "association.subnet-id", "Values": [nat["SubnetId"]]}]
    routes = ec2.describe_route_tables(Filters=of)["RouteTables"][0]["Routes"]
    out = [it for it in routes if it.get("DestinationCidrBlock") == "0.0.0.0/0"]
    print("nat", [it.get("GatewayId", "")[:4] for it in out])
arn = eks.describe_cluster(name=name)["cluster"]["arn"]
for one in eks.list_pod_identity_associations(clusterName=name)["associations"]:
    it = eks.describe_pod_identity_association(clusterName=name, associationId=one["associationId"])
    it = it["association"]
    role = it["roleArn"].rsplit("/", 1)[1]
    print("pod", it["namespace"], it["serviceAccount"], role.removeprefix(name))
    trust = iam.get_role(RoleName=role)["Role"]["AssumeRolePolicyDocument"]["Statement"][0]
    action, condition = trust["Action"], trust["Condition"]
    print(sorted(action), condition["ArnEquals"]["aws:SourceArn"] == arn,
          condition["StringEquals"]["aws:SourceAccount"] == arn.split(":")[4])
for role in ("cluster", "node", "volumes"):
    attached = iam.list_attached_role_policies(RoleName=f"{name}-{role}")["AttachedPolicies"]
    trust = iam.get_role(RoleName=f"{name}-{role}")["Role"]["AssumeRolePolicyDocument"]
    who = trust["Statement"][0]["Principal"]["Service"]
    print(role, who, sorted(it["PolicyName"] for it in attached))
"#,
    );
    let expected = "node False ['nat-']\nnode False ['nat-']\n\
        nat ['igw-']\n\
        pod kube-system ebs-csi-controller-sa -volumes\n\
        ['sts:AssumeRole', 'sts:TagSession'] True True\n\
        cluster eks.amazonaws.com ['AmazonEKSClusterPolicy']\n\
        node ec2.amazonaws.com ['AmazonEC2ContainerRegistryPullOnly', 'AmazonEKSWorkerNodePolicy', \
        'AmazonEKS_CNI_Policy']\n\
        volumes pods.eks.amazonaws.com ['AmazonEBSCSIDriverPolicy']";
    assert_eq!(wiring.trim(), expected);

    // A second one finds nothing to do (2 would say that it does).
    let again = placed.terraform(&["plan", "-detailed-exitcode"]);
    assert_eq!(again.status.code(), Some(0), "{}", said(&again));

    placed.ends_well(&["destroy", "-auto-approve"]);
    placed.cloud.assert_empty();
}
