//! The maskers behind a stream.

use std::sync::Arc;
use std::time::Duration;

use portcullis_kube::stream::{MakeMasker, Masker, StreamError};
use portcullis_mask::{CoverMasker, Detectors, JsonMasker, MaskKey, Rules, TerminalMasker, TextMasker};
use tokio::time::Instant;

/// How long output is held back that may turn out to be the beginning of a secret.
pub(super) const HOLD_BACK: Duration = Duration::from_millis(50);

/// What is masked in a stream, and how. Not made for a role that masks nothing.
#[derive(Clone)]
pub(crate) struct Masking {
    pub(crate) detectors: Arc<Detectors>,
    pub(crate) key: MaskKey,
    /// Of the objects that a watch is about.
    pub(crate) rules: Option<Arc<Rules>>,
}

impl Masking {
    /// For stdout and stderr. Without a terminal they may be files, archives even (`kubectl cp`): nothing in them may
    /// change its place.
    pub(super) fn outputs(&self, tty: bool) -> [Box<dyn Masker>; 2] {
        let output = || -> Box<dyn Masker> {
            if tty {
                Box::new(Terminal(TerminalMasker::new(self.detectors(), &self.key), Due::default()))
            } else {
                self.cover()
            }
        };
        [output(), output()]
    }

    /// For the bodies of forwarded HTTP, whose length has been told before.
    pub(super) fn ports(self) -> Box<MakeMasker> {
        Box::new(move || self.cover())
    }

    /// For the events of a watch; none where no object is masked.
    pub(super) fn events(&self) -> Option<Box<dyn Masker>> {
        let rules = Arc::clone(self.rules.as_ref()?);
        Some(Box::new(Events(JsonMasker::new(rules, &self.key))))
    }

    /// For a log, which may be asked for up to some number of bytes.
    pub(super) fn log(&self, cut_off: bool) -> Box<dyn Masker> {
        Box::new(Text(TextMasker::of_log(self.detectors(), &self.key, cut_off), Due::default()))
    }

    /// For what is masked in the recording alone.
    pub(super) fn text(&self) -> TextMasker {
        TextMasker::new(self.detectors(), &self.key)
    }

    fn cover(&self) -> Box<dyn Masker> {
        Box::new(Cover(CoverMasker::new(self.detectors(), &self.key), Due::default()))
    }

    fn detectors(&self) -> Arc<Detectors> {
        Arc::clone(&self.detectors)
    }
}

struct Text(TextMasker, Due);
struct Cover(CoverMasker, Due);
struct Terminal(TerminalMasker, Due);
struct Events(JsonMasker);

/// When what one masker holds back is due. Each has its own: what passes another one changes nothing.
#[derive(Default)]
struct Due(Option<Instant>);

impl Due {
    /// The masker took or gave something. What it gave was held longest, so that what it still holds waits anew.
    fn update(&mut self, holds: bool, given: bool) {
        let before = self.0.filter(|_| !given);
        self.0 = holds.then(|| before.unwrap_or_else(|| Instant::now() + HOLD_BACK));
    }

    fn has_come(&self) -> bool {
        self.0.is_some_and(|due| due <= Instant::now())
    }
}

macro_rules! detecting {
    ($masker:ty { $($more:item)* }) => {
        impl Masker for $masker {
            fn push(&mut self, bytes: &[u8], out: &mut Vec<u8>) -> Result<(), StreamError> {
                let before = out.len();
                self.0.push(bytes, out);
                self.1.update(self.0.holds(), out.len() > before);
                Ok(())
            }

            fn due(&self) -> Option<std::time::Instant> {
                self.1.0.map(Instant::into_std)
            }

            fn flush(&mut self, out: &mut Vec<u8>) -> Result<(), StreamError> {
                if self.1.has_come() {
                    self.0.flush(out);
                    self.1.update(self.0.holds(), true);
                }
                Ok(())
            }

            fn finish(&mut self, out: &mut Vec<u8>) -> Result<(), StreamError> {
                self.0.finish(out);
                self.1 = Due::default();
                Ok(())
            }

            $($more)*
        }
    };
}

detecting!(Text {});
detecting!(Cover {});
detecting!(Terminal {
    fn resize(&mut self, columns: u16) {
        self.0.resize(columns);
    }
});

/// Events are masked one by one, so nothing is ever held.
impl Masker for Events {
    fn push(&mut self, bytes: &[u8], out: &mut Vec<u8>) -> Result<(), StreamError> {
        self.0.push(bytes, out).map_err(|error| StreamError::Unmaskable(error.to_string()))
    }

    fn due(&self) -> Option<std::time::Instant> {
        None
    }

    fn flush(&mut self, _: &mut Vec<u8>) -> Result<(), StreamError> {
        Ok(())
    }

    fn finish(&mut self, _: &mut Vec<u8>) -> Result<(), StreamError> {
        Ok(())
    }
}
