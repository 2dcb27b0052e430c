//! The rows about the pipeline server's own machine.

use super::DefaultValue::{Computed, Unset};
use super::{DefaultValue, Definition, Variable};

const GROUP: &str = "The server's own machine (openclaw-pipeline server)";

const fn row(
    variable: Variable,
    name: &'static str,
    default: DefaultValue,
    doc: &'static str,
) -> Definition {
    Definition { variable, name, alias: None, secret: false, default, doc, group: GROUP }
}

pub(super) const CIDR: Definition = row(
    Variable::OwnServerCidr,
    "OPENCLAW_PIPELINE_SERVER_CIDR",
    Unset("whoever may reach port 22"),
    "Who may reach the server's port 4000: IPv4 ranges, separated by commas",
);

pub(super) const BINARY: Definition = row(
    Variable::OwnServerBinary,
    "OPENCLAW_PIPELINE_SERVER_BINARY",
    Computed("the program that runs this command"),
    "The program that is shipped there: a static one (make build-static)",
);

pub(super) const TERRAFORM: Definition = row(
    Variable::OwnServerTerraform,
    "OPENCLAW_PIPELINE_SERVER_TERRAFORM",
    Computed("TF_BIN"),
    "The Terraform that is shipped there, for machines of the same architecture as that one",
);

pub(super) const TLS_CERT: Definition = row(
    Variable::OwnServerTlsCert,
    "OPENCLAW_PIPELINE_SERVER_TLS_CERT",
    Unset("one that the server makes itself"),
    "The server's certificate chain, a PEM file here",
);

pub(super) const TLS_KEY: Definition = row(
    Variable::OwnServerTlsKey,
    "OPENCLAW_PIPELINE_SERVER_TLS_KEY",
    Unset("one that the server makes itself"),
    "The certificate's key, a PEM file here",
);

pub(super) const AWS_KEY_ID: Definition = row(
    Variable::OwnServerAwsKeyId,
    "OPENCLAW_PIPELINE_SERVER_AWS_ACCESS_KEY_ID",
    Unset("your own, with a warning"),
    "The AWS access key of a server on Lightsail, of a user that may do no more than it has to",
);

pub(super) const AWS_SECRET: Definition = Definition {
    secret: true,
    ..row(
        Variable::OwnServerAwsSecret,
        "OPENCLAW_PIPELINE_SERVER_AWS_SECRET_ACCESS_KEY",
        Unset("your own, with a warning"),
        "The secret of that key",
    )
};
