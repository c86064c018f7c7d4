//! What is masked in an object: a small automaton over the names of its fields, compiled once.
//!
//! Where a value stands decides, never its `kind`: that key may come after the data, and whoever writes an object writes
//! its kind too. Arrays are transparent (an element stands where its array stands). A document is an object, a list
//! (`items`), a Table (`rows[].object`), the event of a watch (`object`), or any of them inside another.
//!
//! Whoever walks an object (of JSON by its keys, of protobuf by the JSON names of its fields) begins at [`ROOT`], asks
//! [`Rules::under_key`] for each field, and [`Rules::for_scalar`] where a scalar stands at a place that was entered. After
//! the string under an [`Action::Name`] the object that it is in stands at [`Rules::named`].

mod compile;
mod reach;

use std::sync::{Arc, OnceLock};

pub use compile::RulesError;
pub(crate) use compile::{Mark, What};

use crate::names::Names;
use crate::placeholder::{How, Mask};
use crate::{Detectors, FieldPath};

/// What is masked in the objects of one resource.
#[derive(Debug)]
pub struct Rules {
    nodes: Vec<Node>,
    /// What they were compiled from, the strongest first.
    marks: Vec<Mark>,
    documents: Documents,
    /// By which is masked what is inside of strings: Helm releases, or in data JSON (by these very rules, if there are no others).
    inside: Option<Arc<Rules>>,
    /// What look at the text that is scanned.
    detectors: Arc<Detectors>,
    /// Of each node, whether nothing there is ever masked; known once it is asked for.
    passing: OnceLock<Box<[bool]>>,
}

/// What the documents are that rules are for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Documents {
    /// Objects of an API server: lists and the like hold documents, metadata stands at paths of its own, keys are names.
    /// What is masked becomes a string, whatever it was.
    Objects,
    /// JSON of any shape. Somebody may hold it against a schema, so what is masked keeps its type: a number becomes 0, and a
    /// boolean, which has no room for a secret, passes. Keys may be data, and are scanned.
    Data,
}

/// A kind of place in a document.
#[derive(Debug)]
struct Node {
    /// Fields known by their whole name, in lower case.
    keys: Vec<(Box<[u8]>, Action)>,
    /// The [`bit`] of each of them.
    bits: u64,
    /// For all other fields.
    other: Choice,
    /// For fields whose names are too long to be looked at.
    long: Action,
    /// For a string, number or boolean that stands at this place itself.
    scalar: Action,
    /// Where the object is once it has said its name.
    named: Option<Choice>,
    /// Some field of it may be dropped.
    drops: bool,
}

/// What a name decides.
#[derive(Debug)]
enum Choice {
    Done(Action),
    Test { names: Arc<Names>, yes: Box<Choice>, no: Box<Choice> },
}

/// A [`Node`] of some [`Rules`].
pub(crate) type NodeId = u32;

/// Where a document begins.
pub(crate) const ROOT: NodeId = 0;

/// What becomes of a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Action {
    /// It passes, with all that is in it.
    Keep,
    /// It passes, but for what detectors find in its text.
    Scan,
    /// It is scanned, unless it is JSON: that is masked by the rules of [`Rules::inside`].
    Text,
    /// It passes, and says what the object is that it stands in: see [`Rules::named`].
    Name,
    /// The fields in it decide.
    Enter(NodeId),
    /// It is replaced, whatever it is. Null stays null, an empty string stays empty.
    Mask(Mask),
    /// A string holding a JSON object, to be masked by the rules from the root on; replaced whole if it is not.
    Json,
    /// A Helm release, to be masked by the rules of [`Rules::release`]; replaced whole if it is not.
    Helm(Mask),
    /// What an error message quotes is replaced.
    Quotes,
}

impl Rules {
    /// Whether the names of fields at this place make a difference.
    #[inline]
    pub(crate) fn reads_keys(&self, node: NodeId) -> bool {
        let node = &self.nodes[node as usize];
        // What scanned text is called is for detectors to know.
        node.bits != 0
            || matches!(node.other, Choice::Test { .. })
            || matches!(node.scalar, Action::Scan | Action::Text)
    }

