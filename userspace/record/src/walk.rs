//! Reads the frames of a recording in order, and finds what is wrong with it on the way.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{BufReader, Read};
use std::path::{Path, PathBuf};

use jiff::Timestamp;

use crate::damage::{Damage, DamageKind};
use crate::event::{Channel, Event};
use crate::frame::{self, DataHead, FrameHeader};
use crate::segment::{self, BadSegment, SegmentHeader};
use crate::{RecordError, SessionId};

/// One frame, understood.
#[derive(Debug, Clone, PartialEq)]
pub struct Entry {
    /// Its number in the session, from 0.
    pub seq: u64,
    /// Microseconds since the session began.
    pub offset_us: u64,
    /// The same as a time of day.
    pub at: Timestamp,
    /// What it holds.
    pub body: Body,
}

/// What a frame holds.
#[derive(Debug, Clone, PartialEq)]
#[expect(clippy::large_enum_variant, reason = "entries are looked at one by one, not collected")]
pub enum Body {
    /// Something happened.
    Event(Event),
    /// Bytes passed.
    Data {
        /// The request that they belong to.
        request: u32,
        /// Which way.
        channel: Channel,
        /// The bytes, as the engineer saw or sent them.
        bytes: Vec<u8>,
    },
    /// A frame, or a channel of data, of a later version.
    Unknown {
        /// Its kind.
        kind: u8,
    },
}

/// What a walk meets.
#[derive(Debug, Clone, PartialEq)]
#[expect(clippy::large_enum_variant, reason = "as for `Body`")]
pub enum Found {
    /// A whole frame.
    Entry(Entry),
    /// A place where evidence is missing or not what was written.
    Damage(Damage),
}

/// What a walk meets, before it is understood.
#[derive(Debug)]
pub(crate) enum Step {
    Frame(Frame),
    Damage(Damage),
}

/// A frame whose checksums are right.
#[derive(Debug)]
pub(crate) struct Frame {
    pub(crate) header: FrameHeader,
    /// Empty for data in a walk that skips it.
    pub(crate) payload: Vec<u8>,
    segment: u32,
    at: u64,
    started_us: i64,
}

/// The frames of a session, from its first segment to its last.
pub(crate) struct Walk {
    dir: PathBuf,
    session: SessionId,
    segments: std::vec::IntoIter<u32>,
    current: Option<Segment>,
    next_number: u32,
    next_seq: u64,
    last_offset_us: u64,
    skip_data: bool,
    ready: VecDeque<Step>,
}

struct Segment {
    input: BufReader<File>,
    path: PathBuf,
    header: SegmentHeader,
    /// Where `input` is.
    at: u64,
    /// The file's length when it was opened; what a live session adds after that is not looked at.
    length: u64,
}

/// What comes next in a segment.
enum Next {
    Frame(Frame),
    /// A frame whose payload is damaged; the one behind it can be found.
    Damaged(FrameHeader),
    /// Nothing more can be read.
    Lost(DamageKind),
    End,
}

impl Walk {
    /// Walks the session in `dir`. With `skip_data` the bytes of data are neither read nor checked.
    pub(crate) fn new(dir: &Path, session: &SessionId, skip_data: bool) -> Result<Self, RecordError> {
        Ok(Self {
            dir: dir.to_owned(),
            session: session.clone(),
            segments: segments(dir)?.into_iter(),
            current: None,
            next_number: 1,
            next_seq: 0,
            last_offset_us: 0,
            skip_data,
            ready: VecDeque::new(),
        })
    }

    /// Opens the next segment; `false` when there is none.
    fn open_next(&mut self) -> Result<bool, RecordError> {
        let Some(number) = self.segments.next() else {
            // A session has at least one segment.
            if self.next_number == 1 {
                self.damaged(1, 0, DamageKind::Missing);
                self.next_number = 2;
            }
            return Ok(!self.ready.is_empty());
        };
        for missing in self.next_number..number {
            self.damaged(missing, 0, DamageKind::Missing);
        }
        self.next_number = number.saturating_add(1);
        let path = segment::path_of(&self.dir, number);
        let file = File::open(&path).map_err(RecordError::io("open", &path))?;
        let length = file.metadata().map_err(RecordError::io("stat", &path))?.len();
        let mut input = BufReader::with_capacity(64 * 1024, file);
        let mut bytes = [0; segment::HEADER];
        if length < bytes.len() as u64 {
            self.damaged(number, 0, DamageKind::TornTail { bytes: length });
            return Ok(true);
        }
        input.read_exact(&mut bytes).map_err(RecordError::io("read", &path))?;
        match SegmentHeader::decode(&bytes) {
            Ok(header) if header.session == self.session && header.number == number => {
                self.expect_seq(number, 0, header.first_seq);
                self.current = Some(Segment { input, path, header, at: bytes.len() as u64, length });
            }
            Ok(SegmentHeader { session, number: other, .. }) => {
                self.damaged(number, 0, DamageKind::Foreign { session, number: other });
            }
            Err(BadSegment::NotOurs) => self.damaged(number, 0, DamageKind::NotASegment),
            Err(BadSegment::Version(version)) => self.damaged(number, 0, DamageKind::Version { version }),
        }
        Ok(true)
    }

