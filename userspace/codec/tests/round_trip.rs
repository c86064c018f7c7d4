//! What is encoded decodes to the same, whatever slices it arrives in.

use portcullis_codec::{Error, spdy, websocket};
use proptest::prelude::*;

/// A SPDY frame with its payload owned.
#[derive(Debug, Clone, PartialEq)]
enum Owned {
    Data(spdy::StreamId, Vec<u8>, bool),
    Other(spdy::Frame<'static>),
}

impl Owned {
    fn frame(&self) -> spdy::Frame<'_> {
        match self {
            Self::Data(stream, payload, fin) => spdy::Frame::Data { stream: *stream, payload, fin: *fin },
            Self::Other(frame) => frame.clone(),
        }
    }
}

fn stream() -> impl Strategy<Value = spdy::StreamId> {
    (1..0x7fff_ffff_u32).prop_map(spdy::StreamId)
}

fn headers() -> impl Strategy<Value = spdy::Headers> {
    prop::collection::btree_map("[a-z-]{1,12}", "[ -~\0]{0,40}", 0..6)
        .prop_map(|pairs| pairs.into_iter().collect())
}

fn spdy_frame() -> impl Strategy<Value = Owned> {
    use spdy::{Frame, Setting, StreamId};
    let control = prop_oneof![
        (stream(), any::<(u16, bool, bool)>(), 0..8_u8, headers()).prop_map(
            |(stream, rest, priority, headers)| {
                let (associated, fin, unidirectional) = (StreamId(rest.0.into()), rest.1, rest.2);
                Frame::SynStream { stream, associated, priority, fin, unidirectional, headers }
            }
        ),
        (stream(), any::<bool>(), headers()).prop_map(|(stream, fin, headers)| Frame::SynReply {
            stream,
            fin,
            headers
        }),
        (stream(), any::<bool>(), headers()).prop_map(|(stream, fin, headers)| Frame::Headers {
            stream,
            fin,
            headers
        }),
        (stream(), any::<u32>()).prop_map(|(stream, status)| Frame::RstStream { stream, status }),
        (any::<bool>(), prop::collection::vec((any::<u8>(), 0..1_u32 << 24, any::<u32>()), 0..4)).prop_map(
            |(clear, entries)| {
                let entries =
                    entries.into_iter().map(|(flags, id, value)| Setting { flags, id, value }).collect();
                Frame::Settings { clear, entries }
            }
        ),
        any::<u32>().prop_map(|id| Frame::Ping { id }),
        (stream(), any::<u32>()).prop_map(|(last_good, status)| Frame::GoAway { last_good, status }),
        (stream(), 0..1_u32 << 31).prop_map(|(stream, delta)| Frame::WindowUpdate { stream, delta }),
    ];
    prop_oneof![
        control.prop_map(Owned::Other),
        (stream(), prop::collection::vec(any::<u8>(), 0..300), any::<bool>())
            .prop_map(|(stream, payload, fin)| Owned::Data(stream, payload, fin)),
    ]
}

/// Decodes in slices of the given sizes, round and round, joining what DATA slices follow each other in one frame.
fn decode_spdy(bytes: &[u8], sizes: &[usize]) -> Result<Vec<Owned>, Error> {
    let mut decoder = spdy::Decoder::default();
    let mut frames = Vec::new();
    let mut open: Option<Owned> = None;
    for mut slice in slices(bytes, sizes) {
        while let Some(frame) = decoder.next(&mut slice)? {
            match frame {
                spdy::Frame::Data { stream, payload, fin } => {
                    let (_, joined, ended) = match open.get_or_insert(Owned::Data(stream, vec![], false)) {
                        Owned::Data(s, joined, ended) => (s, joined, ended),
                        Owned::Other(_) => unreachable!("only data is left open"),
                    };
                    joined.extend_from_slice(payload);
                    *ended = fin;
                    if decoder.at_boundary() {
                        frames.extend(open.take());
                    }
                }
                other => frames.push(Owned::Other(own(other))),
            }
        }
        assert!(slice.is_empty(), "all input is taken");
    }
    assert!(decoder.at_boundary());
    Ok(frames)
}

/// Control frames borrow nothing; this tells the compiler so.
fn own(frame: spdy::Frame<'_>) -> spdy::Frame<'static> {
    use spdy::Frame::*;
    match frame {
        SynStream { stream, associated, priority, fin, unidirectional, headers } => {
            SynStream { stream, associated, priority, fin, unidirectional, headers }
        }
        SynReply { stream, fin, headers } => SynReply { stream, fin, headers },
        Headers { stream, fin, headers } => Headers { stream, fin, headers },
        RstStream { stream, status } => RstStream { stream, status },
        Settings { clear, entries } => Settings { clear, entries },
        Ping { id } => Ping { id },
        GoAway { last_good, status } => GoAway { last_good, status },
        WindowUpdate { stream, delta } => WindowUpdate { stream, delta },
        Data { .. } => unreachable!("data is joined by the caller"),
    }
}

fn slices<'a>(bytes: &'a [u8], sizes: &[usize]) -> Vec<&'a [u8]> {
    let mut rest = bytes;
    let mut slices = Vec::new();
    for size in sizes.iter().cycle() {
        if rest.is_empty() {
            break;
        }
        let (slice, left) = rest.split_at((*size).min(rest.len()));
        slices.push(slice);
        rest = left;
    }
    slices
}

