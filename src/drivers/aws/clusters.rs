//! Who is calling, as a cluster of EKS takes it.
//!
//! Owns the token: a call that only tells who made it, signed for one cluster, which that cluster then
//! makes itself. Refuses to hand one on that holds for longer than the cluster needs to make it.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::client::Aws;
use super::error::CallError;
use super::service::Service;
use crate::secrets::Secret;

/// What says that a token is one.
const PREFIX: &str = "k8s-aws-v1.";
/// The header that binds it to one cluster.
const CLUSTER: &str = "x-k8s-aws-id";
/// How long the call in it may be made. AWS takes a token for a quarter of an hour, whatever it says.
const HOLDS: Duration = Duration::from_secs(60);

impl Aws {
    /// A token for a cluster, by its name in AWS.
    pub async fn cluster_token(&self, cluster: &str) -> Result<Secret, CallError> {
        let query = [("Action", "GetCallerIdentity"), ("Version", "2011-06-15")];
        let url = self.presigned(Service::Sts, &query, &[(CLUSTER, cluster)], HOLDS).await?;
        Ok(Secret::new(format!("{PREFIX}{}", URL_SAFE_NO_PAD.encode(url.expose()))))
    }
}

#[cfg(test)]
mod tests {
    use super::super::fake::Fake;
    use super::*;

    #[tokio::test]
    async fn it_is_a_call_of_the_regions_own_service_signed_for_one_cluster() {
        let fake = Fake::answering::<String>([]).await;
        let token = fake.aws().cluster_token("openclaw-cluster-1").await.expect("a token");
        let url = token.expose().strip_prefix(PREFIX).expect("its prefix");
        let url = URL_SAFE_NO_PAD.decode(url).expect("base64");
        let url = String::from_utf8(url).expect("text");
        assert!(url.contains("/?Action=GetCallerIdentity&Version=2011-06-15&X-Amz-"), "{url}");
        assert!(url.contains("&X-Amz-Expires=60&"), "{url}");
        assert!(url.contains("&X-Amz-SignedHeaders=host%3Bx-k8s-aws-id&"), "{url}");
        assert!(fake.asked().is_empty(), "nobody is asked for it");
    }
}
