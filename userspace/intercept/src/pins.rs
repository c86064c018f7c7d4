//! The pin directory: what `gate load` leaves on the BPF file system, and what everybody else opens.

use std::fs::{self, DirBuilder, File};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use aya::maps::{Array, Map, MapData, MapError, MapInfo};
use nix::fcntl::{Flock, FlockArg};
use nix::mount::{MsFlags, mount};
use nix::sys::statfs::{self, BPF_FS_MAGIC};
use portcullis_abi::{self as abi, Address, Counter, Endpoint, Record, Settings, Tally, Tuple, maps};

use crate::cgroup::Cgroup;
use crate::{GateError, sys};

/// Where systemd, and every howto, mounts the BPF file system.
const BPFFS: &str = "/sys/fs/bpf";

/// The programs that are attached, in the order of attaching: connects are redirected only when everything
/// that a redirected connect needs is there. Links are pinned under these names.
pub(crate) const HOOKS: [&str; 8] =
    ["handoff", "getpeername4", "getpeername6", "bind4", "bind6", EGRESS, "connect4", "connect6"];
/// The optional one.
pub(crate) const EGRESS: &str = "egress";

/// Name, key size, value size and entries of every map, as this build's programs want them.
const SHAPES: [(&str, usize, usize, usize); maps::ALL.len()] = [
    (maps::SETTINGS, size_of::<u32>(), size_of::<Settings>(), 1),
    (maps::ENDPOINTS, size_of::<Address>(), size_of::<Endpoint>(), abi::MAX_ENDPOINTS),
    (maps::EXEMPT, size_of::<u64>(), size_of::<u32>(), abi::MAX_EXEMPT),
    (maps::RECORDS, size_of::<i32>(), size_of::<Record>(), 0),
    (maps::HANDOFF, size_of::<Tuple>(), size_of::<Record>(), abi::MAX_HANDOFFS),
    (maps::COUNTERS, size_of::<u32>(), size_of::<Tally>(), Counter::ALL.len()),
];

/// A pin directory.
#[derive(Debug, Clone)]
pub(crate) struct Pins {
    dir: PathBuf,
}

impl Pins {
    pub(crate) fn new(dir: &Path) -> Self {
        Self { dir: dir.to_owned() }
    }

