//! Event streams: what the specification says of lines and fields, whatever slices they arrive in.

use portcullis_codec::Error;
use portcullis_codec::sse::{Decoder, Event, Frame, comment, event};
use proptest::prelude::*;

/// The frames of `bytes`, cut into slices of `size`, and whether the stream ended between two events.
fn decode(bytes: &[u8], size: usize, limit: usize) -> Result<(Vec<Frame>, bool), Error> {
    let mut decoder = Decoder::new(limit);
    let mut frames = Vec::new();
    for mut slice in bytes.chunks(size.max(1)) {
        while let Some(frame) = decoder.next(&mut slice)? {
            frames.push(frame);
        }
        assert!(slice.is_empty(), "all input is taken");
    }
    Ok((frames, decoder.at_boundary()))
}

fn data(data: &str) -> Frame {
    Frame::Event(Event { data: Some(data.into()), ..Event::default() })
}

#[test]
fn lines_end_in_lf_cr_or_both() {
    for stream in ["data: a\ndata:b\n\ndata: c\n\n", "data: a\rdata:b\r\rdata: c\r\r"] {
        let expected = (vec![data("a\nb"), data("c")], true);
        assert_eq!(decode(stream.as_bytes(), 100, 100).unwrap(), expected, "{stream:?}");
        assert_eq!(decode(stream.replace('\n', "\r\n").as_bytes(), 1, 100).unwrap(), expected);
    }
}

#[test]
fn an_event_that_ends_in_cr_is_told_before_the_next_byte() {
    let mut decoder = Decoder::new(100);
    let mut input = &b"data: a\r\r"[..];
    assert_eq!(decoder.next(&mut input).unwrap(), Some(data("a")));
    assert!(decoder.at_boundary());
    let mut input = &b"\ndata: b\r\n\r\n"[..];
    assert_eq!(decoder.next(&mut input).unwrap(), Some(data("b")));
}

#[test]
fn fields_are_read_as_the_specification_says() {
    let with = |change: fn(&mut Event)| {
        let mut event = Event::default();
        change(&mut event);
        vec![Frame::Event(event)]
    };
    let table: Vec<(&[u8], Vec<Frame>)> = vec![
        (b"\xef\xbb\xbfdata: a\n\n", vec![data("a")]),
        (b"data: a\n\n\xef\xbb\xbfdata: b\n\n", vec![data("a")]),
        (b"data:  a\n\n", vec![data(" a")]),
        (b"data\n\n", vec![data("")]),
        (b"data:\ndata\n\n", vec![data("\n")]),
        (b"id: 7\n\n", with(|event| event.id = Some(b"7".to_vec()))),
        (b"id: 7\nid: 8\nid: 9\0\n\n", with(|event| event.id = Some(b"8".to_vec()))),
        (b"id\n\n", with(|event| event.id = Some(vec![]))),
        (b"retry: 50\nretry: soon\nretry:\n\n", with(|event| event.retry = Some(b"50".to_vec()))),
        (b"event: ping\n\n", with(|event| event.kind = Some(b"ping".to_vec()))),
        (b"Data: a\n\n: hi\n\n\n", vec![Frame::Comment]),
        (b"data: a\n:\ndata: b\n\n", vec![Frame::Comment, data("a\nb")]),
    ];
    for (stream, frames) in table {
        for size in [1, 2, 100] {
            let read = decode(stream, size, 100).unwrap();
            assert_eq!(read, (frames.clone(), true), "{}", stream.escape_ascii());
        }
    }
}

#[test]
fn an_event_cut_off_counts_for_nothing() {
    for stream in ["data: a\n", "data: a", "id"] {
        assert_eq!(decode(stream.as_bytes(), 100, 100).unwrap(), (vec![], false), "{stream:?}");
    }
}

#[test]
fn an_event_is_bounded_and_comments_between_events_are_not_counted() {
    for stream in ["data: 78901\n", "data:\ndata:\n", "unknown: 01", ": 234567890", "\r\n\r\ndata: 78901"] {
        let mut decoder = Decoder::new(10);
        let mut input = stream.as_bytes();
        let error = loop {
            match decoder.next(&mut input) {
                Ok(frame) => assert!(frame.is_some(), "accepted {stream:?}"),
                Err(error) => break error,
            }
        };
        assert!(matches!(error, Error::SseTooLong(10)), "{stream:?}");
        assert!(matches!(decoder.next(&mut &b"\n"[..]), Err(Error::Poisoned)));
        assert!(!decoder.at_boundary());
    }
    let (frames, _) = decode(":\n".repeat(50).as_bytes(), 7, 10).unwrap();
    assert_eq!(frames, vec![Frame::Comment; 50]);
}

#[test]
fn no_field_begins_another() {
    let mut out = Vec::new();
    let forged = Event {
        kind: Some(b"a\ndata: x".to_vec()),
        id: Some(b"1\r\rdata: y".to_vec()),
        retry: None,
        data: Some(b"1\r2\n\nid: 3".to_vec()),
    };
    event(&forged, &mut out);
    comment(&mut out);
    assert_eq!(
        out.escape_ascii().to_string(),
        r"event: adata: x\nid: 1data: y\ndata: 1\ndata: 2\ndata: \ndata: id: 3\n\n:\n"
    );
}

fn arbitrary() -> impl Strategy<Value = Vec<Frame>> {
    let line = || prop::option::of("[^\r\n\0]{0,20}".prop_map(String::into_bytes));
    let some = (line(), line(), prop::option::of("[0-9]{1,6}"), prop::option::of("[^\r]{0,60}")).prop_map(
        |(kind, id, retry, data)| {
            let (retry, data) = (retry.map(String::into_bytes), data.map(String::into_bytes));
            Frame::Event(Event { kind, id, retry, data })
        },
    );
    let frame = prop_oneof![4 => some, 1 => Just(Frame::Comment)];
    prop::collection::vec(frame, 0..8).prop_map(|mut frames| {
        frames.retain(|frame| *frame != Frame::Event(Event::default()));
        frames
    })
}

proptest! {
    #[test]
    fn what_is_encoded_decodes_to_the_same(frames in arbitrary(), size in 1..40_usize) {
        let mut stream = Vec::new();
        for frame in &frames {
            match frame {
                Frame::Comment => comment(&mut stream),
                Frame::Event(fields) => event(fields, &mut stream),
            }
        }
        prop_assert_eq!(decode(&stream, size, 1000).unwrap(), (frames, true));
    }

    #[test]
    fn slices_do_not_matter(
        lines in prop::collection::vec("(data|id|event|retry|x)?:? ?[ab0-9]{0,3}(\n|\r|\r\n)", 0..30),
        size in 1..20_usize,
        limit in 5..60_usize,
    ) {
        let stream = lines.concat();
        let told = |size| decode(stream.as_bytes(), size, limit).map_err(|error| error.to_string());
        prop_assert_eq!(told(size), told(stream.len()));
    }
}
