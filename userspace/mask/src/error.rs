//! Why something could not be masked. No variant carries a byte of the body: an error must not leak what it withholds.

use std::io;
use std::path::PathBuf;

use crate::ListFault;

/// A body that cannot be masked, or a key that cannot be used. After an error the masker gives nothing more: cut the
/// stream.
#[derive(Debug, thiserror::Error)]
pub enum MaskError {
    /// The body is not JSON as RFC 8259 has it.
    #[error("not valid JSON at byte {offset}: {fault}")]
    Json {
        /// Bytes of (decompressed) JSON before the fault.
        offset: u64,
        /// What is wrong there.
        fault: JsonFault,
    },
    /// The body is no list and no watch whose objects can be told apart.
    #[error("the answer cannot be filtered: {0}")]
    List(#[from] ListFault),
    /// The body is not gzip as RFC 1952 has it.
    #[error("not valid gzip near byte {offset}: {source}")]
    Gzip {
        /// Compressed bytes read when the fault showed.
        offset: u64,
        /// What the decoder said.
        source: io::Error,
    },
    /// More was given to a masker whose body has ended or was not what it should be.
    #[error("nothing more can be masked: the body ended, or failed, before this")]
    Over,
    /// A `Content-Encoding` that the masker does not open.
    #[error("content coding {0:?} cannot be masked; identity and gzip can")]
    Coding(String),
    /// A format that [`filter`](crate::filter()) does not have.
    #[error("format {0:?} cannot be masked; json, table and watch can")]
    Format(String),
    /// What [`filter`](crate::filter()) reads from failed.
    #[error("reading what is to be masked: {0}")]
    Read(#[source] io::Error),
    /// What [`filter`](crate::filter()) writes to failed.
    #[error("writing what was masked: {0}")]
    Write(#[source] io::Error),
    /// The operating system gave no random bytes for a new key.
    #[error("the operating system gave no random bytes for a mask key: {0}")]
    Random(String),
    /// The key file could not be read or made.
    #[error("mask key {}: {source}", path.display())]
    Key {
        /// The file.
        path: PathBuf,
        /// What failed.
        source: io::Error,
    },
    /// The key file can be read by others than its owner.
    #[error("mask key {}: mode {mode:04o} lets others read it; set it to 0600", path.display())]
    KeyExposed {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// The key file does not hold a key.
    #[error("mask key {}: {found} bytes, not the 32 of a key", path.display())]
    KeyLength {
        /// The file.
        path: PathBuf,
        /// Its length in bytes (33 stands for anything longer).
        found: usize,
    },
}

/// What is wrong with a JSON text (RFC 8259).
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum JsonFault {
    /// Something else stands where a value must begin.
    #[error("expected a value")]
    ExpectedValue,
    /// Something else stands where a key must begin.
    #[error("expected a key in quotes")]
    ExpectedKey,
    /// No colon after a key.
    #[error("expected ':' after a key")]
    ExpectedColon,
    /// Neither a comma nor the right bracket after a value.
    #[error("expected ',' or the end of the array or object")]
    ExpectedComma,
    /// A word that begins like `true`, `false` or `null` and is not.
    #[error("expected true, false or null")]
    BadLiteral,
    /// A number that RFC 8259 does not allow.
    #[error("malformed number")]
    BadNumber,
    /// A backslash followed by what is no escape.
    #[error("malformed escape in a string")]
    BadEscape,
    /// A control character in a string that is not escaped.
    #[error("control character in a string")]
    ControlCharacter,
    /// A string that is not UTF-8.
    #[error("invalid UTF-8 in a string")]
    InvalidUtf8,
    /// Arrays and objects nested deeper than Go's decoder takes (10,000).
    #[error("nested deeper than 10000 levels")]
    TooDeep,
    /// The input ended inside a document.
    #[error("the document is cut off")]
    Truncated,
}
