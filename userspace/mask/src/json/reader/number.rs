//! The grammar of numbers (RFC 8259, section 6).

use super::{Expecting, Fault, Reader, Visitor};
use crate::JsonFault;

/// A part of a number, by what was read last.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Number {
    Minus,
    Zero,
    Integer,
    Point,
    Fraction,
    E,
    Sign,
    Exponent,
}

impl Reader {
    pub(super) fn begin_number(&mut self, number: Number) -> Expecting {
        self.number = number;
        Expecting::Number
    }

    pub(super) fn number(
        &mut self,
        chunk: &[u8],
        mut at: usize,
        visitor: &mut impl Visitor,
    ) -> Result<(usize, Expecting), Fault> {
        while let Some(&byte) = chunk.get(at) {
            match self.number.then(byte) {
                Some(next) => self.number = next,
                None if self.number.is_complete() => return Ok((at, self.scalar_ended(at, visitor))),
                None => return Err((at, JsonFault::BadNumber)),
            }
            at += 1;
        }
        Ok((at, Expecting::Number))
    }
}

impl Number {
    /// The part that `byte` leads to, or none if it is not of this number.
    #[inline]
    fn then(self, byte: u8) -> Option<Self> {
        Some(match (self, byte) {
            (Self::Minus, b'0') => Self::Zero,
            (Self::Minus, b'1'..=b'9') | (Self::Integer, b'0'..=b'9') => Self::Integer,
            (Self::Zero | Self::Integer, b'.') => Self::Point,
            (Self::Point | Self::Fraction, b'0'..=b'9') => Self::Fraction,
            (Self::Zero | Self::Integer | Self::Fraction, b'e' | b'E') => Self::E,
            (Self::E, b'+' | b'-') => Self::Sign,
            (Self::E | Self::Sign | Self::Exponent, b'0'..=b'9') => Self::Exponent,
            _ => return None,
        })
    }

    #[inline]
    pub(super) fn is_complete(self) -> bool {
        matches!(self, Self::Zero | Self::Integer | Self::Fraction | Self::Exponent)
    }
}
