//! cgroup v2: where it is mounted, who is where.
//!
//! Hybrid hosts mount it at `/sys/fs/cgroup/unified`, unified ones at `/sys/fs/cgroup`: mountinfo knows.

use std::collections::HashSet;
use std::ffi::OsString;
use std::fs;
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use nix::sys::statfs::{self, CGROUP2_SUPER_MAGIC};
use portcullis_identity::CgroupId;

use crate::GateError;

/// The id of the root of the hierarchy (the root inode of kernfs).
const ROOT: CgroupId = CgroupId(1);

/// A cgroup v2 directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Cgroup {
    pub(crate) path: PathBuf,
    pub(crate) id: CgroupId,
}

impl Cgroup {
    /// The cgroup at `path`.
    pub(crate) fn at(path: &Path) -> Result<Self, GateError> {
        let path = fs::canonicalize(path).map_err(GateError::path("find the cgroup", path))?;
        let kind = statfs::statfs(&path)
            .map_err(|errno| GateError::path("look at the cgroup", &path)(errno.into()))?;
        if kind.filesystem_type() != CGROUP2_SUPER_MAGIC {
            return Err(GateError::Config(format!(
                "cgroup: {} is not a cgroup v2 directory",
                path.display()
            )));
        }
        let id = id_of(&path)?;
        Ok(Self { path, id })
    }

    /// The root of the host's cgroup2 file system.
    pub(crate) fn root() -> Result<Self, GateError> {
        let mounts = mounts()?;
        let mount = mounts.iter().find(|mount| mount.root == Path::new("/"));
        let mount =
            mount.ok_or_else(|| GateError::Config("cgroup: no cgroup2 file system is mounted".to_owned()))?;
        Self::at(&mount.point)
    }

    /// The cgroup of this process.
    pub(crate) fn own() -> Result<Self, GateError> {
        const FILE: &str = "/proc/self/cgroup";
        let text = fs::read_to_string(FILE).map_err(GateError::path("read", FILE))?;
        let path = text.lines().find_map(|line| line.strip_prefix("0::"));
        let path = path.ok_or_else(|| GateError::Config(format!("{FILE} has no cgroup v2 line")))?;
        for mount in mounts()? {
            if let Ok(below) = Path::new(path).strip_prefix(&mount.root) {
                let named = Self::at(&mount.point.join(below))?;
                if named.holds_us()? {
                    return Ok(named);
                }
            }
        }
        // In a container the path is told from a cgroup namespace's own root, while the host's hierarchy is mounted.
        for mount in mounts()? {
            if let Some(found) = Self::search(&mount.point)? {
                return Ok(found);
            }
        }
        Err(GateError::Config(format!("no mounted cgroup2 file system shows this process's cgroup {path}")))
    }

    /// Whether this process is in exactly this cgroup.
    fn holds_us(&self) -> Result<bool, GateError> {
        let file = self.path.join("cgroup.procs");
        let own = std::process::id().to_string();
        match fs::read_to_string(&file) {
            Ok(pids) => Ok(pids.lines().any(|pid| pid == own)),
            // Gone since it was listed, or a threaded one, which processes are not in.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(false),
            Err(error) if error.raw_os_error() == Some(nix::libc::EOPNOTSUPP) => Ok(false),
            Err(error) => Err(GateError::path("read", file)(error)),
        }
    }

    /// The cgroup of this process at or below `top`.
    fn search(top: &Path) -> Result<Option<Self>, GateError> {
        let mut left = vec![top.to_owned()];
        while let Some(dir) = left.pop() {
            let Ok(cgroup) = Self::at(&dir) else { continue };
            if cgroup.holds_us()? {
                return Ok(Some(cgroup));
            }
            let entries = fs::read_dir(&dir).into_iter().flatten().flatten();
            left.extend(entries.map(|entry| entry.path()).filter(|path| path.is_dir()));
        }
        Ok(None)
    }

    /// Whether it is the root of the hierarchy.
    pub(crate) fn is_root(&self) -> bool {
        self.id == ROOT
    }

