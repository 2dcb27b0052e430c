//! The managed keys as instructions, for where the configuration is merged in place.
//!
//! Owns their form, which `k8s/configmap.yaml` reads: what is set, what goes into lists and out of
//! them, what cannot stand beside it, and the model. A test holds both merges to one corpus.

use serde_json::{Value, json};

use super::{CONFLICTS, ManagedConfig};
use crate::targets::container::TUNNEL_ADDRESS;

/// How much the gateway keeps of its sessions at most where its volume is small, in bytes.
const SESSIONS_MAX: u64 = 512 << 20;

impl ManagedConfig {
    /// The instructions. `once` names the occasion on which the user's own file replaces what is in
    /// place: it does so once, however often the pod begins again.
    pub fn instructions(&self, once: &str) -> Value {
        // Without a model: which one is written depends on what is in place.
        let without_model = Self { model: None, ..self.clone() };
        let mut set = without_model.tree(&Value::Null);
        if self.is_since_8_1() {
            // In the other mode it says that there are more, and keeps them.
            set["session"]["maintenance"] =
                json!({ "maxDiskBytes": SESSIONS_MAX, "mode": "enforce" });
        }
        let stale_proxies: Vec<&str> =
            self.stale_proxies.iter().map(String::as_str).chain([TUNNEL_ADDRESS]).collect();
        let without: Vec<String> = CONFLICTS
            .iter()
            .map(|(parent, key, _)| format!("{}.{key}", super::dotted(parent)))
            .collect();
        let from_users = self.users_file.then_some(once);
        json!({
            "set": set,
            "lists": {
                "gateway.controlUi.allowedOrigins": {
                    "add": self.origins, "remove": self.stale_origins,
                },
                "gateway.trustedProxies": { "add": self.proxies, "remove": stale_proxies },
            },
            "without": without,
            "model": {
                "primary": self.model, "is_chosen": self.model_is_chosen, "last": self.last_model,
            },
            "from_users": from_users,
        })
    }
}
