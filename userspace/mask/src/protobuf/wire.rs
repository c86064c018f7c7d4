//! The protobuf wire format: a message is a row of fields, each with a number, how its value is written, and the value.
//!
//! Nothing is decoded that need not be: a field is where it stands in the body, so that what passes can be copied as it
//! came, with its odd lengths and spellings. What Go's decoders refuse is refused.

use std::ops::Range;

use crate::{MaskError, ProtobufFault};

/// The longest varint, in bytes.
const LONGEST: usize = 10;

/// The largest field number.
const LARGEST: u64 = (1 << 29) - 1;

/// How a value is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wire {
    /// As a varint or in four or eight bytes.
    Number,
    /// As a length and so many bytes: text, bytes, a message, packed numbers.
    Bytes,
}

/// Where a field stands in the body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Field {
    pub(super) number: u32,
    pub(super) wire: Wire,
    /// Where its number begins.
    pub(super) start: usize,
    /// Where the length of its bytes begins.
    pub(super) length: usize,
    pub(super) value: Range<usize>,
}

impl Field {
    /// All of it.
    pub(super) fn whole(&self) -> Range<usize> {
        self.start..self.value.end
    }
}

/// The fields of one message, in their order.
pub(super) struct Fields<'b> {
    body: &'b [u8],
    rest: Range<usize>,
}

impl<'b> Fields<'b> {
    /// Of the message at `span` of `body`.
    pub(super) fn new(body: &'b [u8], span: Range<usize>) -> Self {
        Self { body, rest: span }
    }

    /// The next field, if there is one.
    ///
    /// # Errors
    /// [`MaskError::Protobuf`] where no field can be read.
    pub(super) fn next(&mut self) -> Result<Option<Field>, MaskError> {
        if self.rest.is_empty() {
            return Ok(None);
        }
        let start = self.rest.start;
        let key = self.varint()?;
        let number = key >> 3;
        if number == 0 || number > LARGEST {
            return Err(fault(start, ProtobufFault::FieldNumber));
        }
        let length = self.rest.start;
        let (wire, size) = match key & 7 {
            0 => {
                self.varint()?;
                (Wire::Number, 0)
            }
            1 => (Wire::Number, 8),
            2 => (Wire::Bytes, self.varint()?),
            5 => (Wire::Number, 4),
            // Groups are older than Kubernetes.
            _ => return Err(fault(start, ProtobufFault::WireType)),
        };
        let from = if wire == Wire::Bytes { self.rest.start } else { length };
        let left = self.rest.len();
        let size = usize::try_from(size).ok().filter(|size| *size <= left);
        let size = size.ok_or_else(|| fault(length, ProtobufFault::Truncated))?;
        self.rest.start += size;
        Ok(Some(Field { number: number as u32, wire, start, length, value: from..self.rest.start }))
    }

    fn varint(&mut self) -> Result<u64, MaskError> {
        let start = self.rest.start;
        let bytes = &self.body[self.rest.clone()];
        if let [byte @ ..0x80, ..] = bytes {
            self.rest.start += 1;
            return Ok(u64::from(*byte));
        }
        let mut value = 0;
        for (at, byte) in bytes.iter().take(LONGEST).enumerate() {
            value |= u64::from(byte & 0x7f) << (7 * at);
            if *byte < 0x80 {
                self.rest.start += at + 1;
                return Ok(value);
            }
        }
        let what = if bytes.len() < LONGEST { ProtobufFault::Truncated } else { ProtobufFault::Varint };
        Err(fault(start, what))
    }
}

pub(super) fn fault(at: usize, fault: ProtobufFault) -> MaskError {
    MaskError::Protobuf { offset: at as u64, fault }
}

/// Appends a varint in its shortest form.
pub(super) fn put_varint(mut value: u64, out: &mut Vec<u8>) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn fields(body: &[u8]) -> Result<Vec<Field>, MaskError> {
        let mut fields = Fields::new(body, 0..body.len());
        std::iter::from_fn(|| fields.next().transpose()).collect()
    }

    #[test]
    fn fields_stand_where_they_stand() {
        let body = b"\x08\x96\x01\x12\x03abc\x8a\x00\x01x\x25\x00\x00\x00\x00";
        let read = fields(body).unwrap();
        let spans: Vec<_> =
            read.iter().map(|field| (field.number, field.start, field.length, field.value.clone())).collect();
        assert_eq!(
            spans,
            [(1, 0, 1, 1..3), (2, 3, 4, 5..8), (1, 8, 10, 11..12), (4, 12, 13, 13..17)],
            "the third number is not in its shortest form"
        );
    }

    #[test]
    fn what_go_refuses_is_refused() {
        for (body, at, what) in [
            (&b"\x08"[..], 1, ProtobufFault::Truncated),
            (b"\x88", 0, ProtobufFault::Truncated),
            (b"\x12\x03ab", 1, ProtobufFault::Truncated),
            (b"\x12\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", 1, ProtobufFault::Truncated),
            (b"\x25\x00\x00\x00", 1, ProtobufFault::Truncated),
            (b"\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", 1, ProtobufFault::Varint),
            (b"\x00\x00", 0, ProtobufFault::FieldNumber),
            (b"\xf8\xff\xff\xff\xff\x01\x00", 0, ProtobufFault::FieldNumber),
            (b"\x0b\x0c", 0, ProtobufFault::WireType),
            (b"\x0e", 0, ProtobufFault::WireType),
        ] {
            let Err(MaskError::Protobuf { offset, fault }) = fields(body) else { panic!("{body:?}") };
            assert_eq!((offset, fault), (at, what), "{body:?}");
        }
    }

    proptest! {
        #[test]
        fn fields_follow_one_another(body in prop::collection::vec(any::<u8>(), 0..60)) {
            if let Ok(read) = fields(&body) {
                let mut at = 0;
                for field in read {
                    prop_assert_eq!(field.start, at);
                    prop_assert!(field.start < field.length && field.length <= field.value.start);
                    at = field.value.end;
                }
                prop_assert_eq!(at, body.len());
            }
        }

        #[test]
        fn varints_read_back(value in any::<u64>()) {
            let mut body = vec![0x08];
            put_varint(value, &mut body);
            let mut fields = Fields::new(&body, 1..body.len());
            prop_assert_eq!(fields.varint().unwrap(), value);
        }
    }
}
