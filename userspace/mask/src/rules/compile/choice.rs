//! Choices by names that no path spells out: patterns are tested one after the other, until it is known what becomes of a
//! field, or where an object stands that said its name.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::{Compiler, Item, RulesError, State};
use crate::names::Names;
use crate::path::Step;
use crate::rules::{Action, Choice, NodeId};

impl Compiler<'_> {
    /// The patterns that fields are tested by at a place, and the strongest mark that each is for.
    pub(super) fn patterns(&self, state: &State) -> Vec<(Arc<Names>, usize)> {
        let mut patterns: Vec<(Arc<Names>, usize)> = Vec::new();
        for item in self.here(state) {
            if let Some(Step::Field(names)) = self.step(item)
                && names.only().is_none()
                && !names.are_all()
                && !patterns.iter().any(|(known, _)| Arc::ptr_eq(known, names))
            {
                patterns.push((Arc::clone(names), item.0));
            }
        }
        patterns.sort_by_key(|(_, mark)| *mark);
        patterns
    }

    /// The tests of a name that is none of the literals.
    pub(super) fn choose(
        &mut self,
        state: &State,
        patterns: &[(Arc<Names>, usize)],
        passed: &mut Vec<Arc<Names>>,
    ) -> Result<Choice, RulesError> {
        self.spend()?;
        let is = |names: &Names| {
            names.are_all() || passed.iter().any(|known| std::ptr::eq(&raw const **known, names))
        };
        let [(names, mark), rest @ ..] = patterns else {
            return self.under(state, |names, _| is(names), None).map(Choice::Done);
        };
        // What a stronger mark has decided needs no more tests.
        let decided = |item: Item| {
            item.0 < *mark
                && self.step((item.0, item.1 + 1)).is_none()
                && matches!(self.step(item), Some(Step::Field(names)) if is(names))
        };
        if self.here(state).into_iter().any(decided) {
            return self.choose(state, &[], passed);
        }
        passed.push(Arc::clone(names));
        let yes = self.choose(state, rest, passed)?;
        passed.pop();
        let no = self.choose(state, rest, passed)?;
        Ok(Choice::Test { names: Arc::clone(names), yes: Box::new(yes), no: Box::new(no) })
    }

    /// Where the object at a place is once its name is known.
    pub(super) fn named(&mut self, id: NodeId, state: &State) -> Result<Option<Choice>, RulesError> {
        if let Some(unnamed) = state.unnamed {
            // An object that says its name twice means one thing to this reader and another to that.
            self.names.insert(id, self.names[&unnamed].clone());
            return Ok(Some(Choice::Done(Action::Enter(unnamed))));
        }
        for item in &state.items {
            if let Some(Step::Where(key, _)) = self.step(*item) {
                let key = key.clone();
                match self.names.get(&id) {
                    Some(other) if *other != key => return Err(RulesError::TwoNames(other.clone(), key)),
                    _ => self.names.insert(id, key),
                };
            }
        }
        if !self.names.contains_key(&id) {
            return Ok(None);
        }
        let mut patterns: Vec<Arc<Names>> = Vec::new();
        for item in &state.items {
            if let Some(Step::Where(_, names)) = self.step(*item)
                && !patterns.iter().any(|known| Arc::ptr_eq(known, names))
            {
                patterns.push(Arc::clone(names));
            }
        }
        self.tell_apart(id, state, &patterns, &mut Vec::new()).map(Some)
    }

    fn tell_apart(
        &mut self,
        id: NodeId,
        state: &State,
        patterns: &[Arc<Names>],
        passed: &mut Vec<Arc<Names>>,
    ) -> Result<Choice, RulesError> {
        self.spend()?;
        let [names, rest @ ..] = patterns else {
            let mut items = BTreeSet::new();
            for item in &state.items {
                match self.step(*item) {
                    Some(Step::Where(_, names)) => {
                        if passed.iter().any(|known| Arc::ptr_eq(known, names)) {
                            self.arrive((item.0, item.1 + 1), &mut items);
                        }
                    }
                    _ => {
                        items.insert(*item);
                    }
                }
            }
            let named = State { items, unnamed: Some(id), ..state.clone() };
            return Ok(Choice::Done(Action::Enter(self.node(named)?)));
        };
        passed.push(Arc::clone(names));
        let yes = self.tell_apart(id, state, rest, passed)?;
        passed.pop();
        let no = self.tell_apart(id, state, rest, passed)?;
        Ok(Choice::Test { names: Arc::clone(names), yes: Box::new(yes), no: Box::new(no) })
    }
}

impl Choice {
    pub(super) fn drops(&self) -> bool {
        match self {
            Self::Done(action) => action.drops(),
            Self::Test { yes, no, .. } => yes.drops() || no.drops(),
        }
    }
}
