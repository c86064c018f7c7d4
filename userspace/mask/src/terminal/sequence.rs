//! Control sequences of terminals (ECMA-48, xterm): where one ends, and whether the text after it goes on where the text
//! before it stopped.
//!
//! The strings in sequences (titles, clipboards) are text to the scanner: secrets stand there as well.

/// Parameters longer than this are none that are known.
const PARAMETERS: usize = 16;

/// A sequence being read.
#[derive(Default)]
pub(super) struct Sequence {
    state: State,
    parameters: Vec<u8>,
}

#[derive(Default, Clone, Copy, PartialEq, Eq)]
enum State {
    #[default]
    Text,
    Escape,
    /// After `ESC (` and the like.
    Intermediate,
    /// After `ESC [`.
    Parameters,
}

/// What a sequence did to the cursor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Effect {
    /// Nothing, or it is not over yet.
    None,
    /// It is elsewhere, in this column if that is known.
    Column(Option<u16>),
    /// It went along its line.
    Along,
    /// The alternate screen was entered or left.
    Alternate(bool),
}

/// Whether `byte` begins a sequence, or is one.
pub(super) fn begins(byte: u8) -> bool {
    // Escape; bell, which ends strings too; shift out and in; padding.
    matches!(byte, 0x1b | 0x07 | 0x0e | 0x0f | 0x00)
}

impl Sequence {
    pub(super) fn is_open(&self) -> bool {
        self.state != State::Text
    }

    /// Takes a byte that begins a sequence or goes on with one.
    pub(super) fn step(&mut self, byte: u8) -> Effect {
        let (state, effect) = match (self.state, byte) {
            (_, 0x1b) => {
                self.parameters.clear();
                (State::Escape, Effect::None)
            }
            // Cancelled.
            (_, 0x18 | 0x1a) => (State::Text, Effect::Column(None)),
            (State::Text, 0x07) => (State::Text, Effect::Column(None)),
            (State::Escape, b'[') => (State::Parameters, Effect::None),
            (State::Escape | State::Intermediate, b' '..=b'/') => (State::Intermediate, Effect::None),
            (State::Escape, byte) => (State::Text, escaped(byte)),
            (State::Parameters, b' '..=b'?') => {
                if self.parameters.len() < PARAMETERS {
                    self.parameters.push(byte);
                }
                (State::Parameters, Effect::None)
            }
            (State::Parameters, b'@'..=b'~') => (State::Text, self.complete(byte)),
            // Controls inside of a sequence take effect and the sequence goes on.
            (State::Parameters, 0x00..=0x1f) => (State::Parameters, Effect::Column(None)),
            (State::Text | State::Intermediate | State::Parameters, _) => (State::Text, Effect::None),
        };
        self.state = state;
        effect
    }

    fn complete(&self, last: u8) -> Effect {
        let parameters = self.parameters.as_slice();
        match last {
            b'h' | b'l' if matches!(parameters, b"?1049" | b"?1047" | b"?47") => {
                Effect::Alternate(last == b'h')
            }
            // Colours, modes, erasing, reports, the cursor's shape.
            b'm' | b'h' | b'l' | b'J' | b'K' | b'X' | b'n' | b'c' | b'q' | b'p' | b't' => Effect::None,
            b'C' | b'G' | b'a' | b'`' | b'D' | b'I' | b'Z' => Effect::Along,
            b'H' | b'f' => Effect::Column(column(parameters)),
            _ => Effect::Column(None),
        }
    }
}

/// The column, from 0, of a cursor position `row;column`.
fn column(parameters: &[u8]) -> Option<u16> {
    let column = parameters.split(|byte| *byte == b';').nth(1).unwrap_or_default();
    match column {
        b"" => Some(0),
        digits => str::from_utf8(digits).ok()?.parse::<u16>().ok().map(|column| column.saturating_sub(1)),
    }
}

fn escaped(byte: u8) -> Effect {
    match byte {
        // Keypad modes, and the end of a string.
        b'=' | b'>' => Effect::None,
        _ => Effect::Column(None),
    }
}
