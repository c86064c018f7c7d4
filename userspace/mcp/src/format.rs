//! Media types: which are text, and how the bytes of others begin.

/// Formats that are known by how they begin: their media types, and their signs, each of bytes at some places.
const FORMATS: &[(&[&str], &[Sign])] = &[
    (&["image/png", "image/apng"], &[&[(0, b"\x89PNG\r\n\x1a\n")]]),
    (&["image/jpeg", "image/jpg"], &[&[(0, b"\xff\xd8\xff")]]),
    (&["image/gif"], &[&[(0, b"GIF87a")], &[(0, b"GIF89a")]]),
    (&["image/webp"], &[&[(0, b"RIFF"), (8, b"WEBP")]]),
    (&["image/avif"], &[&[(4, b"ftypavif")], &[(4, b"ftypavis")]]),
    (&["image/heic", "image/heif"], &[&[(4, b"ftyphei")], &[(4, b"ftyphev")], &[(4, b"ftypmif1")]]),
    (&["image/tiff"], &[&[(0, b"II*\0")], &[(0, b"MM\0*")]]),
    (&["image/x-icon", "image/vnd.microsoft.icon"], &[&[(0, b"\0\0\x01\0")]]),
    (&["audio/wav", "audio/x-wav", "audio/wave", "audio/vnd.wave"], &[&[(0, b"RIFF"), (8, b"WAVE")]]),
    (
        &["audio/mpeg", "audio/mp3"],
        &[&[(0, b"ID3")], &[(0, b"\xff\xfb")], &[(0, b"\xff\xfa")], &[(0, b"\xff\xf3")], &[(0, b"\xff\xf2")]],
    ),
    (&["audio/ogg", "audio/opus", "audio/vorbis"], &[&[(0, b"OggS")]]),
    (&["audio/flac", "audio/x-flac"], &[&[(0, b"fLaC")]]),
    (&["audio/aac"], &[&[(0, b"\xff\xf1")], &[(0, b"\xff\xf9")]]),
    (&["audio/aiff", "audio/x-aiff"], &[&[(0, b"FORM"), (8, b"AIFF")], &[(0, b"FORM"), (8, b"AIFC")]]),
    (&["audio/mp4", "audio/m4a", "audio/x-m4a", "video/mp4"], &[&[(4, b"ftyp")]]),
    (&["audio/webm", "video/webm"], &[&[(0, b"\x1a\x45\xdf\xa3")]]),
    (&["application/pdf"], &[&[(0, b"%PDF-")]]),
    (&["application/zip"], &[&[(0, b"PK\x03\x04")]]),
    (&["application/gzip"], &[&[(0, b"\x1f\x8b\x08")]]),
];

/// Bytes that all have to stand at their places.
type Sign = &'static [(usize, &'static [u8])];

/// Text that is not `text/*` and does not say so by its suffix (RFC 6839).
const TEXT: [&str; 19] = [
    "application/json",
    "application/x-ndjson",
    "application/jsonl",
    "application/json-lines",
    "application/xml",
    "application/yaml",
    "application/x-yaml",
    "application/toml",
    "application/x-toml",
    "application/x-www-form-urlencoded",
    "application/javascript",
    "application/x-javascript",
    "application/ecmascript",
    "application/typescript",
    "application/graphql",
    "application/sql",
    "application/x-sh",
    "application/x-pem-file",
    "application/csv",
];

/// Whether what is of this media type, in lower case and without parameters, is text.
pub(crate) fn is_text(essence: &str) -> bool {
    let suffixes = ["+json", "+xml", "+yaml", "+json-seq"];
    essence.starts_with("text/")
        || TEXT.contains(&essence)
        || suffixes.iter().any(|suffix| essence.ends_with(suffix))
}

/// Whether bytes begin as those of this media type do. Nothing does of a type that is not known.
pub(crate) fn begins(essence: &str, bytes: &[u8]) -> bool {
    let has = |(at, part): &(usize, &[u8])| bytes.get(*at..).is_some_and(|rest| rest.starts_with(part));
    let of_type = FORMATS.iter().filter(|(types, _)| types.contains(&essence));
    of_type.flat_map(|(_, signs)| *signs).any(|sign| sign.iter().all(has))
}

/// Whether a media type, or all of a kind (`image/*`), can be known by how bytes begin.
pub(crate) fn is_known(pattern: &str) -> bool {
    known().contains(&pattern) || ["image/*", "audio/*", "video/*"].contains(&pattern)
}

/// The media types that can be known so.
pub(crate) fn known() -> Vec<&'static str> {
    FORMATS.iter().flat_map(|(types, _)| *types).copied().collect()
}
