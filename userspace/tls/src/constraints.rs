//! What the interception CA may vouch for: X.509 name constraints (RFC 5280 section 4.2.1.10) that name the configured
//! targets and nothing else.
//!
//! A constraint limits only names of its own kind: a CA that is permitted DNS names alone may still vouch for every
//! address. So a kind that no target uses is excluded as a whole. Within DNS, RFC 5280 has no exact match: permitting
//! `api.example.com` permits the names below it too.

use std::{
    collections::BTreeSet,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use rcgen::{CidrSubnet, GeneralSubtree, NameConstraints};
use x509_parser::{
    certificate::X509Certificate,
    extensions::{GeneralName, GeneralSubtree as ParsedSubtree},
};

use crate::{Name, TargetNames, TlsError};

/// The names and addresses of all targets. Never empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Constraints(BTreeSet<Name>);

impl Constraints {
    /// The constraints for these targets.
    ///
    /// # Errors
    /// [`TlsError::NoTargets`] when they have no name at all.
    pub fn of<'a>(targets: impl IntoIterator<Item = &'a TargetNames>) -> Result<Self, TlsError> {
        let names: BTreeSet<Name> = targets.into_iter().flat_map(TargetNames::iter).cloned().collect();
        if names.is_empty() { Err(TlsError::NoTargets) } else { Ok(Self(names)) }
    }

    /// Whether a configured target is called this.
    pub fn contains(&self, name: &Name) -> bool {
        self.0.contains(name)
    }

    /// What these constraints name and the others do not.
    pub(crate) fn beyond(&self, others: Option<&Self>) -> Vec<Name> {
        self.0.iter().filter(|name| others.is_none_or(|others| !others.contains(name))).cloned().collect()
    }

    /// The extension that says so in a certificate.
    pub(crate) fn extension(&self) -> NameConstraints {
        let permitted = self.0.iter().map(|name| match name {
            Name::Dns(name) => GeneralSubtree::DnsName(name.as_ref().to_owned()),
            Name::Ip(address) => {
                let bits = if address.is_ipv4() { 32 } else { 128 };
                GeneralSubtree::IpAddress(CidrSubnet::from_addr_prefix(*address, bits))
            }
        });
        let mut excluded = Vec::new();
        if !self.0.iter().any(|name| matches!(name, Name::Dns(_))) {
            excluded.push(GeneralSubtree::DnsName(String::new()));
        }
        if !self.0.iter().any(|name| matches!(name, Name::Ip(_))) {
            excluded.extend(
                [IpAddr::V4(Ipv4Addr::UNSPECIFIED), IpAddr::V6(Ipv6Addr::UNSPECIFIED)]
                    .map(|all| GeneralSubtree::IpAddress(CidrSubnet::from_addr_prefix(all, 0))),
            );
        }
        NameConstraints { permitted_subtrees: permitted.collect(), excluded_subtrees: excluded }
    }

    /// Reads the constraints of a certificate back. `None` when it is not limited exactly as [`Self::extension`]
    /// limits it: then it is not one of ours, or an older version's.
    pub(crate) fn of_certificate(certificate: &X509Certificate<'_>) -> Option<Self> {
        let extension = certificate.name_constraints().ok()??;
        let permitted = extension.value.permitted_subtrees.as_deref()?;
        let names = permitted.iter().map(parsed_name).collect::<Option<BTreeSet<Name>>>()?;
        let found = Self(names);
        let excluded = extension.value.excluded_subtrees.as_ref().map_or(0, Vec::len);
        let as_written = extension.critical && excluded == found.extension().excluded_subtrees.len();
        as_written.then_some(found)
    }
}

/// The one name that a permitted subtree stands for, if it stands for one.
fn parsed_name(subtree: &ParsedSubtree<'_>) -> Option<Name> {
    match &subtree.base {
        GeneralName::DNSName(name) => name.parse().ok(),
        GeneralName::IPAddress(bytes) => match bytes.split_at_checked(bytes.len() / 2)? {
            (address, [255, 255, 255, 255]) => <[u8; 4]>::try_from(address).ok().map(|a| Name::ip(a.into())),
            (address, mask) if mask == [255; 16] => {
                <[u8; 16]>::try_from(address).ok().map(|a| Name::ip(a.into()))
            }
            _ => None,
        },
        _ => None,
    }
}
