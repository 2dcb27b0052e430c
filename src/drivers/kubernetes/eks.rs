//! A cluster of EKS, as AWS describes it: its API takes whom AWS says that the caller is.
//!
//! Owns the way to its API without a kubeconfig and without a program beside this one. Refuses to look
//! for the cluster: where it is, its maker knows.

use kube::Config;
use kube::config::{
    AuthInfo, Cluster as KubeconfigCluster, Context, KubeConfigOptions, Kubeconfig, NamedAuthInfo,
    NamedCluster, NamedContext,
};
use secrecy::SecretString;

use super::kubeconfig::heed_no_proxy;
use crate::domain::{EksCluster, Failure, text};
use crate::drivers::aws::{Aws, Environment};

/// What the one entry of each kind is called.
const ENTRY: &str = "eks";

/// How it is spoken to, as whoever these credentials belong to.
pub(super) async fn config(
    cluster: &EksCluster,
    credentials: &Environment,
) -> Result<Config, Failure> {
    let EksCluster { server, authority, name, region, .. } = cluster;
    let aws = Aws::new(credentials.clone(), Some(region))?;
    let token = aws.cluster_token(name).await?;
    let whole = Kubeconfig {
        clusters: vec![NamedCluster {
            name: ENTRY.into(),
            cluster: Some(KubeconfigCluster {
                server: Some(server.clone()),
                certificate_authority_data: Some(authority.clone()),
                ..KubeconfigCluster::default()
            }),
            ..NamedCluster::default()
        }],
        auth_infos: vec![NamedAuthInfo {
            name: ENTRY.into(),
            auth_info: Some(AuthInfo {
                token: Some(SecretString::from(token.expose().to_owned())),
                ..AuthInfo::default()
            }),
            ..NamedAuthInfo::default()
        }],
        contexts: vec![NamedContext {
            name: ENTRY.into(),
            context: Some(Context {
                cluster: ENTRY.into(),
                user: Some(ENTRY.into()),
                ..Context::default()
            }),
            ..NamedContext::default()
        }],
        current_context: Some(ENTRY.into()),
        ..Kubeconfig::default()
    };
    let config = Config::from_custom_kubeconfig(whole, &KubeConfigOptions::default()).await;
    let mut config = config.map_err(|error| {
        Failure::failed(format!(
            "the cluster {name} cannot be spoken to: {}",
            text::clean(&error.to_string(), 300)
        ))
    })?;
    heed_no_proxy(&mut config);
    Ok(config)
}
