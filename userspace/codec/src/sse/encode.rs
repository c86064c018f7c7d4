//! Events and comments as bytes.

use super::Event;

/// Appends an event, with the blank line that ends it. A CR or LF in a field other than `data` is left out: it would
/// begin another field.
pub fn event(event: &Event, out: &mut Vec<u8>) {
    let Event { kind, id, retry, data } = event;
    for (name, value) in [("event", kind), ("id", id), ("retry", retry)] {
        if let Some(value) = value {
            let value: Vec<u8> = value.iter().copied().filter(|byte| !is_line_end(*byte)).collect();
            field(name, &value, out);
        }
    }
    if let Some(data) = data {
        data.split(|byte| is_line_end(*byte)).for_each(|line| field("data", line, out));
    }
    out.push(b'\n');
}

/// Appends a comment without text.
pub fn comment(out: &mut Vec<u8>) {
    out.extend_from_slice(b":\n");
}

fn field(name: &str, value: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b": ");
    out.extend_from_slice(value);
    out.push(b'\n');
}

fn is_line_end(byte: u8) -> bool {
    matches!(byte, b'\n' | b'\r')
}
