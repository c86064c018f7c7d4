//! From marked paths to the automaton: the subset construction, over paths that read the same name. [`choice`] is for names
//! that no path spells out.

mod choice;

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, OnceLock};

use super::{Action, Choice, Documents, Node, NodeId, Rules, bit};
use crate::names::Names;
use crate::path::Step;
use crate::placeholder::{Form, How, Mask};
use crate::{Detectors, FieldPath};

/// Nodes and tests of names that an automaton may have: far more than any policy written by hand asks for.
const LIMIT: usize = 50_000;

/// What holds the objects of a document that is more than one object, among [`Documents::Objects`].
const WRAPPERS: [&str; 3] = ["items", "rows", "object"];

/// What becomes of the values at a path.
#[derive(Debug, Clone)]
pub(crate) struct Mark {
    pub(crate) path: FieldPath,
    pub(crate) what: What,
}

/// What becomes of a value at a marked path, and of what is inside of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum What {
    /// It passes.
    Keep,
    /// It passes, but for what detectors find.
    Scan,
    /// It is scanned; if it is JSON, it is masked inside.
    Text,
    /// It is replaced whole, whatever it is: what should be a string.
    Mask(How),
    /// It is replaced; in an object or array, each value in it is.
    MaskInside(How),
    /// It is a copy of an object as JSON, masked by the same rules.
    Json,
    /// It is a Helm release, masked by rules of its own; replaced if it is none.
    Helm(How),
    /// It is a message, masked where it quotes.
    Quotes,
    /// Whatever else becomes of it, it is bytes and so base64 in JSON.
    Bytes,
}

/// The paths and the rules are more than an automaton should hold.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RulesError {
    /// Patterns that meet at one place multiply.
    #[error("too many patterns meet: write fewer, or with fewer * and **")]
    TooMany,
    /// An object cannot be known by two of its fields at once.
    #[error("[{0}=…] and [{1}=…] stand at one place; only one field can say what an object is")]
    TwoNames(Box<str>, Box<str>),
}

/// A mark and how many of its steps are done.
type Item = (usize, usize);

/// What is known at a place: how far each path has come.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct State {
    items: BTreeSet<Item>,
    /// The strongest mark that covers all of the place.
    base: Option<usize>,
    /// It holds bytes.
    bytes: bool,
    /// A document, or part of one, may begin here.
    root: bool,
    /// Where the object was before it said its name.
    unnamed: Option<NodeId>,
}

struct Compiler<'m> {
    marks: &'m [Mark],
    documents: Documents,
    /// Of the nodes that there are to be, by their numbers.
    states: Vec<State>,
    known: HashMap<State, NodeId>,
    /// Names by which objects at a node are told apart.
    names: HashMap<NodeId, Box<str>>,
    spent: usize,
}

impl Rules {
    /// Compiles `marks`, of which the first that reaches a value decides. `release` is for Helm releases.
    pub(crate) fn new(marks: Vec<Mark>, release: Option<Arc<Rules>>) -> Result<Self, RulesError> {
        Self::compile(marks, release, Documents::Objects)
    }

    /// The same for JSON of any shape ([`Documents::Data`]). What is in strings of it is masked by the rules `inside`, or by
    /// the same ones.
    pub(crate) fn for_data(marks: Vec<Mark>, inside: Option<Arc<Rules>>) -> Result<Self, RulesError> {
        Self::compile(marks, inside, Documents::Data)
    }

    pub(super) fn compile(
        marks: Vec<Mark>,
        inside: Option<Arc<Rules>>,
        documents: Documents,
    ) -> Result<Self, RulesError> {
        let nodes = Compiler {
            marks: &marks,
            documents,
            states: Vec::new(),
            known: HashMap::new(),
            names: HashMap::new(),
            spent: 0,
        }
        .nodes()?;
        Ok(Self { nodes, marks, documents, inside, detectors: Detectors::shared(), passing: OnceLock::new() })
    }
}

