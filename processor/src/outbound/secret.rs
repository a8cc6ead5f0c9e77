//! Keys, read from where the configuration says they are.

use std::{fs::File, io::Read};

use super::route::SecretRef;

/// How long a key is at least, in bytes.
const BYTES_MIN: usize = 16;
/// How long a key is at most, in bytes.
const BYTES_MAX: usize = 4_096;

/// A key. It is not shown by `Debug`, and nothing else here shows it either.
#[derive(Clone)]
pub struct Secret(Vec<u8>);

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secret")
    }
}

/// Why there is no key. The texts name the place and never what is there.
#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    /// There is no such variable, or it is no text.
    #[error("the secret {0} is not set")]
    NotSet(SecretRef),
    /// The file cannot be read.
    #[error("the secret {place} cannot be read: {source}")]
    File {
        /// Where it should be.
        place: SecretRef,
        /// Why.
        source: std::io::Error,
    },
    /// It is too short to be one, or too long.
    #[error("the secret {0} has {1} bytes, but must have {min} to {max}", min = BYTES_MIN, max = BYTES_MAX)]
    Length(SecretRef, usize),
}

impl Secret {
    /// Reads a key of 16 to 4,096 bytes. One line break at its end, as editors leave it, is no part of it.
    ///
    /// # Errors
    /// See [`SecretError`].
    pub fn read(place: &SecretRef) -> Result<Self, SecretError> {
        let mut bytes = match place {
            SecretRef::Environment(name) => {
                std::env::var(name).map_err(|_| SecretError::NotSet(place.clone()))?.into_bytes()
            }
            SecretRef::File(path) => {
                let failed = |source| SecretError::File { place: place.clone(), source };
                let mut bytes = Vec::new();
                // A little more than is allowed, to see that there is more.
                let file = File::open(path).map_err(failed)?;
                file.take(BYTES_MAX as u64 + 3).read_to_end(&mut bytes).map_err(failed)?;
                bytes
            }
        };
        if bytes.last() == Some(&b'\n') {
            bytes.pop();
            bytes.pop_if(|byte| *byte == b'\r');
        }
        if (BYTES_MIN..=BYTES_MAX).contains(&bytes.len()) {
            Ok(Self(bytes))
        } else {
            Err(SecretError::Length(place.clone(), bytes.len()))
        }
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.0
    }

    #[cfg(test)]
    pub(super) fn of(bytes: &[u8]) -> Self {
        Self(bytes.to_vec())
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn keys_are_read_from_where_they_are() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key");
        let place = SecretRef::File(path.clone());
        for end in ["", "\n", "\r\n"] {
            fs::write(&path, format!("0123456789abcdef{end}")).unwrap();
            assert_eq!(Secret::read(&place).unwrap().bytes(), b"0123456789abcdef");
        }
        // Set by cargo for every test.
        let variable = SecretRef::Environment("CARGO_MANIFEST_DIR".into());
        assert_eq!(Secret::read(&variable).unwrap().bytes(), env!("CARGO_MANIFEST_DIR").as_bytes());
    }

    #[test]
    fn what_is_no_key_is_told_without_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key");
        let place = SecretRef::File(path.clone());
        assert!(Secret::read(&place).unwrap_err().to_string().contains("cannot be read: No such file"));
        fs::write(&path, "hunter2").unwrap();
        let short = Secret::read(&place).unwrap_err().to_string();
        assert!(short.ends_with("has 7 bytes, but must have 16 to 4096"), "{short}");
        fs::write(&path, "hunter2 ".repeat(600)).unwrap();
        let long = Secret::read(&place).unwrap_err().to_string();
        assert!(long.contains("bytes, but must have") && !long.contains("hunter2"), "{long}");
        let missing = Secret::read(&SecretRef::Environment("SESSIONWARDEN_TEST_NO_SUCH".into())).unwrap_err();
        assert_eq!(missing.to_string(), "the secret env:SESSIONWARDEN_TEST_NO_SUCH is not set");
        assert_eq!(format!("{:?}", Secret::of(b"hunter2")), "Secret");
    }
}
