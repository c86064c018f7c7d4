//! The WebSocket encoder: plain functions, for there is no state between frames.

use super::{CLOSE, FIN, Kind, MASKED, MAX_CONTROL, PONG, mask_onto};

/// Appends a whole message in one frame. The payload is given in pieces, since most messages here start with a channel
/// byte. A client passes a fresh random `mask`, a server `None`.
pub fn message(out: &mut Vec<u8>, kind: Kind, mask: Option<[u8; 4]>, payload: &[&[u8]]) {
    frame(out, FIN | kind as u8, mask, payload);
}

/// Appends the pong that answers a ping of this payload; of it at most 125 bytes go in.
pub fn pong(out: &mut Vec<u8>, mask: Option<[u8; 4]>, payload: &[u8]) {
    frame(out, FIN | PONG, mask, &[&payload[..payload.len().min(MAX_CONTROL)]]);
}

/// Appends a close frame; of `reason` as much as fits beside the code.
pub fn close(out: &mut Vec<u8>, mask: Option<[u8; 4]>, code: u16, reason: &str) {
    let reason = &reason[..reason.floor_char_boundary(MAX_CONTROL - 2)];
    frame(out, FIN | CLOSE, mask, &[&code.to_be_bytes(), reason.as_bytes()]);
}

fn frame(out: &mut Vec<u8>, first: u8, mask: Option<[u8; 4]>, payload: &[&[u8]]) {
    let length: usize = payload.iter().map(|piece| piece.len()).sum();
    let masked = if mask.is_some() { MASKED } else { 0 };
    out.push(first);
    match length {
        0..=125 => out.push(masked | length as u8),
        126..=0xffff => {
            out.push(masked | 126);
            out.extend_from_slice(&(length as u16).to_be_bytes());
        }
        _ => {
            out.push(masked | 127);
            out.extend_from_slice(&(length as u64).to_be_bytes());
        }
    }
    let Some(mut mask) = mask else {
        return payload.iter().for_each(|piece| out.extend_from_slice(piece));
    };
    out.extend_from_slice(&mask);
    for piece in payload {
        mask_onto(out, piece, mask);
        mask.rotate_left(piece.len() % 4);
    }
}
