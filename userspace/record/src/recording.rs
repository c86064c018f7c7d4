//! Finds recordings in their directory.

use std::path::{Path, PathBuf};

use crate::summary::{Filter, SessionSummary};
use crate::verify::Verification;
use crate::walk::{self, Found, Step, Walk};
use crate::{RecordError, SessionId, segment};

/// The directory of all recordings, to read. Needs no recorder, and may be used beside one.
#[derive(Debug, Clone)]
pub struct Recordings {
    dir: PathBuf,
}

/// One session's recording, to read.
#[derive(Debug, Clone)]
pub struct Recording {
    id: SessionId,
    dir: PathBuf,
}

impl Recordings {
    /// The recordings in `dir`.
    pub fn new(dir: impl Into<PathBuf>) -> Self {
        Self { dir: dir.into() }
    }

    /// Every recording, oldest first.
    ///
    /// # Errors
    /// [`RecordError::Io`].
    pub fn all(&self) -> Result<Vec<Recording>, RecordError> {
        let mut recordings = Vec::new();
        for day in names(&self.dir)?.into_iter().filter(|name| is_day(name)) {
            let day = self.dir.join(day);
            recordings.extend(names(&day)?.into_iter().filter_map(|name| {
                let id: SessionId = name.parse().ok()?;
                Some(Recording { dir: day.join(id.as_str()), id })
            }));
        }
        recordings.sort_unstable_by(|a, b| a.id.cmp(&b.id));
        Ok(recordings)
    }

    /// The sessions that pass `filter`, oldest first.
    ///
    /// # Errors
    /// [`RecordError::Io`].
    pub fn list(&self, filter: &Filter) -> Result<Vec<SessionSummary>, RecordError> {
        let mut summaries = Vec::new();
        for recording in self.all()? {
            let summary = recording.summary()?;
            if summary.passes(filter) {
                summaries.push(summary);
            }
        }
        Ok(summaries)
    }

    /// The one recording whose id begins with `prefix`, or whose six random digits do.
    ///
    /// # Errors
    /// [`RecordError::NotFound`], [`RecordError::Ambiguous`], [`RecordError::Io`].
    pub fn find(&self, prefix: &str) -> Result<Recording, RecordError> {
        let mut matches = self.all()?;
        matches.retain(|recording| recording.id.is_meant_by(prefix));
        match (matches.pop(), matches.len()) {
            (Some(recording), 0) => Ok(recording),
            (None, _) => Err(RecordError::NotFound { prefix: prefix.to_owned(), dir: self.dir.clone() }),
            (Some(last), _) => Err(RecordError::Ambiguous {
                prefix: prefix.to_owned(),
                matches: matches.into_iter().chain([last]).map(|recording| recording.id).collect(),
            }),
        }
    }
}

impl Recording {
    /// Its name.
    pub fn id(&self) -> &SessionId {
        &self.id
    }

    /// Where its segments are.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// What it holds, frame by frame, and every place where it is damaged.
    ///
    /// # Errors
    /// [`RecordError::Io`], here or from the iterator.
    pub fn entries(&self) -> Result<impl Iterator<Item = Result<Found, RecordError>>, RecordError> {
        Ok(self.steps()?.map(|step| {
            step.map(|step| match step {
                Step::Frame(frame) => frame.understand(),
                Step::Damage(damage) => Found::Damage(damage),
            })
        }))
    }

    /// The session in short. Reads all frames but skips the data in them.
    ///
    /// # Errors
    /// [`RecordError::Io`].
    pub fn summary(&self) -> Result<SessionSummary, RecordError> {
        SessionSummary::of(self)
    }

    /// Reads every byte of it and says what is wrong.
    ///
    /// # Errors
    /// [`RecordError::Io`].
    pub fn verify(&self) -> Result<Verification, RecordError> {
        Verification::of(self)
    }

    pub(crate) fn steps(&self) -> Result<Walk, RecordError> {
        Walk::new(&self.dir, &self.id, false)
    }

    /// Whether some process is still writing it.
    pub(crate) fn is_live(&self) -> Result<bool, RecordError> {
        let last = || Ok::<_, RecordError>(walk::segments(&self.dir)?.pop());
        let Some(number) = last()? else { return Ok(false) };
        let path = segment::path_of(&self.dir, number);
        // A writer holds its next segment before it lets go of the last: look whether it went on meanwhile.
        Ok(segment::is_being_written(&path)? || last()? != Some(number))
    }
}

fn names(dir: &Path) -> Result<Vec<String>, RecordError> {
    std::fs::read_dir(dir)
        .map_err(RecordError::io("read", dir))?
        .filter_map(|entry| entry.map(|entry| entry.file_name().into_string().ok()).transpose())
        .collect::<Result<_, _>>()
        .map_err(RecordError::io("read", dir))
}

/// `2026-11-23`.
fn is_day(name: &str) -> bool {
    name.len() == 10
        && name.bytes().enumerate().all(|(at, byte)| match at {
            4 | 7 => byte == b'-',
            _ => byte.is_ascii_digit(),
        })
}
