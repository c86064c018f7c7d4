//! What is masked in the recording alone: what the client types, and the heads of forwarded HTTP, which have to pass as
//! they are. Nobody waits for a recording, so that what is held here waits until it is decided.

use std::collections::BTreeMap;

use portcullis_mask::TextMasker;
use portcullis_record::{Channel, RecordError};

use super::masking::Masking;
use crate::record::RequestRecord;

/// The maskers of what is recorded, by connection and channel.
pub(super) struct Typed {
    /// None: everything is recorded as it is.
    masking: Option<Masking>,
    maskers: BTreeMap<(Connection, Channel), TextMasker>,
    masked: Vec<u8>,
}

/// A forwarded connection, by port and number; two ports may use the same number.
pub(super) type Connection = (u16, u32);

impl Typed {
    pub(super) fn new(masking: Option<Masking>) -> Self {
        Self { masking, maskers: BTreeMap::new(), masked: Vec::new() }
    }

    /// Records `bytes` of a connection, masked.
    pub(super) fn push(
        &mut self,
        connection: Connection,
        channel: Channel,
        bytes: &[u8],
        record: &RequestRecord,
    ) -> Result<(), RecordError> {
        let Self { masking: Some(masking), maskers, masked } = self else {
            return record.data(channel, bytes);
        };
        let masker = maskers.entry((connection, channel)).or_insert_with(|| masking.text());
        masked.clear();
        masker.push(bytes, masked);
        keep(channel, masked, record)
    }

    /// Records what is held of one side of a connection.
    pub(super) fn close(
        &mut self,
        connection: Connection,
        channel: Channel,
        record: &RequestRecord,
    ) -> Result<(), RecordError> {
        let Some(mut masker) = self.maskers.remove(&(connection, channel)) else { return Ok(()) };
        self.masked.clear();
        masker.finish(&mut self.masked);
        keep(channel, &self.masked, record)
    }

    /// Records all that is held.
    pub(super) fn finish(&mut self, record: &RequestRecord) -> Result<(), RecordError> {
        let open: Vec<(Connection, Channel)> = self.maskers.keys().copied().collect();
        open.into_iter().try_for_each(|(connection, channel)| self.close(connection, channel, record))
    }
}

fn keep(channel: Channel, masked: &[u8], record: &RequestRecord) -> Result<(), RecordError> {
    if masked.is_empty() { Ok(()) } else { record.data(channel, masked) }
}