    /// Whether it is below `other`.
    pub(crate) fn is_below(&self, other: &Cgroup) -> Result<bool, GateError> {
        if other.is_root() {
            return Ok(!self.is_root());
        }
        for parent in self.path.ancestors().skip(1) {
            let inside =
                statfs::statfs(parent).is_ok_and(|kind| kind.filesystem_type() == CGROUP2_SUPER_MAGIC);
            if !inside {
                return Ok(false);
            }
            if id_of(parent)? == other.id {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// The ids of this cgroup and all below it.
    pub(crate) fn tree(&self) -> Result<HashSet<CgroupId>, GateError> {
        let mut ids = HashSet::from([self.id]);
        let mut left = vec![self.path.clone()];
        while let Some(dir) = left.pop() {
            let entries = match fs::read_dir(&dir) {
                Ok(entries) => entries,
                // cgroups come and go; one that is gone has no sockets to look for.
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
                Err(error) => return Err(GateError::path("list the cgroup", dir)(error)),
            };
            for path in entries.flatten().map(|entry| entry.path()).filter(|path| path.is_dir()) {
                if let Ok(id) = id_of(&path) {
                    ids.insert(id);
                    left.push(path);
                }
            }
        }
        Ok(ids)
    }
}

/// The inode number of its directory, where inode numbers have 64 bits.
fn id_of(path: &Path) -> Result<CgroupId, GateError> {
    let metadata = fs::metadata(path).map_err(GateError::path("look at the cgroup", path))?;
    Ok(CgroupId(metadata.ino()))
}

/// A mounted cgroup2 file system.
#[derive(Debug, PartialEq, Eq)]
struct Mount {
    /// Which part of the hierarchy, seen from this process's cgroup namespace.
    root: PathBuf,
    point: PathBuf,
}

fn mounts() -> Result<Vec<Mount>, GateError> {
    const FILE: &str = "/proc/self/mountinfo";
    let text = fs::read(FILE).map_err(GateError::path("read", FILE))?;
    Ok(text.split(|&byte| byte == b'\n').filter_map(cgroup2_mount).collect())
}

/// proc(5), `/proc/[pid]/mountinfo`: root and mount point are fields 4 and 5, the type follows a lone dash.
fn cgroup2_mount(line: &[u8]) -> Option<Mount> {
    let mut fields = line.split(|&byte| byte == b' ');
    let (root, point) = (fields.nth(3)?, fields.next()?);
    let kind = fields.skip_while(|&field| field != b"-").nth(1)?;
    (kind == b"cgroup2").then(|| Mount { root: unescape(root), point: unescape(point) })
}

/// Space, tab, newline and backslash are written `\ooo`.
fn unescape(field: &[u8]) -> PathBuf {
    let mut bytes = Vec::with_capacity(field.len());
    let mut rest = field;
    while let [first, tail @ ..] = rest {
        match rest {
            [b'\\', a @ b'0'..=b'3', b @ b'0'..=b'7', c @ b'0'..=b'7', tail @ ..] => {
                bytes.push((a - b'0') << 6 | (b - b'0') << 3 | (c - b'0'));
                rest = tail;
            }
            _ => {
                bytes.push(*first);
                rest = tail;
            }
        }
    }
    OsString::from_vec(bytes).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mountinfo_is_read_as_documented() {
        let hybrid =
            b"41 31 0:38 / /sys/fs/cgroup/unified rw,relatime shared:9 master:2 - cgroup2 cgroup2 rw";
        let point = PathBuf::from("/sys/fs/cgroup/unified");
        assert_eq!(cgroup2_mount(hybrid), Some(Mount { root: "/".into(), point }));
        assert_eq!(cgroup2_mount(b"32 31 0:29 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu"), None);
        assert_eq!(cgroup2_mount(b""), None);
        let odd = br"1 2 0:3 /a\040b /m\134n rw - cgroup2 none rw";
        assert_eq!(cgroup2_mount(odd), Some(Mount { root: "/a b".into(), point: r"/m\n".into() }));
    }

    #[test]
    fn this_process_has_a_cgroup() {
        let own = Cgroup::own().unwrap();
        let root = Cgroup::root().unwrap();
        assert!(root.is_root());
        assert_eq!(own.is_below(&root).unwrap(), own != root);
        assert!(!root.is_below(&own).unwrap());
    }

    /// As in a container: `/proc/self/cgroup` says `/`, and the host's hierarchy is what is mounted.
    #[test]
    fn a_process_in_a_cgroup_namespace_finds_itself() {
        const EXPECTED: &str = "PORTCULLIS_TEST_CGROUP";
        if let Ok(expected) = std::env::var(EXPECTED) {
            assert_eq!(Cgroup::own().unwrap().path, Path::new(&expected));
            return;
        }
        let name = format!("portcullis-test-namespace-{}", std::process::id());
        let dir = Cgroup::root().unwrap().path.join(name);
        fs::create_dir(&dir).unwrap();
        let ran = std::process::Command::new("sh")
            .args(["-c", r#"echo $$ > "$0/cgroup.procs" && exec unshare --cgroup "$@""#])
            .arg(&dir)
            .arg(std::env::current_exe().unwrap())
            .args(["--exact", "cgroup::tests::a_process_in_a_cgroup_namespace_finds_itself"])
            .env(EXPECTED, &dir)
            .output()
            .unwrap();
        fs::remove_dir(&dir).unwrap();
        assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stdout));
    }

    #[test]
    fn other_directories_are_refused() {
        let error = Cgroup::at(Path::new("/proc")).unwrap_err().to_string();
        assert!(error.contains("/proc is not a cgroup v2 directory"), "{error}");
    }
}