    /// Mounts the BPF file system and makes the directory where they are missing.
    pub(crate) fn prepare(&self) -> Result<(), GateError> {
        let parent = self.dir.parent().unwrap_or(Path::new("/"));
        if !on_bpffs(parent)? {
            if parent != Path::new(BPFFS) {
                let why = format!("pinDir: {} is not on a BPF file system", self.dir.display());
                return Err(GateError::Config(why));
            }
            let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
            mount(Some("bpf"), parent, Some("bpf"), flags, Some("mode=700"))
                .map_err(|errno| GateError::path("mount the BPF file system on", parent)(errno.into()))?;
        }
        match DirBuilder::new().mode(0o700).create(&self.dir) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                Err(GateError::path("make the pin directory", &self.dir)(error))
            }
            _ => Ok(()),
        }
    }

    /// Keeps other loads and unloads out until it is dropped.
    pub(crate) fn lock(&self) -> Result<Flock<File>, GateError> {
        let dir = File::open(&self.dir).map_err(|source| self.missing_or("open", &self.dir, source))?;
        Flock::lock(dir, FlockArg::LockExclusive)
            .map_err(|(_, errno)| GateError::path("lock", &self.dir)(errno.into()))
    }

    /// Where a map or link is pinned.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    /// Whether nothing is pinned.
    pub(crate) fn is_empty(&self) -> Result<bool, GateError> {
        match fs::read_dir(&self.dir) {
            Ok(mut entries) => Ok(entries.next().is_none()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(true),
            Err(error) => Err(GateError::path("list", &self.dir)(error)),
        }
    }

    /// A pinned map.
    pub(crate) fn map<M: TryFrom<Map, Error = MapError>>(&self, name: &'static str) -> Result<M, GateError> {
        let path = self.path(name);
        if !path.exists() {
            return Err(GateError::NotLoaded(path));
        }
        MapData::from_pin(path)
            .and_then(Map::from_map_data)
            .and_then(M::try_from)
            .map_err(GateError::map(name))
    }

    /// What `gate load` told the programs.
    pub(crate) fn settings(&self) -> Result<Settings, GateError> {
        let map: Array<MapData, Settings> = self.map(maps::SETTINGS)?;
        let settings = map.get(&0, 0).map_err(GateError::map(maps::SETTINGS))?;
        if settings.version != abi::VERSION {
            let found = format!("version {}, this is version {}", settings.version, abi::VERSION);
            return Err(GateError::OtherVersion { path: self.path(maps::SETTINGS), found });
        }
        Ok(settings)
    }

    /// A pinned link, if there is one.
    pub(crate) fn link(&self, hook: &str) -> Result<Option<OwnedFd>, GateError> {
        let path = self.path(hook);
        match sys::open_pin(&path) {
            Ok(link) => Ok(Some(link)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(GateError::path("open the link", path)(error)),
        }
    }

    /// Refuses pins that this build's programs cannot share: maps of other shapes, links to another cgroup.
    pub(crate) fn check(&self, cgroup: &Cgroup) -> Result<(), GateError> {
        for (name, key, value, entries) in SHAPES {
            let path = self.path(name);
            if !path.exists() {
                continue;
            }
            let info = MapInfo::from_pin(&path).map_err(GateError::map(name))?;
            let pinned = (info.key_size() as usize, info.value_size() as usize, info.max_entries() as usize);
            if pinned != (key, value, entries) {
                let found = format!("sizes {pinned:?}, not {:?}", (key, value, entries));
                return Err(GateError::OtherVersion { path, found });
            }
        }
        for hook in HOOKS {
            let Some(link) = self.link(hook)? else { continue };
            let attached =
                sys::link_info(link.as_fd()).map_err(GateError::system("ask about a link"))?.cgroup;
            if attached != 0 && attached != cgroup.id.0 {
                let path = cgroup.path.clone();
                return Err(GateError::OtherCgroup { attached, configured: cgroup.id.0, path });
            }
        }
        Ok(())
    }

    /// Removes one pin; whether it was there.
    pub(crate) fn remove(&self, name: &str) -> Result<bool, GateError> {
        let path = self.path(name);
        match fs::remove_file(&path) {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(GateError::path("remove the pin", path)(error)),
        }
    }

    /// Detaches a program and removes its pin; whether it was there.
    pub(crate) fn detach(&self, hook: &str) -> Result<bool, GateError> {
        if let Some(link) = self.link(hook)? {
            sys::detach_link(link.as_fd()).map_err(GateError::path("detach", self.path(hook)))?;
        }
        self.remove(hook)
    }

    /// Detaches everything, removes every pin and the directory. Connects go first, so that none is redirected
    /// to nothing.
    pub(crate) fn remove_all(&self) -> Result<bool, GateError> {
        let mut removed = false;
        for hook in HOOKS.into_iter().rev() {
            removed |= self.detach(hook)?;
        }
        for map in maps::ALL {
            removed |= self.remove(map)?;
        }
        match fs::remove_dir(&self.dir) {
            Ok(()) => Ok(removed),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(removed),
            Err(error) => Err(GateError::path("remove the pin directory", &self.dir)(error)),
        }
    }

    fn missing_or(&self, what: &'static str, path: &Path, source: io::Error) -> GateError {
        if source.kind() == io::ErrorKind::NotFound {
            GateError::NotLoaded(path.to_owned())
        } else {
            GateError::path(what, path)(source)
        }
    }
}

fn on_bpffs(path: &Path) -> Result<bool, GateError> {
    let kind = statfs::statfs(path).map_err(|errno| GateError::path("look at", path)(errno.into()))?;
    Ok(kind.filesystem_type() == BPF_FS_MAGIC)
}
