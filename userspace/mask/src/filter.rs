//! Masking a whole stream, as `portcullis mask` does it.

use std::io::{self, Read, Write};
use std::str::FromStr;

use crate::{BodyMasker, MaskError, MaskKey, Profile};

const CHUNK: usize = 64 * 1024;

/// A format that [`filter`] masks. The first three are JSON; what they are called is what the API server calls them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// An object or a list.
    Json,
    /// A `Table`, with or without the objects in its rows.
    Table,
    /// The events of a watch.
    Watch,
    /// An object or a list in Kubernetes' protobuf.
    Protobuf,
    /// The events of a watch in Kubernetes' protobuf.
    WatchProtobuf,
    /// Text of any kind: a log.
    Text,
}

impl Format {
    /// The names that [`Format::from_str`] knows.
    pub const NAMES: [&str; 6] = ["json", "table", "watch", "protobuf", "watch-protobuf", "text"];

    /// As the API server names it.
    fn content_type(self) -> &'static str {
        match self {
            Self::Json | Self::Table | Self::Watch => "application/json",
            Self::Protobuf => "application/vnd.kubernetes.protobuf",
            Self::WatchProtobuf => "application/vnd.kubernetes.protobuf;stream=watch",
            Self::Text => "text/plain",
        }
    }
}

impl FromStr for Format {
    type Err = MaskError;

    fn from_str(name: &str) -> Result<Self, MaskError> {
        match name {
            "json" => Ok(Self::Json),
            "table" => Ok(Self::Table),
            "watch" => Ok(Self::Watch),
            "protobuf" => Ok(Self::Protobuf),
            "watch-protobuf" => Ok(Self::WatchProtobuf),
            "text" => Ok(Self::Text),
            _ => Err(MaskError::Format(name.to_owned())),
        }
    }
}

/// Copies `reader` to `writer`, masked as if it were of the most secret resource of `profile`. Bounded memory; what can be
/// given is written and flushed before more is read.
///
/// # Errors
/// When reading or writing fails or the input cannot be masked; what was written until then is masked.
pub fn filter(
    mut reader: impl Read,
    mut writer: impl Write,
    format: Format,
    profile: &Profile,
    key: &MaskKey,
) -> Result<(), MaskError> {
    let mut masker = BodyMasker::for_log(format.content_type(), "", profile.for_unknown(), key, false)?;
    let mut chunk = vec![0; CHUNK];
    let mut masked = Vec::with_capacity(CHUNK);
    loop {
        let length = match reader.read(&mut chunk) {
            Ok(length) => length,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(MaskError::Read(error)),
        };
        let outcome = match length {
            0 => masker.finish(&mut masked),
            length => masker.push(&chunk[..length], &mut masked),
        };
        writer.write_all(&masked).and_then(|()| writer.flush()).map_err(MaskError::Write)?;
        masked.clear();
        outcome?;
        if length == 0 {
            return Ok(());
        }
    }
}