impl Compiler<'_> {
    fn nodes(mut self) -> Result<Vec<Node>, RulesError> {
        let items = self.start();
        self.node(State { items, base: None, bytes: false, root: true, unnamed: None })?;
        let mut nodes = Vec::new();
        while let Some(state) = self.states.get(nodes.len()) {
            let state = state.clone();
            nodes.push(self.made(nodes.len() as NodeId, &state)?);
        }
        Ok(nodes)
    }

    fn start(&self) -> BTreeSet<Item> {
        let mut start = BTreeSet::new();
        (0..self.marks.len()).for_each(|mark| self.arrive((mark, 0), &mut start));
        start
    }

    /// Adds an item; any number of fields may be none.
    fn arrive(&self, (mark, at): Item, items: &mut BTreeSet<Item>) {
        if items.insert((mark, at)) && matches!(self.step((mark, at)), Some(Step::Deep)) {
            self.arrive((mark, at + 1), items);
        }
    }

    fn step(&self, (mark, at): Item) -> Option<&Step> {
        self.marks[mark].path.steps().get(at)
    }

    /// The number of a state's node.
    fn node(&mut self, state: State) -> Result<NodeId, RulesError> {
        if let Some(known) = self.known.get(&state) {
            return Ok(*known);
        }
        self.spend()?;
        let id = self.states.len() as NodeId;
        self.states.push(state.clone());
        self.known.insert(state, id);
        Ok(id)
    }

    fn made(&mut self, id: NodeId, state: &State) -> Result<Node, RulesError> {
        let named = self.named(id, state)?;
        let patterns = self.patterns(state);
        let other = self.choose(state, &patterns, &mut Vec::new())?;
        let mut keys = Vec::new();
        for name in self.literals(state) {
            let action = self.under(state, |names, _| names.contain(&name), Some(&name))?;
            if !matches!(other, Choice::Done(same) if same == action) {
                keys.push((name, action));
            }
        }
        if let Some(name) = self.names.get(&id) {
            let name: Box<[u8]> = name.to_ascii_lowercase().into_bytes().into();
            keys.retain(|(key, _)| *key != name);
            keys.push((name, Action::Name));
        }
        let matter = |names: &Names, what| names.are_all() || names.only().is_none() && masks(what);
        let long = self.under(state, matter, None)?;
        Ok(Node {
            bits: keys.iter().fold(0, |bits, (name, _)| bits | bit(name)),
            drops: long.drops() || other.drops() || keys.iter().any(|(_, action)| action.drops()),
            scalar: self.scalar(state),
            keys,
            other,
            long,
            named,
        })
    }

    fn spend(&mut self) -> Result<(), RulesError> {
        self.spent += 1;
        if self.spent > LIMIT { Err(RulesError::TooMany) } else { Ok(()) }
    }

    /// What becomes of a scalar at a place. Where every field of an object is masked, so is what stands in its stead,
    /// unless a stronger mark covers that.
    fn scalar(&self, state: &State) -> Action {
        let ends_every_field = |item: &&Item| {
            let every = matches!(self.step(**item), Some(Step::Field(names)) if names.are_all());
            every && self.step((item.0, item.1 + 1)).is_none()
        };
        let every_field = || state.items.iter().filter(ends_every_field).map(|(mark, _)| *mark);
        let is_bytes = |mark: &usize| self.marks[*mark].what == What::Bytes;
        let form = form(state.bytes || every_field().any(|mark| is_bytes(&mark)));
        let every = every_field().find(|mark| !is_bytes(mark));
        // Every field passing does not let pass what is masked and has none.
        let hides = |mark: &usize| masks(self.marks[*mark].what);
        let mark = match state.base {
            Some(base) => every.filter(hides).into_iter().chain([base]).min(),
            None => every,
        };
        match mark.map(|mark| self.marks[mark].what) {
            None | Some(What::Keep | What::Bytes) => Action::Keep,
            Some(What::Scan) => Action::Scan,
            Some(What::Text) => Action::Text,
            // An element of an array is no field that could be dropped.
            Some(What::Mask(How::Drop) | What::MaskInside(How::Drop)) => {
                Action::Mask(Mask { form, how: How::Fixed })
            }
            Some(What::Mask(how) | What::MaskInside(how)) => Action::Mask(Mask { form, how }),
            Some(What::Json) => Action::Json,
            Some(What::Helm(how)) => Action::Helm(Mask { form, how }),
            Some(What::Quotes) => Action::Quotes,
        }
    }

    /// The names that some path, or the shape of documents, is about.
    fn literals(&self, state: &State) -> BTreeSet<Box<[u8]>> {
        let mut literals: BTreeSet<Box<[u8]>> = BTreeSet::new();
        if state.root {
            literals.extend(self.wrappers().iter().map(|name| name.as_bytes().into()));
        }
        for item in self.here(state) {
            match self.step(item) {
                Some(Step::Field(names)) => literals.extend(names.only().map(Into::into)),
                Some(Step::Deep) => {
                    literals.insert(METADATA.into());
                }
                _ => {}
            }
        }
        literals
    }

    /// See [`WRAPPERS`].
    fn wrappers(&self) -> &'static [&'static str] {
        match self.documents {
            Documents::Objects => &WRAPPERS,
            Documents::Data => &[],
        }
    }

    /// Whether `**` goes into a field of this name.
    fn is_deep(&self, key: Option<&[u8]>) -> bool {
        self.documents == Documents::Data || key != Some(METADATA)
    }

    /// The items of a state; what waits for a name counts as if it were the right one, if it is there to mask.
    fn here(&self, state: &State) -> Vec<Item> {
        let mut here = BTreeSet::new();
        for item in &state.items {
            match self.step(*item) {
                Some(Step::Where(..)) if masks(self.marks[item.0].what) => {
                    self.arrive((item.0, item.1 + 1), &mut here);
                }
                Some(Step::Where(..)) => {}
                _ => self.arrive(*item, &mut here),
            }
        }
        here.into_iter().collect()
    }

    /// What becomes of the value under a key of which it is known which names it `is` one of.
    fn under(
        &mut self,
        state: &State,
        is: impl Fn(&Names, What) -> bool,
        key: Option<&[u8]>,
    ) -> Result<Action, RulesError> {
        let (mut items, mut base, mut bytes) = (BTreeSet::new(), state.base, state.bytes);
        for (mark, at) in self.here(state) {
            match self.step((mark, at)) {
                Some(Step::Deep) if self.is_deep(key) => self.arrive((mark, at), &mut items),
                Some(Step::Field(names)) if is(names, self.marks[mark].what) => {
                    if self.step((mark, at + 1)).is_some() {
                        self.arrive((mark, at + 1), &mut items);
                    } else if self.marks[mark].what == What::Bytes {
                        bytes = true;
                    } else {
                        base = Some(base.map_or(mark, |base| base.min(mark)));
                    }
                }
                _ => {}
            }
        }
        let root =
            state.root && key.is_some_and(|key| self.wrappers().iter().any(|name| name.as_bytes() == key));
        if root {
            items.extend(self.start());
        }
        if let Some(base) = base {
            // What holds objects is gone through, whatever covers it: it is no field of theirs.
            items.retain(|(mark, _)| self.goes_on(base, *mark) || root && *mark < base);
        }
        self.action(State { items, base, bytes, root, unnamed: None })
    }

    /// Whether another mark can still reach what is inside of a value that is marked as a whole. What should be a string,
    /// by the API's own types, has nothing inside.
    fn goes_on(&self, base: usize, other: usize) -> bool {
        let what = self.marks[other].what;
        match self.marks[base].what {
            What::MaskInside(How::Drop) => false,
            What::Keep | What::MaskInside(_) => other < base || what == What::Bytes,
            What::Scan | What::Text => {
                other < base && matches!(what, What::Keep | What::MaskInside(_) | What::Text)
            }
            What::Mask(_) | What::Json | What::Helm(_) | What::Quotes | What::Bytes => false,
        }
    }

    /// What becomes of a value, from what is known of its place.
    fn action(&mut self, state: State) -> Result<Action, RulesError> {
        if !state.items.is_empty() || state.root {
            return self.node(state).map(Action::Enter);
        }
        let form = form(state.bytes);
        Ok(match state.base.map(|mark| self.marks[mark].what) {
            None | Some(What::Keep | What::Bytes) => Action::Keep,
            Some(What::Mask(how) | What::MaskInside(how @ How::Drop)) => Action::Mask(Mask { form, how }),
            Some(What::MaskInside(_) | What::Scan | What::Text) => Action::Enter(self.node(state)?),
            Some(What::Json) => Action::Json,
            Some(What::Helm(how)) => Action::Helm(Mask { form, how }),
            Some(What::Quotes) => Action::Quotes,
        })
    }
}

/// In [`Documents::Objects`], `**` does not go into it: what is there stands at paths of its own.
const METADATA: &[u8] = b"metadata";

/// Whether a mark is there to hide something, and so counts where it is not known whether it does.
fn masks(what: What) -> bool {
    !matches!(what, What::Keep | What::Scan | What::Text)
}

fn form(bytes: bool) -> Form {
    if bytes { Form::Base64 } else { Form::Plain }
}
