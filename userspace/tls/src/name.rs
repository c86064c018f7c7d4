//! What a target is called: the DNS names and addresses that clients use to reach it, in one normal form, so that
//! constraints, certificates, SNI and kubeconfigs compare equal when they mean the same.

use std::{cmp::Ordering, collections::BTreeSet, fmt, net::IpAddr, str::FromStr};

use rustls::pki_types::{DnsName, ServerName};
use serde::{Serialize, Serializer};

use crate::TlsError;

/// One DNS name (lower case, no final dot) or one address (an IPv4-mapped IPv6 address is its IPv4 address).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Name {
    /// A host name as in RFC 5280 section 4.2.1.6, without wildcards.
    Dns(DnsName<'static>),
    /// An address, as clients name it when they send no SNI (RFC 6066 section 3 allows no addresses there).
    Ip(IpAddr),
}

impl Name {
    /// The name of an address.
    pub fn ip(address: IpAddr) -> Self {
        Self::Ip(address.to_canonical())
    }

    /// As what a server has to show itself.
    pub fn to_server_name(&self) -> ServerName<'static> {
        match self {
            Self::Dns(name) => ServerName::DnsName(name.clone()),
            Self::Ip(IpAddr::V4(address)) => ServerName::from(*address),
            Self::Ip(IpAddr::V6(address)) => ServerName::from(*address),
        }
    }
}

impl FromStr for Name {
    type Err = TlsError;

    /// Reads a host name or an address; IPv6 may stand in brackets, as in a URL.
    fn from_str(text: &str) -> Result<Self, TlsError> {
        let bare = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(text);
        if let Ok(address) = bare.parse() {
            return Ok(Self::ip(address));
        }
        let name = DnsName::try_from(text.strip_suffix('.').unwrap_or(text))
            .map_err(|_| TlsError::BadName(text.to_owned()))?;
        Ok(Self::Dns(name.to_lowercase_owned()))
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Dns(name) => f.write_str(name.as_ref()),
            Self::Ip(address) => address.fmt(f),
        }
    }
}

impl Ord for Name {
    /// DNS names by spelling, then addresses by number.
    fn cmp(&self, other: &Self) -> Ordering {
        fn key(name: &Name) -> (Option<IpAddr>, &str) {
            match name {
                Name::Dns(name) => (None, name.as_ref()),
                Name::Ip(address) => (Some(*address), ""),
            }
        }
        key(self).cmp(&key(other))
    }
}

impl PartialOrd for Name {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Serialize for Name {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// Everything one target is called.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TargetNames(BTreeSet<Name>);

impl TargetNames {
    /// Whether the target is called this.
    pub fn contains(&self, name: &Name) -> bool {
        self.0.contains(name)
    }

    /// The names in order.
    pub fn iter(&self) -> impl Iterator<Item = &Name> {
        self.0.iter()
    }
}

impl FromIterator<Name> for TargetNames {
    fn from_iter<I: IntoIterator<Item = Name>>(names: I) -> Self {
        Self(names.into_iter().collect())
    }
}

/// A target's address as a kubeconfig's `server:` spells it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// The host part.
    pub host: Name,
    /// The TCP port.
    pub port: u16,
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.host {
            Name::Ip(IpAddr::V6(address)) => write!(f, "[{address}]:{}", self.port),
            host => write!(f, "{host}:{}", self.port),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spellings_of_one_name_are_equal() {
        for (left, right) in [
            ("API.Example.test.", "api.example.test"),
            ("::ffff:10.0.0.1", "10.0.0.1"),
            ("[2001:DB8::1]", "2001:db8:0::1"),
        ] {
            assert_eq!(left.parse::<Name>().unwrap(), right.parse().unwrap(), "{left}");
        }
    }

    #[test]
    fn what_names_no_host_is_refused() {
        for text in ["", ".", "*.example.test", "a b", "host:443", "[api.example.test]", "-x.test"] {
            assert!(text.parse::<Name>().is_err(), "{text:?}");
        }
    }
}
