//! How the client is called, what its words mean, and the keys that are made.

use super::*;
use crate::domain::FailureKind;

fn machine(dir: &Path) -> Machine {
    Machine {
        host: "203.0.113.7".into(),
        port: 22,
        user: "ec2-user".into(),
        key: dir.join("a key"),
        known_hosts: dir.join("known hosts"),
        alias: "openclaw-1".into(),
        sockets: dir.join("s"),
        lock: "/run/lock/openclaw".into(),
    }
}

#[test]
fn a_machine_is_trusted_by_its_key_alone_and_gets_nothing_of_the_users() {
    let dir = Path::new("/tmp/x");
    let args = machine(dir).arguments(&["-N"]);
    let text: Vec<String> = args.iter().map(|it| it.to_string_lossy().into_owned()).collect();
    for option in [
        "StrictHostKeyChecking=yes",
        "BatchMode=yes",
        "ForwardAgent=no",
        "HostKeyAlias=openclaw-1",
        "UserKnownHostsFile=\"/tmp/x/known hosts\"",
        "IdentityFile=\"/tmp/x/a key\"",
        "ConnectTimeout=10",
    ] {
        assert!(text.iter().any(|it| it == option), "{option} in {text:?}");
    }
    assert_eq!(text[text.len() - 3..], ["-N", "--", "203.0.113.7"]);
}

#[test]
fn no_directory_is_too_deep_for_a_socket() {
    let dir = tempfile::tempdir().expect("a directory");
    let deep = machine(&dir.path().join("x".repeat(120)));
    let control = format!("ControlPath={}", deep.socket());
    assert!(control.len() < 40 && deep.arguments(&[]).contains(&OsString::from(control)));
    let elsewhere = Machine { host: "203.0.113.8".into(), ..machine(dir.path()) };
    assert_ne!(deep.socket(), elsewhere.socket());
}

#[test]
fn what_the_client_says_has_a_meaning() {
    for (said, expected, passes) in [
        ("ssh: connect to host x port 22: Connection refused", "Unreachable", true),
        ("ssh: connect to host x port 22: Connection timed out", "Unreachable", true),
        ("kex_exchange_identification: read: Connection reset by peer", "Unreachable", true),
        ("ec2-user@x: Permission denied (publickey).", "KeyRefused", true),
        ("@@@@\n@ WARNING: REMOTE HOST IDENTIFICATION HAS CHANGED! @\n@@@@", "HostKey", false),
        (
            "No ED25519 host key is known for x and you have requested strict checking.",
            "HostKey",
            false,
        ),
        ("@@@\n@ WARNING: UNPROTECTED PRIVATE KEY FILE! @\nx: bad permissions", "KeyIsOpen", false),
        ("command-line line 0: unsupported option", "Other", false),
        // A machine that restarts its SSH closes what has just begun.
        ("\n", "Unreachable", true),
    ] {
        let refusal = Refusal::of(said);
        assert!(format!("{refusal:?}").starts_with(expected), "{said}: {refusal:?}");
        assert_eq!(refusal.may_pass(), passes, "{said}");
    }
    let failure = Failure::from(Refusal::of("REMOTE HOST IDENTIFICATION HAS CHANGED"));
    assert_eq!(failure.kind, FailureKind::Conflict);
}

#[tokio::test]
async fn a_pair_of_keys_is_made_once_and_is_private() {
    use std::os::unix::fs::PermissionsExt as _;
    let dir = tempfile::tempdir().expect("a directory");
    for (kind, begins) in [(KeyKind::Ed25519, "ssh-ed25519 "), (KeyKind::Rsa4096, "ssh-rsa ")] {
        let path = dir.path().join(begins.trim());
        let public = make_key(&path, kind, "openclaw main").await.expect("made");
        assert!(public.starts_with(begins), "{public}");
        let mode = std::fs::metadata(&path).expect("there").permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let again = make_key(&path, kind, "openclaw main").await.expect("there");
        assert_eq!(public.split(' ').nth(1), again.split(' ').nth(1));
        let permissions = std::fs::Permissions::from_mode(0o644);
        std::fs::set_permissions(&path, permissions).expect("opened");
        let failure = public_key(&path).await.expect_err("is open to all");
        assert!(failure.remedy.is_some_and(|it| it.contains("chmod 600")), "{}", failure.message);
    }
    let none = dir.path().join("none");
    std::fs::write(&none, "no key").expect("a file");
    let mode = std::fs::Permissions::from_mode(0o600);
    std::fs::set_permissions(&none, mode).expect("closed");
    let failure = public_key(&none).await.expect_err("is none");
    assert!(failure.message.contains("is no SSH private key"), "{failure}");
}
