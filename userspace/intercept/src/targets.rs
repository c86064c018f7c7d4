//! What is intercepted: the targets' addresses, in the kernel and as a table for the proxy.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fmt;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::str::FromStr;
use std::sync::Arc;

use aya::maps::{self, MapData, MapError};
use portcullis_abi::maps::ENDPOINTS;
use portcullis_abi::{Address, Endpoint, MAX_ENDPOINTS, NAME_LEN};
use portcullis_identity::OriginalDst;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use crate::GateError;
use crate::pins::Pins;

/// A target's name: 1 to 63 bytes, letters, digits, `-`, `_` and `.`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct TargetName(String);

/// Whose address is whose, at one moment.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TargetTable {
    addresses: HashMap<Address, TargetName>,
}

/// How many endpoints a [`Targets::sync`] touched.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Changes {
    /// Now intercepted.
    pub added: usize,
    /// No longer intercepted.
    pub removed: usize,
}

/// The kernel's map of endpoints, and the table that the proxy reads.
#[derive(Debug)]
pub struct Targets {
    map: maps::HashMap<MapData, Address, Endpoint>,
    table: watch::Sender<Arc<TargetTable>>,
}

impl TargetName {
    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TargetTable {
    /// The target that a client wanted to reach; `None` when that address is nobody's (any more): refuse.
    pub fn target_of(&self, destination: OriginalDst) -> Option<&TargetName> {
        self.addresses.get(&Address::from(destination.0))
    }
}

impl Targets {
    pub(crate) fn open(pins: &Pins) -> Result<Self, GateError> {
        let map = pins.map(ENDPOINTS)?;
        let addresses = entries(&map)?.targets;
        Ok(Self { map, table: watch::Sender::new(Arc::new(TargetTable { addresses })) })
    }

    /// The table now, and whenever it changes.
    pub fn watch(&self) -> watch::Receiver<Arc<TargetTable>> {
        self.table.subscribe()
    }

    /// What is intercepted now, by target, without the other spellings of IPv4 addresses.
    pub fn addresses(&self) -> BTreeMap<TargetName, Vec<SocketAddr>> {
        let table = Arc::clone(&self.table.borrow());
        let mut all: BTreeMap<TargetName, Vec<SocketAddr>> = BTreeMap::new();
        for (address, name) in &table.addresses {
            let address = SocketAddr::from(*address);
            if !is_nat64(address) {
                all.entry(name.clone()).or_default().push(address);
            }
        }
        all.values_mut().for_each(|addresses| addresses.sort());
        all
    }

    /// Makes the kernel intercept exactly `wanted`. What is new is added before what is not wanted is removed.
    ///
    /// # Errors
    /// [`GateError::Address`] for an address that cannot be intercepted, before anything changed;
    /// [`GateError::Full`] and [`GateError::Map`], after which everything that was intercepted still is.
    pub fn sync(&mut self, wanted: &BTreeMap<TargetName, Vec<SocketAddr>>) -> Result<Changes, GateError> {
        // What the kernel has is read each time: `gate load` may have changed it.
        let Entries { own, targets: old } = self.entries()?;
        let wanted = spell_out(wanted, &own)?;
        let added = self.insert_new(&old, &wanted)?;
        // An address that is in the table alone harms nobody; one that is in the kernel alone is refused.
        self.table.send_replace(Arc::new(TargetTable { addresses: wanted.clone() }));
        let stale: Vec<_> = old.into_keys().filter(|address| !wanted.contains_key(address)).collect();
        stale.iter().try_for_each(|address| self.remove(address))?;
        Ok(Changes { added, removed: stale.len() })
    }

    /// Intercepts `wanted` besides what is intercepted already.
    pub(crate) fn add(
        &mut self,
        wanted: &BTreeMap<TargetName, Vec<SocketAddr>>,
    ) -> Result<Changes, GateError> {
        let Entries { own, targets: old } = self.entries()?;
        let added = self.insert_new(&old, &spell_out(wanted, &own)?)?;
        Ok(Changes { added, removed: 0 })
    }

