//! Sealing: how a secret rests in the database.
//!
//! Owns the sealing key and the format of a sealed value: a version byte, a random nonce, and
//! XChaCha20-Poly1305 over the value with its context as associated data. Refuses to open what
//! was changed, moved to another context, or sealed with another key.

use std::fmt;
use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use chacha20poly1305::aead::{Aead, KeyInit, Payload};
use chacha20poly1305::{XChaCha20Poly1305, XNonce};
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use super::Secret;
use super::private::{create_private, create_private_directory, read_private};
use crate::domain::{Failure, FailureKind};

/// The format written today.
const VERSION: u8 = 1;
const NONCE_BYTES: usize = 24;
const KEY_BYTES: usize = 32;

/// The key that every stored secret is sealed with. Its memory is wiped when dropped.
#[derive(Clone)]
pub struct SealingKey(Zeroizing<[u8; KEY_BYTES]>);

impl fmt::Debug for SealingKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(super::REDACTED)
    }
}

impl SealingKey {
    /// A new random key.
    pub fn generate() -> Self {
        let mut bytes = Zeroizing::new([0; KEY_BYTES]);
        fill_random(bytes.as_mut_slice());
        Self(bytes)
    }

    /// The key in a file. The kind of failure of a file that is not there is `NotFound`; use this
    /// where something was sealed already, so that a lost key is told instead of replaced.
    pub fn load(path: &Path) -> Result<Self, Failure> {
        let text = read_private(path).map_err(|failure| failure.context("the sealing key"))?;
        let malformed = || {
            Failure::bad_input(format!(
                "the sealing key: {} is not 32 bytes in base64 on one line",
                path.display()
            ))
            .remedy("restore the file from a copy; a new key cannot open what the old one sealed")
        };
        let decoded =
            STANDARD.decode(text.trim_ascii()).map(Zeroizing::new).map_err(|_| malformed())?;
        let mut bytes = Zeroizing::new([0; KEY_BYTES]);
        if decoded.len() != KEY_BYTES {
            return Err(malformed());
        }
        bytes.copy_from_slice(&decoded);
        Ok(Self(bytes))
    }

    /// The key in a file, which is made if it is not there. Of two processes that both find it
    /// missing, one writes it, whole at once, and the other reads that one's.
    pub fn load_or_create(path: &Path) -> Result<Self, Failure> {
        match Self::load(path) {
            Err(failure) if failure.kind == FailureKind::NotFound => {}
            done => return done,
        }
        if let Some(parent) = path.parent() {
            create_private_directory(parent)
                .map_err(|failure| failure.context("the sealing key"))?;
        }
        let key = Self::generate();
        let mut text = Zeroizing::new(STANDARD.encode(key.0.as_slice()));
        text.push('\n');
        if create_private(path, text.as_bytes())
            .map_err(|failure| failure.context("the sealing key"))?
        {
            return Ok(key);
        }
        Self::load(path)
    }

    /// A short name of the key, which tells two keys apart and gives nothing away: a store
    /// records it, and can say that it was given another one's key.
    pub fn fingerprint(&self) -> String {
        use std::fmt::Write as _;
        let mut hash = Sha256::new();
        hash.update(b"openclaw-pipeline sealing key\0");
        hash.update(self.0.as_slice());
        hash.finalize()[..8].iter().fold(String::new(), |mut out, byte| {
            let _ = write!(out, "{byte:02x}");
            out
        })
    }

    /// Seals a value. The context says what it is and whose (`deployment/ID/gateway-token`, say);
    /// it opens in the same context only.
    pub fn seal(&self, context: &[u8], plaintext: &[u8]) -> Vec<u8> {
        let mut nonce = [0; NONCE_BYTES];
        fill_random(&mut nonce);
        let payload = Payload { msg: plaintext, aad: &associated(context) };
        let body = self
            .cipher()
            .encrypt(XNonce::from_slice(&nonce), payload)
            .expect("the cipher takes any value below 256 GiB");
        let mut sealed = Vec::with_capacity(1 + NONCE_BYTES + body.len());
        sealed.push(VERSION);
        sealed.extend_from_slice(&nonce);
        sealed.extend_from_slice(&body);
        sealed
    }

