//! Detectors: secrets known by what they look like, in text of any kind. Logs, terminals, strings that rules keep.
//!
//! Three bytes tell where one may be ([`grams`]); its detector looks at what stands there and says yes, no, or that more
//! has to come. The [`Scanner`] asks them in a stream, in constant memory.

mod alphabet;
mod assignment;
mod authorization;
mod aws;
mod config;
mod grams;
mod jwt;
mod pem;
mod personal;
mod reference;
mod scanner;
mod token;
mod url;
mod value;
mod view;

use std::sync::{Arc, LazyLock};

use assignment::{KEYWORDS, Keyword};
use authorization::Scheme;
use grams::Grams;
use token::Token;
use view::{Hold, Secret, Verdict, View};

use alphabet::Alphabet;
pub use config::{DetectorConfig, DetectorError, Pattern, Personal};
pub(crate) use scanner::{Scanner, Sink};

/// A compiled set of detectors. The default: all that find credentials, none that find personal data.
#[derive(Debug)]
pub struct Detectors {
    grams: Grams,
    detectors: Vec<Detector>,
    personal: Vec<Personal>,
    /// Secret keys of AWS are looked for beside their ids.
    aws: bool,
    /// What tokens begin with, as far as it is shorter than a gram.
    starts: Vec<[u8; 2]>,
}

#[derive(Debug)]
enum Detector {
    Token(Token),
    /// After it, a secret key is looked for.
    AwsId(Token),
    Jwt,
    Pem,
    Url,
    Authorization(Scheme),
    Assignment(Keyword),
}

/// What comes next in a stretch.
enum Next {
    /// A secret. After some, a secret key of AWS is to be looked for.
    Secret { secret: Secret, names_key: bool },
    /// None that can be told yet. The search goes on at `resume`, and what is from `hold` on is held back.
    Wait { resume: usize, hold: usize },
}

const JWT: &str = "jwt";
const PEM: &str = "private-key";
const URL: &str = "connection-string";
const AUTHORIZATION: &str = "authorization";
const ASSIGNMENT: &str = "assignment";
const AWS_ID: &str = "aws-access-key";
const AWS_SECRET: &str = "aws-secret-key";

impl Detectors {
    /// Compiles what `config` wants.
    ///
    /// # Errors
    /// [`DetectorError`] for a name that no detector has, and for a pattern that says too little.
    pub fn new(config: &DetectorConfig) -> Result<Self, DetectorError> {
        if let Some(name) = config.off.iter().find(|name| !Self::names().contains(&name.as_str())) {
            return Err(DetectorError::Unknown { name: name.clone(), known: Self::names() });
        }
        let is_on = |name: &str| !config.off.iter().any(|off| off == name);
        let mut detectors = Vec::new();
        for &(name, prefix, alphabet, least, most) in token::KNOWN.iter().filter(|known| is_on(known.0)) {
            let token = Token { prefix: prefix.into(), alphabet, least, most };
            detectors.push(if name == AWS_ID { Detector::AwsId(token) } else { Detector::Token(token) });
        }
        for pattern in &config.patterns {
            detectors.push(Detector::Token(pattern.compile()?));
        }
        detectors.extend(is_on(JWT).then_some(Detector::Jwt));
        detectors.extend(is_on(PEM).then_some(Detector::Pem));
        detectors.extend(is_on(URL).then_some(Detector::Url));
        if is_on(AUTHORIZATION) {
            detectors.extend([Scheme::Bearer, Scheme::Basic].map(Detector::Authorization));
        }
        if is_on(ASSIGNMENT) {
            detectors.extend(KEYWORDS.iter().copied().map(Detector::Assignment));
        }
        Ok(Self::compile(detectors, config.personal.clone(), is_on(AWS_ID) && is_on(AWS_SECRET)))
    }

    /// The default set, compiled once.
    pub(crate) fn shared() -> Arc<Self> {
        static SHARED: LazyLock<Arc<Detectors>> = LazyLock::new(Arc::default);
        Arc::clone(&SHARED)
    }

