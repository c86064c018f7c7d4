//! Masking as a filter, for trying out and for support bundles.

use anyhow::{Context, Result};
use portcullis_mask::{Format, MaskKey, Profile, filter};

use crate::cli::{MaskArgs, MaskFormat};
use crate::config::mask_profile;

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
    let mut profile = args.policy.as_deref().map_or_else(|| Ok(Profile::default()), mask_profile)?;
    if let Some(resource) = &args.resource {
        profile = about(&profile, resource)?;
    }
    filter(std::io::stdin().lock(), std::io::stdout().lock(), format, &profile, &key)?;
    Ok(())
}

/// The profile for a resource, written as kubectl writes it: `secrets`, `deployments.apps`, `serviceaccounts/token`.
fn about(profile: &Profile, text: &str) -> Result<Profile> {
    let (whole, subresource) = text.split_once('/').unwrap_or((text, ""));
    let (resource, group) = whole.split_once('.').unwrap_or((whole, ""));
    profile.about(group, resource, subresource).with_context(|| format!("nothing is masked in {text}"))
}
