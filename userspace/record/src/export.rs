//! A recording in formats that other programs read.

use std::io::{self, Write};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value, json};

use crate::event::{Channel, Event};
use crate::frame::{DataHead, KIND_DATA, KIND_EVENT};
use crate::recording::Recording;
use crate::safe::{Safe, write_json};
use crate::stream::Stream;
use crate::walk::{Body, Found, Frame, Step};
use crate::{Entry, RecordError};

/// What to make of a recording.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// One stream as an asciicast, version 2
    /// (<https://docs.asciinema.org/manual/asciicast/v2/>): output, input, sizes, and a marker for its end.
    Asciicast,
    /// Everything, one JSON object a line.
    Jsonl,
}

/// A terminal whose size nobody told.
const USUAL_SIZE: (u16, u16) = (80, 24);

impl Recording {
    /// Writes the recording to `out`. `request` chooses the stream for formats that hold only one.
    ///
    /// # Errors
    /// [`RecordError::Io`] from reading, [`RecordError::Output`] from `out`; for an asciicast
    /// [`RecordError::NoStream`], [`RecordError::NotAStream`], [`RecordError::ManyStreams`].
    pub fn export(
        &self,
        format: Format,
        request: Option<u32>,
        out: &mut impl Write,
    ) -> Result<(), RecordError> {
        match format {
            Format::Asciicast => self.asciicast(&self.stream(request)?, out),
            Format::Jsonl => self.json_entries(out, b"", b"\n"),
        }
    }

    /// Writes summary and entries as one JSON document.
    ///
    /// # Errors
    /// [`RecordError::Io`] from reading, [`RecordError::Output`] from `out`.
    pub fn render_json(&self, out: &mut impl Write) -> Result<(), RecordError> {
        out.write_all(b"{\"session\":")?;
        write_json(out, &self.summary()?)?;
        out.write_all(b",\"entries\":[")?;
        self.json_entries(out, b",", b"")?;
        out.write_all(b"]}\n")?;
        Ok(())
    }

    fn json_entries(&self, out: &mut impl Write, between: &[u8], after: &[u8]) -> Result<(), RecordError> {
        let mut first = true;
        for step in self.steps()? {
            if !std::mem::take(&mut first) {
                out.write_all(between)?;
            }
            write_json(out, &json_entry(step?))?;
            out.write_all(after)?;
        }
        Ok(())
    }

    fn asciicast(&self, stream: &Stream, out: &mut impl Write) -> Result<(), RecordError> {
        let (width, height) = stream.size.unwrap_or(USUAL_SIZE);
        let summary = self.summary()?;
        let mut cast = Cast { out, stream, text: Default::default() };
        let mut header = json!({ "version": 2, "width": width, "height": height });
        if let Some(start) = &summary.start {
            let opened = start.started_at.as_second() + (stream.opened_us / 1_000_000).cast_signed();
            header["timestamp"] = opened.into();
            header["title"] =
                format!("{} on {}, {}", Safe(&start.subject.name), Safe(&start.target), self.id()).into();
        }
        if !stream.command.is_empty() {
            header["command"] = Safe(&stream.command.join(" ")).to_string().into();
        }
        cast.line(&header)?;
        for found in self.entries()? {
            match found? {
                Found::Entry(entry) => cast.entry(&entry)?,
                Found::Damage(damage) => cast.event(stream.opened_us, "m", &format!("damaged: {damage}"))?,
            }
        }
        Ok(())
    }
}

/// One frame as JSON: an event as it was written, fields that this version does not know included.
fn json_entry(step: Step) -> Value {
    match step {
        Step::Frame(frame) => {
            let mut entry = Map::new();
            entry.insert("seq".to_owned(), frame.header.seq.into());
            entry.insert("at".to_owned(), frame.at().to_string().into());
            entry.insert("offsetUs".to_owned(), frame.header.offset_us.into());
            match contents(&frame) {
                Some(contents) => entry.extend(contents),
                None => return damage_entry(&frame.nonsense()),
            }
            entry.into()
        }
        Step::Damage(damage) => damage_entry(&damage),
    }
}

fn damage_entry(damage: &crate::Damage) -> Value {
    json!({ "type": "damage", "segment": damage.segment, "byte": damage.at, "text": damage.to_string() })
}

