//! The host's accounts, behind a trait so that tests need no `/etc/passwd` of their own.

use std::collections::BTreeSet;
use std::ffi::CString;
use std::io;

use nix::unistd::{self, Group, User, getgrouplist};

use crate::{IdentityError, Uid};

/// An account of this host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Account {
    /// Login name.
    pub name: String,
    /// Names of its primary and supplementary groups.
    pub groups: BTreeSet<String>,
}

/// Looks accounts up. May block: a name service can be on the network.
pub trait Accounts: Send + Sync {
    /// The account of `uid`; `None` when there is surely no such account.
    ///
    /// # Errors
    /// [`IdentityError::NameService`] when the lookup itself failed.
    fn account(&self, uid: Uid) -> Result<Option<Account>, IdentityError>;
}

/// The name service switch: `getpwuid_r(3)`, `getgrouplist(3)`, `getgrgid_r(3)`.
#[derive(Debug, Clone, Copy, Default)]
pub struct Nss;

impl Accounts for Nss {
    fn account(&self, uid: Uid) -> Result<Option<Account>, IdentityError> {
        let failed = |source: io::Error| IdentityError::NameService { uid, source };
        let Some(user) =
            User::from_uid(unistd::Uid::from_raw(uid.0)).map_err(|errno| failed(errno.into()))?
        else {
            return Ok(None);
        };
        let name = CString::new(user.name.as_bytes()).map_err(|nul| failed(nul.into()))?;
        let mut groups = BTreeSet::new();
        for gid in getgrouplist(&name, user.gid).map_err(|errno| failed(errno.into()))? {
            // A gid without a name cannot be named by a role either: leaving it out only withholds.
            if let Some(group) = Group::from_gid(gid).map_err(|errno| failed(errno.into()))? {
                groups.insert(group.name);
            }
        }
        Ok(Some(Account { name: user.name, groups }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn root_is_an_account_and_a_free_uid_is_not() {
        let root = Nss.account(Uid::ROOT).unwrap().unwrap();
        assert_eq!(root.name, "root");
        assert!(root.groups.contains("root"));
        assert_eq!(Nss.account(Uid(3_999_999_999)).unwrap(), None);
    }
}
