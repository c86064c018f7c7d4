//! The recorder's part of the configuration.

use std::path::PathBuf;
use std::time::Duration;

use jiff::SignedDuration;
use serde::Deserialize;

use crate::RecordError;

/// `record:` in the configuration.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RecordConfig {
    /// Where the recordings are. Made with mode 0700 if missing; refused if open to others.
    pub dir: PathBuf,
    /// When what was written is forced to the disk.
    #[serde(default)]
    pub fsync: Fsync,
    /// A segment file is closed and the next one begun at this many bytes.
    #[serde(default = "default_segment_bytes")]
    pub segment_bytes: u64,
    /// No new session begins with fewer bytes than this free on the file system.
    #[serde(default = "default_min_free_bytes")]
    pub min_free_bytes: u64,
    /// How long a session waits for the process to connect again after its last connection has closed.
    #[serde(default = "default_linger")]
    pub linger: SignedDuration,
}

/// When what was written is forced to the disk. Either way it is in the kernel's hands, and so survives the
/// death of this process, before a write returns; this is about the death of the machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Fsync {
    /// After every write, before it returns.
    Always,
    /// In the background, this often.
    Interval(SignedDuration),
}

impl RecordConfig {
    /// The defaults, in `dir`.
    pub fn new(dir: impl Into<PathBuf>) -> Self {
        Self {
            dir: dir.into(),
            fsync: Fsync::default(),
            segment_bytes: default_segment_bytes(),
            min_free_bytes: default_min_free_bytes(),
            linger: default_linger(),
        }
    }

    /// How long sessions linger.
    pub(crate) fn linger(&self) -> Result<Duration, RecordError> {
        Duration::try_from(self.linger)
            .map_err(|_| RecordError::Config { field: "linger", reason: "must not be negative" })
    }

    pub(crate) fn check(&self) -> Result<(), RecordError> {
        if self.segment_bytes < 4096 {
            return Err(RecordError::Config { field: "segmentBytes", reason: "must be at least 4096" });
        }
        self.fsync.interval().and(self.linger()).map(drop)
    }
}

impl Fsync {
    /// The interval, if that is the policy.
    pub(crate) fn interval(self) -> Result<Option<Duration>, RecordError> {
        match self {
            Self::Always => Ok(None),
            Self::Interval(interval) => Duration::try_from(interval)
                .ok()
                .filter(|interval| !interval.is_zero())
                .map(Some)
                .ok_or(RecordError::Config { field: "fsync.interval", reason: "must be more than zero" }),
        }
    }
}

impl Default for Fsync {
    fn default() -> Self {
        Self::Interval(SignedDuration::from_secs(1))
    }
}

fn default_segment_bytes() -> u64 {
    64 << 20
}

fn default_min_free_bytes() -> u64 {
    256 << 20
}

fn default_linger() -> SignedDuration {
    SignedDuration::from_secs(2)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(yaml: &str) -> Result<RecordConfig, serde_saphyr::Error> {
        serde_saphyr::from_str(yaml)
    }

    #[test]
    fn reads_both_policies() {
        assert_eq!(parse("dir: /r").unwrap().fsync, Fsync::Interval(SignedDuration::from_secs(1)));
        assert_eq!(parse("dir: /r\nfsync: always").unwrap().fsync, Fsync::Always);
        let interval = parse("dir: /r\nfsync: { interval: 250ms }\nlinger: 5s").unwrap();
        assert_eq!(interval.fsync.interval().unwrap(), Some(Duration::from_millis(250)));
        assert_eq!(interval.linger().unwrap(), Duration::from_secs(5));
    }

    #[test]
    fn refuses_what_cannot_work() {
        assert!(parse("dir: /r\nfsyncs: always").is_err());
        let zero = RecordConfig { fsync: Fsync::Interval(SignedDuration::ZERO), ..RecordConfig::new("/r") };
        assert!(matches!(zero.check(), Err(RecordError::Config { field: "fsync.interval", .. })));
        let small = RecordConfig { segment_bytes: 1, ..RecordConfig::new("/r") };
        assert!(matches!(small.check(), Err(RecordError::Config { field: "segmentBytes", .. })));
        let backwards = RecordConfig { linger: SignedDuration::from_secs(-1), ..RecordConfig::new("/r") };
        assert!(matches!(backwards.check(), Err(RecordError::Config { field: "linger", .. })));
    }
}
