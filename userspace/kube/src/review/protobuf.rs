//! As much of protobuf as a review is made of (`k8s.io/api/authorization/v1/generated.proto`): texts and messages by
//! number. A field that is there twice is an error: readers differ in which one they take.

use super::{AccessSpec, NonResourceAttributes, ResourceAttributes, ReviewError};

/// What stands before every object of Kubernetes in protobuf (apimachinery, `runtime/serializer/protobuf`).
const MAGIC: &[u8] = b"k8s\0";

/// The kind of an object, and the object (`runtime.Unknown`).
pub(super) fn envelope(body: &[u8]) -> Result<(String, &[u8]), ReviewError> {
    let unknown = body.strip_prefix(MAGIC).ok_or(ReviewError::Protobuf)?;
    let type_meta = message(unknown, 1)?.unwrap_or_default();
    Ok((text(type_meta, 2)?, message(unknown, 2)?.unwrap_or_default()))
}

pub(super) fn access_spec(spec: &[u8]) -> Result<AccessSpec, ReviewError> {
    let resource = message(spec, 1)?.map(|of| {
        Ok(ResourceAttributes {
            namespace: text(of, 1)?,
            verb: text(of, 2)?,
            group: text(of, 3)?,
            version: text(of, 4)?,
            resource: text(of, 5)?,
            subresource: text(of, 6)?,
            name: text(of, 7)?,
        })
    });
    let path =
        message(spec, 2)?.map(|of| Ok(NonResourceAttributes { path: text(of, 1)?, verb: text(of, 2)? }));
    Ok(AccessSpec { resource_attributes: resource.transpose()?, non_resource_attributes: path.transpose()? })
}

/// The text in a field; empty where it is missing.
pub(super) fn text(message: &[u8], field: u64) -> Result<String, ReviewError> {
    let bytes = self::message(message, field)?.unwrap_or_default();
    String::from_utf8(bytes.to_vec()).map_err(|_| ReviewError::Protobuf)
}

/// The bytes in a field of a message.
pub(super) fn message(mut rest: &[u8], field: u64) -> Result<Option<&[u8]>, ReviewError> {
    let mut found = None;
    while !rest.is_empty() {
        let key = varint(&mut rest)?;
        let length = match key & 7 {
            0 => {
                varint(&mut rest)?;
                0
            }
            1 => 8,
            2 => usize::try_from(varint(&mut rest)?).map_err(|_| ReviewError::Protobuf)?,
            5 => 4,
            _ => return Err(ReviewError::Protobuf),
        };
        let (value, after) = rest.split_at_checked(length).ok_or(ReviewError::Protobuf)?;
        rest = after;
        if key >> 3 == field && (key & 7 != 2 || found.replace(value).is_some()) {
            return Err(ReviewError::Protobuf);
        }
    }
    Ok(found)
}

fn varint(rest: &mut &[u8]) -> Result<u64, ReviewError> {
    let mut value = 0_u64;
    for shift in (0..64).step_by(7) {
        let (byte, after) = rest.split_first().ok_or(ReviewError::Protobuf)?;
        *rest = after;
        // The tenth byte has room for one bit.
        if shift == 63 && *byte > 1 {
            return Err(ReviewError::Protobuf);
        }
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Ok(value);
        }
    }
    Err(ReviewError::Protobuf)
}