    /// What becomes of the value under `key`, in any spelling of its letters' case.
    #[inline]
    pub(crate) fn under_key(&self, node: NodeId, key: &[u8]) -> Action {
        let node = &self.nodes[node as usize];
        if node.bits & bit(key) != 0
            && let Some((_, action)) = node.keys.iter().find(|(name, _)| key.eq_ignore_ascii_case(name))
        {
            return *action;
        }
        node.other.by(key)
    }

    /// The same for a key that is too long to be kept, and so none that rules name: what matters is masked.
    pub(crate) fn under_long_key(&self, node: NodeId) -> Action {
        self.nodes[node as usize].long
    }

    /// What becomes of a value that is neither object nor array.
    #[inline]
    pub(crate) fn for_scalar(&self, node: NodeId) -> Action {
        self.nodes[node as usize].scalar
    }

    /// Where an object is that stood at `node`, now that the value of its [`Action::Name`] is known.
    pub(crate) fn named(&self, node: NodeId, name: &[u8]) -> NodeId {
        match self.nodes[node as usize].named.as_ref().map(|choice| choice.by(name)) {
            Some(Action::Enter(named)) => named,
            _ => node,
        }
    }

    /// Whether some field at this place is dropped ([`How::Drop`]), so that what stands between fields matters.
    #[inline]
    pub(crate) fn drops(&self, node: NodeId) -> bool {
        self.nodes[node as usize].drops
    }

    /// What they are for.
    #[inline]
    pub(crate) fn documents(&self) -> Documents {
        self.documents
    }

    /// The rules for what is inside of a Helm release.
    pub(crate) fn release(&self) -> Option<&Arc<Rules>> {
        self.inside.as_ref()
    }

    /// The rules for JSON that is in a string of data.
    pub(crate) fn inside(self: &Arc<Self>) -> &Arc<Self> {
        self.inside.as_ref().unwrap_or(self)
    }

    /// Whether a mask of theirs may come back in a write without showing for one: it is as long as a short value, or the
    /// field was dropped and nothing comes back of it.
    pub fn leave_no_trace(&self) -> bool {
        self.marks.iter().any(|mark| match mark.what {
            What::Mask(how) | What::MaskInside(how) | What::Helm(how) => {
                matches!(how, How::Length | How::Drop)
            }
            What::Keep | What::Scan | What::Text | What::Json | What::Quotes | What::Bytes => false,
        })
    }

    /// The same rules with other detectors than the default ones.
    pub(crate) fn with_detectors(self, detectors: Arc<Detectors>) -> Self {
        Self { detectors, ..self }
    }

    /// What look at the text under an [`Action::Scan`].
    pub(crate) fn detectors(&self) -> &Arc<Detectors> {
        &self.detectors
    }

    /// The same rules, but for what stands at `paths`: that passes, with all that is in it.
    ///
    /// # Errors
    /// When the paths and the rules together are more than an automaton should hold.
    pub fn without(&self, paths: &[FieldPath]) -> Result<Arc<Self>, RulesError> {
        let open = paths.iter().map(|path| Mark { path: path.clone(), what: What::Keep });
        let marks = open.chain(self.marks.iter().cloned()).collect();
        let rules = Self::compile(marks, self.inside.clone(), self.documents)?;
        Ok(Arc::new(Self { detectors: Arc::clone(&self.detectors), ..rules }))
    }
}

impl Choice {
    #[inline]
    fn by(&self, name: &[u8]) -> Action {
        let mut choice = self;
        loop {
            choice = match choice {
                Self::Done(action) => return *action,
                Self::Test { names, yes, .. } if names.contain(name) => yes,
                Self::Test { no, .. } => no,
            };
        }
    }
}

impl Action {
    /// Whether the field goes that the value is of.
    #[inline]
    pub(crate) fn drops(self) -> bool {
        matches!(self, Self::Mask(Mask { how: How::Drop, .. }))
    }
}

/// Tells most names from those that rules know, by their lengths and first letters, whose case does not count.
fn bit(name: &[u8]) -> u64 {
    let first = name.first().map_or(0, |first| first | 0x20);
    1 << (((name.len() * 11) as u8 ^ first) % 64)
}