    /// Opens a sealed value.
    pub fn open(&self, context: &[u8], sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>, Failure> {
        match sealed.first() {
            Some(&VERSION) => {}
            Some(_) => {
                return Err(Failure::failed(
                    "a sealed value has a format that this version does not know",
                )
                .remedy("use the newer version of this program that wrote it"));
            }
            None => return Err(cannot_open("a sealed value")),
        }
        let Some((nonce, body)) = sealed[1..].split_at_checked(NONCE_BYTES) else {
            return Err(cannot_open("a sealed value"));
        };
        let payload = Payload { msg: body, aad: &associated(context) };
        self.cipher()
            .decrypt(XNonce::from_slice(nonce), payload)
            .map(Zeroizing::new)
            .map_err(|_| cannot_open("a sealed value"))
    }

    /// Opens a sealed value that is text.
    pub fn open_secret(&self, context: &[u8], sealed: &[u8]) -> Result<Secret, Failure> {
        let bytes = self.open(context, sealed)?;
        std::str::from_utf8(&bytes)
            .map(Secret::new)
            .map_err(|_| Failure::failed("a sealed value that should be text is not"))
    }

    pub(super) fn cipher(&self) -> XChaCha20Poly1305 {
        XChaCha20Poly1305::new(self.0.as_slice().into())
    }
}

/// A value cannot pass for a chunk of a sealed file, nor for a value of another format.
fn associated(context: &[u8]) -> Vec<u8> {
    [b"openclaw-pipeline value\0".as_slice(), &[VERSION], context].concat()
}

pub(super) fn cannot_open(what: &str) -> Failure {
    Failure::failed(format!(
        "{what} cannot be opened: it was sealed with another key, or it was changed"
    ))
    .remedy(
        "restore the sealing key that belongs to this data directory (OPENCLAW_PIPELINE_KEY_FILE)",
    )
}

/// Fills a buffer from the system's random source.
pub(super) fn fill_random(buffer: &mut [u8]) {
    getrandom::fill(buffer).expect("a system without randomness cannot keep a secret");
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::os::unix::fs::{MetadataExt, PermissionsExt};

    #[test]
    fn a_value_opens_in_its_context_with_its_key_only() {
        let key = SealingKey::generate();
        let sealed = key.seal(b"a/token", b"value");
        assert_eq!(*key.open(b"a/token", &sealed).expect("opened"), b"value");
        assert!(key.open(b"b/token", &sealed).is_err(), "moved");
        assert!(key.open(b"", &sealed).is_err(), "moved");
        let failure = SealingKey::generate().open(b"a/token", &sealed).expect_err("another key");
        assert!(failure.remedy.expect("a remedy").contains("KEY_FILE"));
        assert_ne!(sealed, key.seal(b"a/token", b"value"), "a fresh nonce");
    }

    #[test]
    fn every_changed_bit_and_every_cut_is_noticed() {
        let key = SealingKey::generate();
        let sealed = key.seal(b"context", b"value");
        for at in 0..sealed.len() {
            for bit in 0..8 {
                let mut changed = sealed.clone();
                changed[at] ^= 1 << bit;
                assert!(key.open(b"context", &changed).is_err(), "byte {at}");
            }
            assert!(key.open(b"context", &sealed[..at]).is_err(), "cut at {at}");
        }
    }

    #[test]
    fn the_key_file_is_made_once_and_private() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("config/sealing.key");
        assert_eq!(SealingKey::load(&path).expect_err("absent").kind, FailureKind::NotFound);
        let first = SealingKey::load_or_create(&path).expect("made");
        let again = SealingKey::load_or_create(&path).expect("read");
        assert_eq!(first.fingerprint(), again.fingerprint());
        assert_eq!(path.metadata().expect("metadata").mode() & 0o777, 0o600);
        let parent = path.parent().expect("a parent");
        assert_eq!(parent.metadata().expect("metadata").mode() & 0o777, 0o700);
    }

    #[test]
    fn a_key_that_others_can_read_or_that_is_broken_is_refused_and_kept() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("sealing.key");
        SealingKey::load_or_create(&path).expect("made");
        let permissions = |mode| std::fs::Permissions::from_mode(mode);
        std::fs::set_permissions(&path, permissions(0o644)).expect("mode");
        let failure = SealingKey::load_or_create(&path).expect_err("readable by others");
        assert!(failure.remedy.expect("a remedy").contains("chmod 600"));
        std::fs::set_permissions(&path, permissions(0o600)).expect("mode");
        for text in ["", "c2hvcnQ=", "not base64!"] {
            std::fs::write(&path, text).expect("written");
            let failure = SealingKey::load_or_create(&path).expect_err(text);
            assert!(failure.message.contains("32 bytes"), "{failure}");
            assert_eq!(std::fs::read_to_string(&path).expect("kept"), text);
        }
    }

    #[test]
    fn of_many_that_start_at_once_all_have_the_same_key() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("sealing.key");
        let start = std::sync::Barrier::new(8);
        let prints: Vec<String> = std::thread::scope(|scope| {
            let started: Vec<_> = (0..8)
                .map(|_| {
                    scope.spawn(|| {
                        start.wait();
                        SealingKey::load_or_create(&path).expect("a key").fingerprint()
                    })
                })
                .collect();
            started.into_iter().map(|thread| thread.join().expect("no panic")).collect()
        });
        assert!(prints.iter().all(|print| *print == prints[0]), "{prints:?}");
    }

    #[test]
    fn nothing_prints_the_key() {
        assert_eq!(format!("{:?}", SealingKey::generate()), "[redacted]");
    }

    proptest! {
        #[test]
        fn whatever_is_sealed_is_opened(context: Vec<u8>, value: Vec<u8>) {
            let key = SealingKey::generate();
            let sealed = key.seal(&context, &value);
            prop_assert_eq!(&*key.open(&context, &sealed).expect("opened"), &value);
        }
    }
}