    /// Checks a frame against the one before.
    fn follow(&mut self, segment: u32, at: u64, header: &FrameHeader) {
        self.expect_seq(segment, at, header.seq);
        self.next_seq = header.seq.saturating_add(1);
        if header.offset_us < self.last_offset_us {
            self.damaged(segment, at, DamageKind::Time { seq: header.seq });
        }
        self.last_offset_us = header.offset_us;
    }

    fn expect_seq(&mut self, segment: u32, at: u64, found: u64) {
        let expected = std::mem::replace(&mut self.next_seq, found);
        if found != expected {
            self.damaged(segment, at, DamageKind::Sequence { expected, found });
        }
    }

    fn damaged(&mut self, segment: u32, at: u64, kind: DamageKind) {
        self.ready.push_back(Step::Damage(Damage { segment, at, kind }));
    }
}

impl Iterator for Walk {
    type Item = Result<Step, RecordError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(step) = self.ready.pop_front() {
                return Some(Ok(step));
            }
            let Some(segment) = &mut self.current else {
                match self.open_next() {
                    Ok(true) => continue,
                    Ok(false) => return None,
                    Err(error) => return Some(Err(error)),
                }
            };
            let (number, at) = (segment.header.number, segment.at);
            match segment.next(self.skip_data) {
                Ok(Next::Frame(frame)) => {
                    self.follow(number, at, &frame.header);
                    self.ready.push_back(Step::Frame(frame));
                }
                Ok(Next::Damaged(header)) => {
                    self.follow(number, at, &header);
                    self.damaged(number, at, DamageKind::Payload { seq: header.seq });
                }
                Ok(Next::Lost(kind)) => {
                    self.current = None;
                    self.damaged(number, at, kind);
                }
                Ok(Next::End) => self.current = None,
                Err(error) => {
                    self.current = None;
                    return Some(Err(error));
                }
            }
        }
    }
}

impl Segment {
    fn next(&mut self, skip_data: bool) -> Result<Next, RecordError> {
        let (at, left) = (self.at, self.length - self.at);
        if left == 0 {
            return Ok(Next::End);
        }
        if left < frame::HEADER as u64 {
            return Ok(Next::Lost(DamageKind::TornTail { bytes: left }));
        }
        let mut bytes = [0; frame::HEADER];
        self.input.read_exact(&mut bytes).map_err(RecordError::io("read", &self.path))?;
        let Some(header) = FrameHeader::decode(&bytes) else {
            return Ok(Next::Lost(DamageKind::Frame { bytes: left }));
        };
        let length = frame::HEADER as u64 + u64::from(header.length);
        if left < length {
            return Ok(Next::Lost(DamageKind::TornTail { bytes: left }));
        }
        self.at += length;
        let mut payload = Vec::new();
        if skip_data && header.kind == frame::KIND_DATA {
            self.input.seek_relative(header.length.into()).map_err(RecordError::io("read", &self.path))?;
        } else {
            payload.resize(header.length as usize, 0);
            self.input.read_exact(&mut payload).map_err(RecordError::io("read", &self.path))?;
            if crc32c::crc32c(&payload) != header.payload_crc {
                return Ok(Next::Damaged(header));
            }
        }
        let (segment, started_us) = (self.header.number, self.header.started_us);
        Ok(Next::Frame(Frame { header, payload, segment, at, started_us }))
    }
}

impl Frame {
    /// When it was written.
    pub(crate) fn at(&self) -> Timestamp {
        let us = i64::try_from(self.header.offset_us).unwrap_or(i64::MAX).saturating_add(self.started_us);
        Timestamp::from_microsecond(us).unwrap_or(Timestamp::MAX)
    }

    /// What it holds; data that was skipped is damage.
    pub(crate) fn understand(self) -> Found {
        let FrameHeader { seq, offset_us, kind, .. } = self.header;
        let at = self.at();
        let body = match kind {
            frame::KIND_EVENT => serde_json::from_slice(&self.payload).ok().map(Body::Event),
            frame::KIND_DATA => {
                DataHead::split(&self.payload).map(|(head, bytes)| match Channel::from_number(head.channel) {
                    Some(channel) => Body::Data { request: head.request, channel, bytes: bytes.to_owned() },
                    None => Body::Unknown { kind },
                })
            }
            kind => Some(Body::Unknown { kind }),
        };
        match body {
            Some(body) => Found::Entry(Entry { seq, offset_us, at, body }),
            None => Found::Damage(self.nonsense()),
        }
    }

    pub(crate) fn nonsense(&self) -> Damage {
        let kind = DamageKind::Contents { seq: self.header.seq };
        Damage { segment: self.segment, at: self.at, kind }
    }
}

/// The numbers of the segments in `dir`, in order.
pub(crate) fn segments(dir: &Path) -> Result<Vec<u32>, RecordError> {
    let mut numbers = Vec::new();
    for entry in std::fs::read_dir(dir).map_err(RecordError::io("read", dir))? {
        let entry = entry.map_err(RecordError::io("read", dir))?;
        numbers.extend(entry.file_name().to_str().and_then(segment::number_of));
    }
    numbers.sort_unstable();
    Ok(numbers)
}
