//! The secret key behind every placeholder, and the file that keeps it.

use std::fmt;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::Path;

use rand::TryRng;
use rand::rngs::SysRng;
use zeroize::Zeroizing;

use crate::MaskError;

const LENGTH: usize = 32;

/// A 256-bit key. Whoever has it can test guesses of a masked value; without it a placeholder says nothing but "equal to
/// that other one". Wiped from memory when dropped.
#[derive(Clone)]
pub struct MaskKey(Zeroizing<[u8; LENGTH]>);

impl MaskKey {
    /// Takes the key as it is.
    pub fn from_bytes(bytes: [u8; LENGTH]) -> Self {
        Self(Zeroizing::new(bytes))
    }

    /// Makes a new key from the operating system's random source.
    ///
    /// # Errors
    /// When that source fails.
    pub fn generate() -> Result<Self, MaskError> {
        let mut bytes = Zeroizing::new([0; LENGTH]);
        SysRng.try_fill_bytes(&mut *bytes).map_err(|error| MaskError::Random(error.to_string()))?;
        Ok(Self(bytes))
    }

    /// Reads the key from `path`, or makes one there (mode 0600) when nothing is there yet. Two processes that start at
    /// once end up with the same key.
    ///
    /// # Errors
    /// When the file cannot be read or made, is readable by group or others, or does not hold exactly 32 bytes.
    pub fn load_or_create(path: &Path) -> Result<Self, MaskError> {
        let failed = |source| MaskError::Key { path: path.to_owned(), source };
        match File::open(path) {
            Ok(file) => Self::load(path, file),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                Self::generate()?.create(path).map_err(failed)?;
                Self::load(path, File::open(path).map_err(failed)?)
            }
            Err(error) => Err(failed(error)),
        }
    }

    pub(crate) fn bytes(&self) -> &[u8; LENGTH] {
        &self.0
    }

    fn load(path: &Path, file: File) -> Result<Self, MaskError> {
        let failed = |source| MaskError::Key { path: path.to_owned(), source };
        let mode = file.metadata().map_err(failed)?.permissions().mode() & 0o7777;
        if mode & 0o077 != 0 {
            return Err(MaskError::KeyExposed { path: path.to_owned(), mode });
        }
        let mut content = Zeroizing::new(Vec::with_capacity(LENGTH + 1));
        file.take(LENGTH as u64 + 1).read_to_end(&mut content).map_err(failed)?;
        let bytes = <[u8; LENGTH]>::try_from(content.as_slice())
            .map_err(|_| MaskError::KeyLength { path: path.to_owned(), found: content.len() })?;
        Ok(Self::from_bytes(bytes))
    }

    /// Puts the key at `path` whole or not at all: written aside, then linked, which never replaces a key already there.
    fn create(&self, path: &Path) -> io::Result<()> {
        let directory =
            path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let mut aside = path.as_os_str().to_owned();
        aside.push(format!(".new-{}", std::process::id()));
        let aside = Path::new(&aside);
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(aside)?;
        let linked =
            file.write_all(self.0.as_slice()).and_then(|()| file.sync_all()).and_then(
                |()| match fs::hard_link(aside, path) {
                    Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
                    linked => linked,
                },
            );
        fs::remove_file(aside)?;
        linked?;
        File::open(directory)?.sync_all()
    }
}

impl fmt::Debug for MaskKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("MaskKey(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_made_once_and_then_read() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("mask.key");
        let made = MaskKey::load_or_create(&path).unwrap();
        let read = MaskKey::load_or_create(&path).unwrap();
        assert_eq!(made.bytes(), read.bytes());
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1, "nothing is left aside");
        assert_ne!(made.bytes(), MaskKey::generate().unwrap().bytes());
    }

    #[test]
    fn a_key_already_there_is_never_replaced() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("mask.key");
        let first = MaskKey::from_bytes([1; LENGTH]);
        first.create(&path).unwrap();
        MaskKey::from_bytes([2; LENGTH]).create(&path).unwrap();
        assert_eq!(MaskKey::load_or_create(&path).unwrap().bytes(), first.bytes());
    }

    #[test]
    fn damaged_exposed_and_missing_places_are_named() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("mask.key");
        fs::write(&path, "short").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        let error = MaskKey::load_or_create(&path).unwrap_err().to_string();
        assert!(error.contains("mask.key") && error.contains("5 bytes"), "{error}");

        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        let error = MaskKey::load_or_create(&path).unwrap_err().to_string();
        assert!(error.contains("mode 0640"), "{error}");

        let error = MaskKey::load_or_create(&directory.path().join("no/mask.key")).unwrap_err().to_string();
        assert!(error.contains("no/mask.key"), "{error}");
    }

    #[test]
    fn debug_output_hides_the_key() {
        assert_eq!(format!("{:?}", MaskKey::from_bytes([7; LENGTH])), "MaskKey(..)");
    }
}
