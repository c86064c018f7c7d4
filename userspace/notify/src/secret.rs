//! Keys, signing secrets and secret URLs: read from files that others cannot read, wiped from memory, never shown.

use std::fmt;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;

use hmac::{Hmac, KeyInit, Mac};
use rand::TryRng;
use rand::rngs::SysRng;
use sha2::Sha256;
use zeroize::Zeroizing;

use crate::NotifyError;

/// Fewer bytes than this can be guessed.
const LEAST: usize = 16;
/// A key file that is longer is some other file.
const MOST: usize = 4096;
/// Length of a key that is made here.
const KEY_LENGTH: usize = 32;

/// Bytes that nobody is shown.
#[derive(Clone)]
pub(crate) struct Secret(Zeroizing<Vec<u8>>);

impl Secret {
    /// Takes the bytes as they are.
    #[cfg(test)]
    pub(crate) fn new(bytes: Vec<u8>) -> Self {
        Self(Zeroizing::new(bytes))
    }

    /// Reads a secret from a file that only its owner and group may use; blanks and line ends around it do not count.
    pub(crate) fn read(path: &Path) -> Result<Self, NotifyError> {
        let content = content(path, 0o007)?;
        let secret = content.trim_ascii();
        Self::of_length(path, secret, LEAST)
    }

    /// Reads a key, byte for byte, or makes one there (mode 0600) when nothing is there yet. Two processes that
    /// start at once end up with the same key.
    pub(crate) fn load_or_create(path: &Path) -> Result<Self, NotifyError> {
        match Self::read_key(path) {
            Err(NotifyError::File { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
                let mut bytes = Zeroizing::new(vec![0; KEY_LENGTH]);
                SysRng.try_fill_bytes(&mut bytes).map_err(|error| NotifyError::Random(error.to_string()))?;
                create(path, &bytes).map_err(|source| NotifyError::File { path: path.to_owned(), source })?;
                Self::read_key(path)
            }
            read => read,
        }
    }

    /// Reads a key byte for byte.
    pub(crate) fn read_key(path: &Path) -> Result<Self, NotifyError> {
        Self::of_length(path, &content(path, 0o007)?, KEY_LENGTH)
    }

    #[cfg(test)]
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.0
    }

    /// HMAC-SHA256 over the parts, one after the other. To compare, use [`Mac::verify_slice`]: it takes the same time
    /// wherever two codes differ.
    pub(crate) fn mac(&self, parts: &[&[u8]]) -> Hmac<Sha256> {
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.0)
            .unwrap_or_else(|_| unreachable!("HMAC takes keys of any length"));
        parts.iter().for_each(|part| mac.update(part));
        mac
    }

    fn of_length(path: &Path, bytes: &[u8], least: usize) -> Result<Self, NotifyError> {
        if !(least..=MOST).contains(&bytes.len()) {
            let (path, found) = (path.to_owned(), bytes.len());
            return Err(NotifyError::SecretLength { path, found, least, most: MOST });
        }
        Ok(Self(Zeroizing::new(bytes.to_vec())))
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

/// The content of a file that nobody `forbidden` may use.
pub(crate) fn content(path: &Path, forbidden: u32) -> Result<Zeroizing<Vec<u8>>, NotifyError> {
    let failed = |source| NotifyError::File { path: path.to_owned(), source };
    let file = File::open(path).map_err(failed)?;
    let mode = file.metadata().map_err(failed)?.mode() & 0o7777;
    if mode & forbidden != 0 {
        return Err(NotifyError::Exposed { path: path.to_owned(), mode });
    }
    // Room for all of it from the start: growing would leave copies of the secret behind.
    let mut content = Zeroizing::new(Vec::with_capacity(MOST + 2));
    file.take(MOST as u64 + 1).read_to_end(&mut content).map_err(failed)?;
    Ok(content)
}

/// Puts the key at `path` whole or not at all: written aside, then linked, which never replaces a key already there.
fn create(path: &Path, key: &[u8]) -> io::Result<()> {
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut aside = path.as_os_str().to_owned();
    aside.push(format!(".new-{}-{:08x}", std::process::id(), rand::random::<u32>()));
    let aside = Path::new(&aside);
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(aside)?;
    let linked =
        file.write_all(key).and_then(|()| file.sync_all()).and_then(|()| match fs::hard_link(aside, path) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
            linked => linked,
        });
    fs::remove_file(aside)?;
    linked?;
    File::open(directory)?.sync_all()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn file(content: &[u8], mode: u32) -> (tempfile::TempDir, std::path::PathBuf) {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("secret");
        fs::write(&path, content).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        (directory, path)
    }

    #[test]
    fn a_secret_is_read_without_its_line_end() {
        let (_directory, path) = file(b"  0123456789abcdef\r\n", 0o440);
        assert_eq!(Secret::read(&path).unwrap().bytes(), b"0123456789abcdef");
    }

    #[test]
    fn what_others_can_read_or_guess_is_refused() {
        for mode in [0o604, 0o602, 0o644, 0o601] {
            let (_directory, path) = file(b"0123456789abcdef", mode);
            let error = Secret::read(&path).unwrap_err().to_string();
            assert!(error.contains(&format!("mode {mode:04o}")) && error.contains("chmod"), "{error}");
        }
        for (content, found) in
            [(&b""[..], 0), (b" \n", 0), (b"0123456789abcde\n", 15), (&[b'x'; 5000], 4097)]
        {
            let (_directory, path) = file(content, 0o600);
            let error = Secret::read(&path).unwrap_err().to_string();
            assert!(error.contains(&format!("holds {found} bytes")), "{error}");
        }
        let error = Secret::read(Path::new("/nowhere/secret")).unwrap_err().to_string();
        assert!(error.contains("/nowhere/secret"), "{error}");
    }

    #[test]
    fn a_key_is_made_once_and_then_read() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("links.key");
        let made = Secret::load_or_create(&path).unwrap();
        assert_eq!(made.bytes().len(), KEY_LENGTH);
        assert_eq!(made.bytes(), Secret::load_or_create(&path).unwrap().bytes());
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1, "nothing is left aside");
        create(&path, &[7; KEY_LENGTH]).unwrap();
        assert_eq!(
            made.bytes(),
            Secret::read_key(&path).unwrap().bytes(),
            "a key already there is never replaced"
        );
    }

    #[test]
    fn a_short_key_is_no_key() {
        let (_directory, path) = file(&[1; KEY_LENGTH - 1], 0o600);
        assert!(matches!(
            Secret::load_or_create(&path),
            Err(NotifyError::SecretLength { least: KEY_LENGTH, .. })
        ));
    }

    #[test]
    fn debug_output_hides_it() {
        assert_eq!(format!("{:?}", Secret::new(b"hush".to_vec())), "Secret(..)");
    }
}