    /// Marks the proxy's own addresses; connects to them are refused.
    pub(crate) fn own(&mut self, listen: [Address; 2]) -> Result<(), GateError> {
        for address in listen.into_iter().filter(|address| address.port != 0) {
            self.insert(address, Endpoint::OWN, "")?;
        }
        let stale: Vec<_> =
            self.entries()?.own.into_iter().filter(|address| !listen.contains(address)).collect();
        stale.iter().try_for_each(|address| self.remove(address))
    }

    fn entries(&self) -> Result<Entries, GateError> {
        entries(&self.map)
    }

    fn insert_new(
        &mut self,
        old: &HashMap<Address, TargetName>,
        wanted: &HashMap<Address, TargetName>,
    ) -> Result<usize, GateError> {
        let new = || wanted.iter().filter(|(address, name)| old.get(address) != Some(name));
        for (&address, name) in new() {
            self.insert(address, Endpoint::TARGET, name.as_str())?;
        }
        Ok(new().count())
    }

    fn insert(&mut self, address: Address, kind: u32, text: &str) -> Result<(), GateError> {
        let mut name = [0; NAME_LEN];
        name[..text.len()].copy_from_slice(text.as_bytes());
        self.map.insert(address, Endpoint { kind, name }, 0).map_err(|error| match &error {
            MapError::SyscallError(call)
                if call.io_error.kind() == std::io::ErrorKind::ArgumentListTooLong =>
            {
                GateError::Full { max: MAX_ENDPOINTS }
            }
            _ => GateError::map(ENDPOINTS)(error),
        })
    }

    fn remove(&mut self, address: &Address) -> Result<(), GateError> {
        match self.map.remove(address) {
            Ok(()) | Err(MapError::KeyNotFound) => Ok(()),
            Err(error) => Err(GateError::map(ENDPOINTS)(error)),
        }
    }
}

impl FromStr for TargetName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let known = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
        if text.is_empty() || text.len() >= NAME_LEN || !text.bytes().all(known) {
            return Err(format!(
                "{text:?} is not a target's name: 1 to {} letters, digits, '-', '_' and '.'",
                NAME_LEN - 1
            ));
        }
        Ok(Self(text.to_owned()))
    }
}