/// `None` if the frame makes no sense.
fn contents(frame: &Frame) -> Option<Map<String, Value>> {
    let object = match frame.header.kind {
        KIND_EVENT => serde_json::from_slice(&frame.payload).ok()?,
        KIND_DATA => {
            let (DataHead { request, channel }, bytes) = DataHead::split(&frame.payload)?;
            let channel =
                Channel::from_number(channel).map_or(json!(channel), |channel| channel.name().into());
            match str::from_utf8(bytes) {
                Ok(text) => json!({ "type": "data", "request": request, "channel": channel, "text": text }),
                Err(_) => {
                    let base64 = STANDARD.encode(bytes);
                    json!({ "type": "data", "request": request, "channel": channel, "base64": base64 })
                }
            }
        }
        kind => json!({ "type": "unknown", "kind": kind, "base64": STANDARD.encode(&frame.payload) }),
    };
    match object {
        Value::Object(map) => Some(map),
        _ => None,
    }
}

struct Cast<'a, W> {
    out: &'a mut W,
    stream: &'a Stream,
    /// By channel, the beginning of a character whose end is in the next frame.
    text: [Vec<u8>; 3],
}

impl<W: Write> Cast<'_, W> {
    fn entry(&mut self, entry: &Entry) -> io::Result<()> {
        let ours = self.stream.request;
        let at = entry.offset_us;
        match &entry.body {
            Body::Data { request, channel, bytes } if *request == ours => {
                let (code, pending) = match channel {
                    Channel::Stdin => ("i", 0),
                    Channel::Stderr => ("o", 2),
                    channel if self.stream.shows(*channel) => ("o", 1),
                    _ => return Ok(()),
                };
                let text = whole_characters(&mut self.text[pending], bytes);
                // Only a terminal turns line feeds into new lines; a player is one that does not.
                let text = if self.stream.tty || code == "i" { text } else { text.replace('\n', "\r\n") };
                if text.is_empty() { Ok(()) } else { self.event(at, code, &text) }
            }
            Body::Event(Event::Resize { request, width, height })
                if *request == ours && self.stream.size != Some((*width, *height)) =>
            {
                self.event(at, "r", &format!("{width}x{height}"))
            }
            Body::Event(Event::Exit { request, code, message }) if *request == ours => {
                let code = code.map_or_else(String::new, |code| format!(" {code}"));
                self.event(at, "m", format!("exit{code} {message}").trim_end())
            }
            Body::Event(Event::Cut { request, reason }) if *request == ours => {
                self.event(at, "m", &format!("cut: {reason}"))
            }
            _ => Ok(()),
        }
    }

    fn event(&mut self, offset_us: u64, code: &str, text: &str) -> io::Result<()> {
        let seconds = offset_us.saturating_sub(self.stream.opened_us) as f64 / 1e6;
        self.line(&json!([seconds, code, text]))
    }

    fn line(&mut self, value: &Value) -> io::Result<()> {
        write_json(self.out, value)?;
        self.out.write_all(b"\n")
    }
}

/// The text of `pending` and `bytes`. An unfinished character stays in `pending`; what is none becomes U+FFFD.
fn whole_characters(pending: &mut Vec<u8>, bytes: &[u8]) -> String {
    pending.extend_from_slice(bytes);
    let unfinished = match pending.utf8_chunks().last() {
        // `from_utf8` tells a sequence that is cut off from one that is wrong.
        Some(last) => match str::from_utf8(last.invalid()) {
            Err(error) if error.error_len().is_none() => last.invalid().len(),
            _ => 0,
        },
        None => 0,
    };
    let rest = pending.split_off(pending.len() - unfinished);
    String::from_utf8_lossy(&std::mem::replace(pending, rest)).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn characters_may_span_frames() {
        let mut pending = Vec::new();
        let text = "aé漢😀\u{fffd}b";
        let whole: String =
            text.as_bytes().iter().map(|byte| whole_characters(&mut pending, &[*byte])).collect();
        assert_eq!(whole, text);
        assert_eq!(whole_characters(&mut pending, b"\xff\xc3"), "\u{fffd}");
        assert_eq!(whole_characters(&mut pending, b"\xa9"), "é");
        assert_eq!(whole_characters(&mut pending, b"\xe6\xbc"), "");
        assert_eq!(whole_characters(&mut pending, b"x"), "\u{fffd}x");
        assert!(pending.is_empty());
    }
}
