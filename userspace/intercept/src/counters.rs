//! What the programs count, summed over CPUs.

use std::fmt;

use aya::maps::{MapData, PerCpuArray};
use portcullis_abi::maps::COUNTERS;
use portcullis_abi::{Counter, Tally};

use crate::GateError;
use crate::pins::Pins;

/// The programs' counters.
pub struct Counters {
    map: PerCpuArray<MapData, Tally>,
}

impl Counters {
    pub(crate) fn open(pins: &Pins) -> Result<Self, GateError> {
        Ok(Self { map: pins.map(COUNTERS)? })
    }

    /// One counter since the gate was loaded.
    ///
    /// # Errors
    /// [`GateError::Map`]
    pub fn read(&self, counter: Counter) -> Result<Tally, GateError> {
        let cpus = self.map.get(&(counter as u32), 0).map_err(GateError::map(COUNTERS))?;
        Ok(cpus.iter().fold(Tally::default(), |sum, cpu| Tally {
            count: sum.count + cpu.count,
            last: sum.last.max(cpu.last),
        }))
    }
}

impl fmt::Debug for Counters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Counters").finish_non_exhaustive()
    }
}
