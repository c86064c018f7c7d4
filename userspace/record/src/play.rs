//! Replays what a terminal showed, with the pauses that it had.

use std::io::Write;
use std::time::Duration;

use crate::damage::Damage;
use crate::recording::Recording;
use crate::walk::{Body, Found};
use crate::{Entry, RecordError};

/// How to replay.
#[derive(Debug, Clone, Copy)]
pub struct PlayOptions {
    /// Which stream, by its request; not needed if there is only one.
    pub request: Option<u32>,
    /// 2 is twice as fast. Not a positive number: no pauses at all.
    pub speed: f64,
    /// No recorded pause is taken to be longer.
    pub max_idle: Option<Duration>,
}

impl Default for PlayOptions {
    fn default() -> Self {
        Self { request: None, speed: 1.0, max_idle: None }
    }
}

impl Recording {
    /// Writes a stream's output to `out`, byte for byte and so with its control characters, calling `sleep` for the
    /// pauses between. Returns the places where the recording is damaged: what was there is missing in the replay.
    ///
    /// # Errors
    /// [`RecordError::NoStream`], [`RecordError::NotAStream`], [`RecordError::ManyStreams`], [`RecordError::Io`], and
    /// [`RecordError::Output`] from `out`.
    pub fn play(
        &self,
        options: &PlayOptions,
        out: &mut impl Write,
        mut sleep: impl FnMut(Duration),
    ) -> Result<Vec<Damage>, RecordError> {
        let stream = self.stream(options.request)?;
        let mut last_us = stream.opened_us;
        let mut damaged = Vec::new();
        for found in self.entries()? {
            match found? {
                Found::Damage(damage) => damaged.push(damage),
                Found::Entry(Entry { offset_us, body: Body::Data { request, channel, bytes }, .. })
                    if request == stream.request && stream.shows(channel) =>
                {
                    let pause = options.pause(offset_us.saturating_sub(last_us));
                    if !pause.is_zero() {
                        sleep(pause);
                    }
                    last_us = offset_us;
                    out.write_all(&bytes)?;
                    out.flush()?;
                }
                Found::Entry(_) => {}
            }
        }
        Ok(damaged)
    }
}

impl PlayOptions {
    fn pause(&self, recorded_us: u64) -> Duration {
        let pause = Duration::from_micros(recorded_us);
        let pause = self.max_idle.map_or(pause, |longest| pause.min(longest));
        // Division by zero and the like give what is no duration.
        Duration::try_from_secs_f64(pause.as_secs_f64() / self.speed).unwrap_or(Duration::ZERO)
    }
}