#[derive(Debug, Clone, PartialEq)]
enum Message {
    Data(websocket::Kind, bool, Vec<u8>),
    Ping(Vec<u8>),
    Pong(Vec<u8>),
    Close(Option<u16>, String),
}

/// Messages of one or more fragments, control frames between them, one close at the end.
fn websocket_frames() -> impl Strategy<Value = Vec<Message>> {
    use websocket::Kind::{Binary, Continuation, Text};
    let payload = || prop_oneof![3 => 0..200_usize, 1 => 65_530..65_540_usize].prop_map(|n| vec![0xa5; n]);
    let control = prop_oneof![
        prop::collection::vec(any::<u8>(), 0..125).prop_map(Message::Ping),
        prop::collection::vec(any::<u8>(), 0..125).prop_map(Message::Pong),
    ];
    let message = (any::<bool>(), prop::collection::vec(payload(), 1..4), prop::option::of(control))
        .prop_map(|(text, payloads, control)| {
            let count = payloads.len();
            let mut frames = Vec::new();
            for (i, payload) in payloads.into_iter().enumerate() {
                let kind = if i > 0 {
                    Continuation
                } else if text {
                    Text
                } else {
                    Binary
                };
                frames.push(Message::Data(kind, i + 1 == count, payload));
                if i == 0 {
                    frames.extend(control.clone());
                }
            }
            frames
        });
    (prop::collection::vec(message, 0..5), "[ -~]{0,100}").prop_map(|(messages, reason)| {
        let mut frames: Vec<_> = messages.into_iter().flatten().collect();
        frames.push(Message::Close(Some(1000), reason));
        frames
    })
}

fn decode_websocket(bytes: &[u8], masked: bool, sizes: &[usize]) -> Result<Vec<Message>, Error> {
    use websocket::{Decoder, Frame};
    let mut decoder = if masked { Decoder::client() } else { Decoder::server() };
    let mut frames = Vec::new();
    let mut open = Vec::new();
    for mut slice in slices(bytes, sizes) {
        while let Some(frame) = decoder.next(&mut slice)? {
            match frame {
                Frame::Data(slice) => {
                    assert_eq!(slice.first, open.is_empty(), "only a frame's first slice is first");
                    open.extend_from_slice(slice.payload);
                    if slice.last {
                        frames.push(Message::Data(slice.kind, slice.fin, std::mem::take(&mut open)));
                    }
                }
                Frame::Ping(payload) => frames.push(Message::Ping(payload.to_vec())),
                Frame::Pong(payload) => frames.push(Message::Pong(payload.to_vec())),
                Frame::Close { code, reason } => frames.push(Message::Close(code, reason.to_owned())),
            }
        }
        assert!(slice.is_empty(), "all input is taken");
    }
    assert!(decoder.remaining() == 0 && !decoder.in_message());
    Ok(frames)
}

proptest! {
    #[test]
    fn spdy(frames in prop::collection::vec(spdy_frame(), 0..12), sizes in prop::collection::vec(1..64_usize, 1..5)) {
        let mut encoder = spdy::Encoder::default();
        let mut bytes = Vec::new();
        for frame in &frames {
            encoder.encode(&frame.frame(), &mut bytes).unwrap();
        }
        prop_assert_eq!(&decode_spdy(&bytes, &sizes).unwrap(), &frames);
        prop_assert_eq!(&decode_spdy(&bytes, &[bytes.len().max(1)]).unwrap(), &frames);
    }

    #[test]
    fn websocket(
        frames in websocket_frames(),
        mask in any::<Option<[u8; 4]>>(),
        sizes in prop::collection::vec(1..5000_usize, 1..5),
    ) {
        let mut bytes = Vec::new();
        for frame in &frames {
            let start = bytes.len();
            match frame {
                Message::Data(kind, fin, payload) => {
                    websocket::message(&mut bytes, *kind, mask, &[payload]);
                    // What is not a whole message lacks the bit that says so.
                    bytes[start] &= if *fin { 0xff } else { 0x7f };
                }
                Message::Ping(payload) => {
                    // A pong by another opcode.
                    websocket::pong(&mut bytes, mask, payload);
                    bytes[start] = 0x89;
                }
                Message::Pong(payload) => websocket::pong(&mut bytes, mask, payload),
                Message::Close(code, reason) => websocket::close(&mut bytes, mask, code.unwrap(), reason),
            }
        }
        prop_assert_eq!(&decode_websocket(&bytes, mask.is_some(), &sizes).unwrap(), &frames);
        prop_assert_eq!(&decode_websocket(&bytes, mask.is_some(), &[1]).unwrap(), &frames);
    }

    #[test]
    fn noise_never_panics(bytes in prop::collection::vec(any::<u8>(), 0..400), size in 1..50_usize) {
        for masked in [false, true] {
            let (mut ws, mut sd) = (
                if masked { websocket::Decoder::client() } else { websocket::Decoder::server() },
                spdy::Decoder::default(),
            );
            for slice in slices(&bytes, &[size]) {
                let (mut a, mut b) = (slice, slice);
                while let Ok(Some(_)) = ws.next(&mut a) {}
                while let Ok(Some(_)) = sd.next(&mut b) {}
            }
        }
    }
}
