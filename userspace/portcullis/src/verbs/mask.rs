//! Masking as a filter, for trying out and for support bundles.

use anyhow::Result;
use portcullis_mask::{Format, MaskKey, Profile, filter};

use crate::cli::{MaskArgs, MaskFormat};

pub(crate) fn run(args: &MaskArgs) -> Result<()> {
    let key = match &args.key {
        Some(path) => MaskKey::load_or_create(path)?,
        None => MaskKey::generate()?,
    };
    let format = match args.format {
        MaskFormat::Json => Format::Json,
        MaskFormat::Table => Format::Table,
        MaskFormat::Watch => Format::Watch,
        MaskFormat::Protobuf => Format::Protobuf,
        MaskFormat::WatchProtobuf => Format::WatchProtobuf,
        MaskFormat::Text => Format::Text,
    };
    filter(std::io::stdin().lock(), std::io::stdout().lock(), format, &Profile::default(), &key)?;
    Ok(())
}