    /// The names of the built-in detectors.
    pub fn names() -> Vec<&'static str> {
        let mut names: Vec<&str> = token::KNOWN.iter().map(|known| known.0).collect();
        names.dedup();
        names.extend([AWS_SECRET, JWT, PEM, URL, AUTHORIZATION, ASSIGNMENT]);
        names
    }

    fn compile(detectors: Vec<Detector>, personal: Vec<Personal>, aws: bool) -> Self {
        let grams = (0..)
            .zip(&detectors)
            .flat_map(|(at, detector)| detector.grams().into_iter().map(move |gram| (gram, at)));
        let starts =
            detectors.iter().filter_map(Detector::start).filter_map(|start| start.first_chunk().copied());
        Self { grams: Grams::new(grams), starts: starts.collect(), detectors, personal, aws }
    }

    /// Whether a secret, or a part of one, may be in `text`; if not, there is none.
    #[inline]
    pub(crate) fn may_find(&self, text: &[u8]) -> bool {
        !self.personal.is_empty() || self.grams.find(text, 0).is_some()
    }

    /// The next secret from `from` on. Up to `beside` secret keys of AWS are looked for.
    fn next(&self, view: View<'_>, from: usize, beside: usize) -> Next {
        let mut at = from;
        // The first candidate that cannot be told yet; what comes after it may have to be held back as well.
        let mut undecided: Option<(usize, usize)> = None;
        let gram = |at| self.grams.find(view.bytes, at);
        let key = |at| if at < beside { aws::find(view, at, beside) } else { None };
        let person =
            |at| if self.personal.is_empty() { None } else { personal::find(&self.personal, view, at) };
        let mut ahead = [gram(at), key(at), person(at)];
        loop {
            // What was found further ahead is still there.
            let passed = ahead.map(|found| found.is_some_and(|found| found < at));
            if passed[0] {
                ahead[0] = gram(at);
            }
            if passed[1] {
                ahead[1] = key(at);
            }
            if passed[2] {
                ahead[2] = person(at);
            }
            let [gram, key, person] = ahead;
            let Some(anchor) = [gram, key, person].into_iter().flatten().min() else {
                let hold = self.hold(view, at);
                let incomplete = view.bytes.len().saturating_sub(grams::LENGTH - 1).max(from);
                return match undecided {
                    Some((anchor, first)) => {
                        Next::Wait { resume: anchor.min(incomplete), hold: first.min(hold) }
                    }
                    None => Next::Wait { resume: incomplete, hold },
                };
            };
            match (self.verify(view, anchor, gram, key, person), undecided) {
                (Ok(None), _) => {}
                (Ok(Some((secret, names_key))), None) => return Next::Secret { secret, names_key },
                (Ok(Some((secret, _))), Some((anchor, hold))) => {
                    return Next::Wait { resume: anchor, hold: hold.min(secret.start) };
                }
                (Err(Hold(hold)), None) => undecided = Some((anchor, hold.min(view.bytes.len()))),
                (Err(Hold(hold)), Some((anchor, first))) => undecided = Some((anchor, first.min(hold))),
            }
            at = anchor + 1;
        }
    }

    /// Asks all that may know what stands at `anchor`.
    fn verify(
        &self,
        view: View<'_>,
        anchor: usize,
        gram: Option<usize>,
        key: Option<usize>,
        person: Option<usize>,
    ) -> Result<Option<(Secret, bool)>, Hold> {
        let mut undecided: Option<Hold> = None;
        let mut note = |verdict: Verdict| match verdict {
            Ok(found) => found,
            Err(Hold(hold)) => {
                undecided = Some(Hold(undecided.map_or(hold, |Hold(other)| other.min(hold))));
                None
            }
        };
        if gram == Some(anchor) {
            for at in self.grams.at(view.bytes, anchor) {
                let detector = &self.detectors[usize::from(at)];
                if let Some(secret) = note(detector.verify(view, anchor)) {
                    return Ok(Some((secret, matches!(detector, Detector::AwsId(_)))));
                }
            }
        }
        let key = (key == Some(anchor)).then(|| note(aws::verify(view, anchor))).flatten();
        let found = key.or_else(|| {
            (person == Some(anchor)).then(|| note(personal::verify(&self.personal, view, anchor))).flatten()
        });
        match (found, undecided) {
            (Some(secret), _) => Ok(Some((secret, false))),
            (None, Some(hold)) => Err(hold),
            (None, None) => Ok(None),
        }
    }

    /// Where the start of a token may be that is not yet long enough for a gram.
    fn hold(&self, view: View<'_>, from: usize) -> usize {
        let length = view.bytes.len();
        if view.ended {
            return length;
        }
        let begins = |at: &usize| {
            let start = &view.bytes[*at..];
            self.starts.iter().any(|known| known.starts_with(start)) && !view.inside_word(*at)
        };
        (length.saturating_sub(2).max(from)..length).find(begins).unwrap_or(length)
    }
}

impl Default for Detectors {
    fn default() -> Self {
        Self::new(&DetectorConfig::default()).expect("nothing is wrong with wanting nothing else")
    }
}

impl Detector {
    /// What each secret of this kind begins with, where that is a part of it.
    fn start(&self) -> Option<&[u8]> {
        match self {
            Self::Token(token) | Self::AwsId(token) => Some(&token.prefix),
            Self::Jwt => Some(&jwt::START),
            Self::Pem => Some(pem::START),
            Self::Url | Self::Authorization(_) | Self::Assignment(_) => None,
        }
    }

    fn grams(&self) -> Vec<[u8; grams::LENGTH]> {
        let gram = |text: &[u8]| text.first_chunk().copied();
        match self {
            Self::Url => url::SIGNS.iter().filter_map(|sign| gram(sign)).collect(),
            Self::Authorization(scheme) => gram(scheme.name().1).into_iter().collect(),
            Self::Assignment(keyword) => gram(&keyword.word.as_bytes()[keyword.gram..]).into_iter().collect(),
            _ => self.start().and_then(gram).into_iter().collect(),
        }
    }

    fn verify(&self, view: View<'_>, anchor: usize) -> Verdict {
        match self {
            Self::Token(token) | Self::AwsId(token) => token.verify(view, anchor),
            Self::Jwt => jwt::verify(view, anchor),
            Self::Pem => pem::verify(view, anchor),
            Self::Url => url::verify(view, anchor),
            Self::Authorization(scheme) => scheme.verify(view, anchor),
            Self::Assignment(keyword) => keyword.verify(view, anchor),
        }
    }
}
