//! Whose connects pass: exactly the daemon's cgroup, and those that the configuration names.

use std::collections::{BTreeSet, HashSet};
use std::path::PathBuf;

use aya::maps::{HashMap, MapData, MapError};
use portcullis_abi::maps::EXEMPT;
use portcullis_identity::CgroupId;

use crate::GateError;
use crate::cgroup::Cgroup;
use crate::pins::Pins;

/// The exempt cgroups.
#[derive(Debug)]
pub struct Exemptions {
    map: HashMap<MapData, u64, u32>,
    daemon: Option<Cgroup>,
}

impl Exemptions {
    pub(crate) fn open(pins: &Pins) -> Result<Self, GateError> {
        Ok(Self { map: pins.map(EXEMPT)?, daemon: None })
    }

    /// Their ids.
    ///
    /// # Errors
    /// [`GateError::Map`]
    pub fn ids(&self) -> Result<HashSet<CgroupId>, GateError> {
        self.map
            .keys()
            .map(|id| id.map(CgroupId))
            .collect::<Result<_, MapError>>()
            .map_err(GateError::map(EXEMPT))
    }

    /// Looks again for the configured cgroups: services come back with new ones.
    ///
    /// # Errors
    /// As of [`GateError`], when a cgroup must not be exempt or the map is full.
    pub(crate) fn refresh(&mut self, attached: &Cgroup, configured: &[PathBuf]) -> Result<(), GateError> {
        match self.daemon.clone() {
            Some(daemon) => self.replace(attached, daemon, configured),
            None => self.add(attached, configured),
        }
    }

    /// Exempts the configured cgroups besides those that are.
    pub(crate) fn add(&mut self, attached: &Cgroup, configured: &[PathBuf]) -> Result<(), GateError> {
        existing(attached, configured)?.into_iter().try_for_each(|id| self.insert(id))
    }

    /// Exempts the daemon's and the configured cgroups, and no others.
    pub(crate) fn replace(
        &mut self,
        attached: &Cgroup,
        daemon: Cgroup,
        configured: &[PathBuf],
    ) -> Result<(), GateError> {
        let mut wanted = existing(attached, configured)?;
        wanted.insert(daemon.id);
        self.daemon = Some(daemon);
        wanted.iter().try_for_each(|&id| self.insert(id))?;
        for stale in self.ids()?.into_iter().filter(|id| !wanted.contains(id)) {
            self.map.remove(&stale.0).map_err(GateError::map(EXEMPT))?;
        }
        Ok(())
    }

    fn insert(&mut self, id: CgroupId) -> Result<(), GateError> {
        self.map.insert(id.0, 1, 0).map_err(GateError::map(EXEMPT))
    }
}

/// The ids of those of the configured cgroups that exist.
fn existing(attached: &Cgroup, configured: &[PathBuf]) -> Result<BTreeSet<CgroupId>, GateError> {
    let mut ids = BTreeSet::new();
    for path in configured {
        match path.try_exists() {
            Ok(true) => {}
            Ok(false) => {
                tracing::warn!(cgroup = %path.display(), "an exempt cgroup does not exist yet");
                continue;
            }
            Err(error) => return Err(GateError::path("look at the exempt cgroup", path)(error)),
        }
        let cgroup = Cgroup::at(path)?;
        if cgroup.is_root() || cgroup.id == attached.id {
            let why = format!("exempt: {} is what the gate is attached to", path.display());
            return Err(GateError::Config(why));
        }
        ids.insert(cgroup.id);
    }
    Ok(ids)
}
