//! Answers that can be masked only as a whole: an object or list in protobuf. They are read before anything of them goes to
//! the client, so that one that cannot be masked can be asked for again in JSON, or be refused in words.

use bytes::Bytes;
use http_body::Body as _;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use portcullis_identity::{Share, Uid};
use portcullis_mask::{BodyMasker, MaskError, PROTOBUF_LIMIT};

use crate::body::Through;
use crate::limits::Limits;
use crate::refusal::Refusal;

/// Bytes of an answer that are held without a place among the large ones. Most objects are smaller.
const SMALL: usize = 256 * 1024;

/// An answer of the API server, masked or about to be.
pub(crate) enum Answer {
    /// As it comes, through the masker, if it is masked.
    Streaming(Incoming, Option<Through>),
    /// Masked.
    Whole(Bytes),
}

/// Why an answer was not read.
pub(crate) enum Unread {
    /// In another format it might be.
    Format(Refusal),
    /// The API server failed.
    Upstream(hyper::Error),
}

/// Reads and masks all of `body`. What it takes stays counted for `uid` until the client has it.
pub(crate) async fn read(
    mut body: Incoming,
    mut masker: BodyMasker,
    limits: &Limits,
    uid: Uid,
) -> Result<Bytes, Unread> {
    if body.size_hint().lower() > PROTOBUF_LIMIT as u64 {
        return Err(MaskError::TooLarge { limit: PROTOBUF_LIMIT }.into());
    }
    let (mut masked, mut place) = (Vec::new(), None);
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame.map_err(Unread::Upstream)?.into_data() else { continue };
        masker.push(&data, &mut masked)?;
        if masker.held() > SMALL && place.is_none() {
            place = Some(limits.held_answer(uid).ok_or(Unread::Format(Refusal::TooManyAnswers))?);
        }
    }
    masker.finish(&mut masked)?;
    Ok(Bytes::from_owner(Held { masked, _place: place }))
}

/// A masked answer with its place.
struct Held {
    masked: Vec<u8>,
    _place: Option<Share>,
}

impl AsRef<[u8]> for Held {
    fn as_ref(&self) -> &[u8] {
        &self.masked
    }
}

impl From<MaskError> for Unread {
    fn from(error: MaskError) -> Self {
        Self::Format(error.into())
    }
}
