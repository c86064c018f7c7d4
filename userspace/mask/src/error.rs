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
    /// The body is not protobuf as Kubernetes writes it, or holds what is not known here and may have to be masked.
    #[error("not protobuf that can be masked at byte {offset}: {fault}")]
    Protobuf {
        /// Bytes of the (decompressed) object or event before the fault.
        offset: u64,
        /// What is wrong there.
        fault: ProtobufFault,
    },
    /// Protobuf is masked by whole objects and events, and this one is too large for that.
    #[error(
        "more than {limit} bytes of protobuf cannot be masked at once: ask for JSON, or for less (`limit`)"
    )]
    TooLarge {
        /// The most that is masked at once.
        limit: usize,
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
    /// A `Content-Type` that no masker reads.
    #[error("content type {0:?} cannot be masked; JSON and Kubernetes' protobuf can")]
    Type(String),
    /// A `Content-Encoding` that the masker does not open.
    #[error("content coding {0:?} cannot be masked; identity and gzip can")]
    Coding(String),
    /// A format that [`filter`](crate::filter()) does not have.
    #[error("format {0:?} cannot be masked; json, table, watch, protobuf, watch-protobuf and text can")]
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

/// What is wrong with a protobuf body.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ProtobufFault {
    /// Something ends before it should.
    #[error("it is cut off")]
    Truncated,
    /// A varint of more than 64 bits.
    #[error("malformed varint")]
    Varint,
    /// A field's number is none.
    #[error("malformed field number")]
    FieldNumber,
    /// A value is written as no value of its field can be.
    #[error("a field of another type")]
    WireType,
    /// Messages nested deeper than those of any object.
    #[error("nested too deep")]
    TooDeep,
    /// Not `k8s\0` and a `runtime.Unknown` of protobuf.
    #[error("expected the envelope of an object")]
    Envelope,
    /// A field that must not be there twice is.
    #[error("a field that means one thing is there twice")]
    Repeated,
    /// What is in a `RawExtension` is neither an envelope nor JSON.
    #[error("an embedded object in an unknown format")]
    Extension,
    /// An object of a kind that is not in the tables.
    #[error("an object of a kind whose fields are not known here")]
    UnknownKind,
    /// A field that is not in the tables, where one could have to be masked.
    #[error("a field that is not known here and may have to be masked")]
    UnknownField,
}