impl TryFrom<String> for TargetName {
    type Error = String;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<TargetName> for String {
    fn from(name: TargetName) -> Self {
        name.0
    }
}

impl fmt::Display for TargetName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What the kernel has.
struct Entries {
    own: HashSet<Address>,
    targets: HashMap<Address, TargetName>,
}

fn entries(map: &maps::HashMap<MapData, Address, Endpoint>) -> Result<Entries, GateError> {
    let mut found = Entries { own: HashSet::new(), targets: HashMap::new() };
    for entry in map.iter() {
        let (address, endpoint) = entry.map_err(GateError::map(ENDPOINTS))?;
        if endpoint.kind == Endpoint::OWN {
            found.own.insert(address);
        } else {
            found.targets.insert(address, name_of(&endpoint)?);
        }
    }
    Ok(found)
}

/// Every spelling of every address, once each.
fn spell_out(
    wanted: &BTreeMap<TargetName, Vec<SocketAddr>>,
    own: &HashSet<Address>,
) -> Result<HashMap<Address, TargetName>, GateError> {
    let mut all = HashMap::new();
    for (name, addresses) in wanted {
        for &address in addresses {
            let refuse = |why: String| GateError::Address { target: name.clone(), address, why };
            let key = Address::from(address);
            if address.port() == 0 || key != key.canonical() {
                return Err(refuse("connects to it cannot be told from others".to_owned()));
            }
            if own.contains(&key) {
                return Err(refuse("the proxy itself listens there".to_owned()));
            }
            for key in [Some(key), nat64(address).map(Address::from)].into_iter().flatten() {
                if let Some(other) = all.insert(key, name.clone()).filter(|other| other != name) {
                    return Err(refuse(format!("target {other} has it too")));
                }
            }
        }
    }
    Ok(all)
}

/// The NAT64 well-known prefix (RFC 6052, 2.1): where a gateway translates, an IPv4 address is also reachable
/// as `64:ff9b::a.b.c.d`.
const NAT64: [u16; 6] = [0x64, 0xff9b, 0, 0, 0, 0];

fn nat64(address: SocketAddr) -> Option<SocketAddr> {
    let SocketAddr::V4(address) = address else { return None };
    let [.., high, low] = address.ip().to_ipv6_mapped().segments();
    let [a, b, c, d, e, f] = NAT64;
    Some(SocketAddr::new(Ipv6Addr::new(a, b, c, d, e, f, high, low).into(), address.port()))
}

fn is_nat64(address: SocketAddr) -> bool {
    matches!(address.ip(), IpAddr::V6(ip) if ip.segments()[..6] == NAT64)
}

fn name_of(endpoint: &Endpoint) -> Result<TargetName, GateError> {
    let text = endpoint.name.split(|&byte| byte == 0).next().unwrap_or_default();
    String::from_utf8_lossy(text).parse().map_err(GateError::Config)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wanted(entries: &[(&str, &[&str])]) -> BTreeMap<TargetName, Vec<SocketAddr>> {
        let address = |text: &&str| text.parse().unwrap();
        entries
            .iter()
            .map(|(name, addresses)| (name.parse().unwrap(), addresses.iter().map(address).collect()))
            .collect()
    }

    fn spelt(entries: &[(&str, &[&str])]) -> Result<HashMap<Address, TargetName>, String> {
        let own = HashSet::from([Address::from("127.0.0.1:843".parse::<SocketAddr>().unwrap())]);
        spell_out(&wanted(entries), &own).map_err(|error| error.to_string())
    }

    #[test]
    fn ipv4_is_guarded_in_all_its_spellings() {
        let table = TargetTable { addresses: spelt(&[("prod", &["10.1.2.3:443"])]).unwrap() };
        for spelling in ["10.1.2.3:443", "[::ffff:10.1.2.3]:443", "[64:ff9b::10.1.2.3]:443"] {
            let destination = OriginalDst(spelling.parse().unwrap());
            assert_eq!(table.target_of(destination).map(TargetName::as_str), Some("prod"), "{spelling}");
        }
        assert_eq!(table.target_of(OriginalDst("10.1.2.3:6443".parse().unwrap())), None);
    }

    #[test]
    fn addresses_that_cannot_be_guarded_are_refused() {
        for (entries, expected) in [
            (&[("a", &["0.0.0.0:443"][..])][..], "target a: 0.0.0.0:443: connects to it cannot be told"),
            (&[("a", &["10.0.0.1:0"][..])][..], "target a: 10.0.0.1:0: connects to it cannot be told"),
            (&[("a", &["127.0.0.1:843"][..])][..], "target a: 127.0.0.1:843: the proxy itself listens there"),
            (
                &[("a", &["10.0.0.1:443"][..]), ("b", &["10.0.0.1:443"][..])][..],
                "target b: 10.0.0.1:443: target a has it too",
            ),
        ] {
            let error = spelt(entries).unwrap_err();
            assert!(error.starts_with(expected), "{error}");
        }
        spelt(&[("a", &["10.0.0.1:443", "10.0.0.1:443"])]).unwrap();
    }

    #[test]
    fn names_fit_the_kernels_map() {
        for good in ["prod", "eu-west-1.prod_2", &"x".repeat(63)] {
            good.parse::<TargetName>().unwrap();
        }
        for bad in ["", "a b", "a\0", "ü", &"x".repeat(64)] {
            bad.parse::<TargetName>().unwrap_err();
        }
    }
}
