//! Which detectors run, as a mask policy says it.

use serde::Deserialize;

use super::alphabet::Alphabet;
use super::token::Token;

/// Which detectors run: all built-in ones but those `off`, no personal data but what is asked for, and patterns of one's own.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase", default)]
pub struct DetectorConfig {
    /// Built-in detectors that do not run, by name; see [`Detectors::names`](super::Detectors::names).
    pub off: Vec<String>,
    /// Personal data that is looked for as well.
    pub personal: Vec<Personal>,
    /// What else is secret here.
    pub patterns: Vec<Pattern>,
}

/// Personal data with a form that can be checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Personal {
    /// Numbers of payment cards, by their check digit (ISO/IEC 7812-1).
    Card,
    /// International bank account numbers, by their check digits (ISO 13616).
    Iban,
    /// US social security numbers, by the ranges that are given out.
    Ssn,
    /// E-mail addresses.
    Email,
}

/// A secret of one's own: fixed letters and a run of others.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Pattern {
    /// What it is called.
    pub name: String,
    /// What it begins with: at least three bytes.
    pub prefix: String,
    /// What follows is spelled in: `A-Za-z0-9_-`.
    pub charset: String,
    /// The fewest bytes that follow.
    pub least: usize,
    /// The most bytes that follow (at most 4096); what goes on past it is something else. Without, it may be of any length.
    #[serde(default)]
    pub most: Option<usize>,
}

/// Detectors that cannot be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DetectorError {
    /// A name in `off` that no detector has.
    #[error("no detector is called {name:?}; there are {}", known.join(", "))]
    Unknown {
        /// The name.
        name: String,
        /// The names that there are.
        known: Vec<&'static str>,
    },
    /// A pattern that says too little, or nothing that can be found.
    #[error("pattern {name:?}: {fault}")]
    Pattern {
        /// The pattern's name.
        name: String,
        /// What is wrong with it.
        fault: &'static str,
    },
}

/// The longest bounded secret; the most that is held back for one.
const MOST: usize = 4096;

impl Pattern {
    pub(super) fn compile(&self) -> Result<Token, DetectorError> {
        let fault = match self {
            Self { prefix, .. } if prefix.len() < 3 || prefix.len() > 64 => "the prefix has 3 to 64 bytes",
            Self { prefix, .. } if prefix.contains('\\') || prefix.contains('"') => {
                "the prefix has no quotes and no backslashes"
            }
            Self { charset, .. }
                if charset.is_empty() || !charset.bytes().all(|byte| byte.is_ascii_graphic()) =>
            {
                "the charset is printable ASCII: A-Za-z0-9_-"
            }
            Self { charset, .. } if charset.contains(['\\', '"']) => {
                "the charset has no quotes and no backslashes"
            }
            Self { least: 0, .. } => "least is at least 1",
            Self { least, most, .. } if most.unwrap_or(*least) < *least => "most is no less than least",
            Self { least, most, .. } if most.unwrap_or(*least) > MOST => "most is at most 4096",
            _ => {
                return Ok(Token {
                    prefix: self.prefix.clone().into_bytes(),
                    alphabet: Alphabet::of(self.charset.as_bytes()),
                    least: self.least,
                    most: self.most,
                });
            }
        };
        Err(DetectorError::Pattern { name: self.name.clone(), fault })
    }
}
