//! Files that appear whole or not at all, and never with a looser mode than they end with.

use std::{
    fs::{File, Metadata, Permissions},
    io::{self, Write as _},
    os::unix::fs::{MetadataExt as _, PermissionsExt as _, fchown},
    path::Path,
};

use tempfile::NamedTempFile;

use crate::TlsError;

/// Who may do what with a file.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Access {
    /// Permission bits.
    pub(crate) mode: u32,
    /// Uid and gid; `None` for our own.
    pub(crate) owner: Option<(u32, u32)>,
}

impl Access {
    pub(crate) const fn ours(mode: u32) -> Self {
        Self { mode, owner: None }
    }

    pub(crate) fn of(metadata: &Metadata) -> Self {
        Self { mode: metadata.mode() & 0o7777, owner: Some((metadata.uid(), metadata.gid())) }
    }
}

/// Makes a file that must not exist yet. `Ok(false)`: it exists, and was left alone.
pub(crate) fn create(path: &Path, content: &[u8], access: Access) -> Result<bool, TlsError> {
    let temp = written(path, content, access).map_err(TlsError::io("write", path))?;
    match temp.persist_noclobber(path) {
        Ok(_) => sync_directory(path).map_err(TlsError::io("write", path)).map(|()| true),
        Err(error) if error.error.kind() == io::ErrorKind::AlreadyExists => Ok(false),
        Err(error) => Err(TlsError::io("create", path)(error.error)),
    }
}

/// Puts new content in the place of a file; whoever reads it sees all of the old or all of the new.
pub(crate) fn replace(path: &Path, content: &[u8], access: Access) -> Result<(), TlsError> {
    let write = || {
        written(path, content, access)?.persist(path)?;
        sync_directory(path)
    };
    write().map_err(TlsError::io("write", path))
}

/// A synced temporary file beside `path`; until it has its content and owner, only we can open it.
fn written(path: &Path, content: &[u8], access: Access) -> io::Result<NamedTempFile> {
    let mut temp = tempfile::Builder::new()
        .prefix(".portcullis-")
        .permissions(Permissions::from_mode(0o600))
        .tempfile_in(directory(path))?;
    temp.write_all(content)?;
    let file = temp.as_file();
    if let Some((uid, gid)) = access.owner
        && Access::of(&file.metadata()?).owner != access.owner
    {
        fchown(file, Some(uid), Some(gid))?;
    }
    file.set_permissions(Permissions::from_mode(access.mode))?;
    file.sync_all()?;
    Ok(temp)
}

fn sync_directory(path: &Path) -> io::Result<()> {
    File::open(directory(path))?.sync_all()
}

fn directory(path: &Path) -> &Path {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}
