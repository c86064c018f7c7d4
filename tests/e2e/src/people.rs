//! The people on a stage.

/// Somebody on the bastion. They need no account: the configuration names their uid.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Person {
    /// What they are called.
    pub name: &'static str,
    /// Their uid.
    pub uid: u32,
    /// Their groups.
    pub groups: &'static [&'static str],
}

/// An engineer.
pub const ALICE: Person = Person { name: "alice", uid: 61001, groups: &["dev"] };
/// Their lead, who approves.
pub const BOB: Person = Person { name: "bob", uid: 61002, groups: &["dev", "leads"] };
/// Somebody in no group at all.
pub const CAROL: Person = Person { name: "carol", uid: 61003, groups: &[] };
/// An engineer who is after what others have.
pub const MALLORY: Person = Person { name: "mallory", uid: 61004, groups: &["dev"] };

/// All of them.
pub(crate) const EVERYBODY: [Person; 4] = [ALICE, BOB, CAROL, MALLORY];
