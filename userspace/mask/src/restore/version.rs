//! Which object a restored write is for: of the live one's kind, and at its version. Between reading the live object and
//! writing, the secret may have changed; the API server answers 409 then, instead of taking the old one back.

use super::place::{Path, quoted};
use super::tree::{Document, Kind, Value};
use super::walk::Edit;
use super::{RestoreError, Why, Write};

const METADATA: Path<'static> = Path::Key(&Path::Root, "metadata");
const VERSION: Path<'static> = Path::Key(&METADATA, "resourceVersion");

/// Checks that the body is of the live object's kind. The API server quotes the start of an update that is not.
pub(super) fn same_kind(write: Write, sent: &Value, live: &Value) -> Result<(), RestoreError> {
    for key in ["apiVersion", "kind"] {
        let text = |value: &Value| value.member(key).and_then(Value::text).unwrap_or_default().to_owned();
        let (sent, present, live) = (text(sent), sent.member(key).is_some(), text(live));
        if sent != live && (present || write == Write::Update) {
            return Err(RestoreError::at(Path::Key(&Path::Root, key), Why::OtherKind { sent, live }));
        }
    }
    Ok(())
}

/// What makes the write one to this version of the object, if it does not say so by itself.
///
/// # Errors
/// When it is for another version, or has no place to say one.
pub(super) fn pin(
    write: Write,
    sent: &Document<'_>,
    live: &Document<'_>,
) -> Result<Option<Edit>, RestoreError> {
    let live = live.root.member("metadata").and_then(|metadata| metadata.member("resourceVersion"));
    let version = live.and_then(Value::text).filter(|version| !version.is_empty());
    let version = version.ok_or_else(|| RestoreError::Live("it has no version".to_owned()))?;
    let quoted = String::from_utf8_lossy(&quoted(version)).into_owned();
    let insert = |at: usize, text: String| Edit::of(at..at, text.into_bytes());
    let root = &sent.root;
    if write == Write::JsonPatch {
        if !matches!(root.kind, Kind::Array(_)) {
            return Err(RestoreError::at(Path::Root, Why::NoRoomForVersion));
        }
        let replace = format!(r#",{{"op":"replace","path":"/metadata/resourceVersion","value":{quoted}}}"#);
        return Ok(Some(insert(root.span.end - 1, replace)));
    }
    if !root.is_object() {
        return Err(RestoreError::at(Path::Root, Why::NoRoomForVersion));
    }
    if write == Write::StrategicPatch && root.member("$patch").is_some() {
        return Err(RestoreError::at(Path::Key(&Path::Root, "$patch"), Why::NoRoomForVersion));
    }
    let Some(metadata) = root.member("metadata") else {
        let insert = insert(root.span.start + 1, format!(r#""metadata":{{"resourceVersion":{quoted}}},"#));
        return Ok(Some(insert));
    };
    let Kind::Object(members) = &metadata.kind else {
        return Err(RestoreError::at(METADATA, Why::NoRoomForVersion));
    };
    // Directives of a strategic merge patch could take the version away again.
    if let Some((key, _)) = members.iter().find(|(key, _)| key == "$patch" || key == "$retainKeys") {
        return Err(RestoreError::at(Path::Key(&METADATA, key), Why::NoRoomForVersion));
    }
    let comma = if members.is_empty() { "" } else { "," };
    match metadata.member("resourceVersion") {
        None => Ok(Some(insert(metadata.span.start + 1, format!(r#""resourceVersion":{quoted}{comma}"#)))),
        Some(value) => match value.text() {
            Some(sent) if sent == version => Ok(None),
            // An update without a version is one of whatever is there.
            Some("" | "0") => Ok(Some(Edit::of(value.span.clone(), quoted.into_bytes()))),
            None if sent.raw(value) == b"null" => Ok(Some(Edit::of(value.span.clone(), quoted.into_bytes()))),
            Some(sent) => Err(RestoreError::Stale { sent: sent.to_owned(), live: version.to_owned() }),
            None => Err(RestoreError::at(VERSION, Why::NoRoomForVersion)),
        },
    }
}
