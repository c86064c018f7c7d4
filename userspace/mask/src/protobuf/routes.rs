//! What becomes of each field of a message at a place, asked of the rules once.

use std::collections::HashMap;
use std::sync::Arc;

use super::schema::{TypeId, schema};
use super::wire::Wire;
use crate::Rules;
use crate::rules::{Action, NodeId};

/// What becomes of the fields of a message.
pub(super) struct Route {
    /// In the order of the type's fields.
    actions: Box<[Action]>,
    /// Whether fields that are not in the tables pass: numbers, and all others.
    unknown: (bool, bool),
}

/// The routes that were asked for.
pub(super) struct Routes {
    rules: Arc<Rules>,
    known: HashMap<(TypeId, NodeId), Arc<Route>>,
}

impl Routes {
    pub(super) fn new(rules: Arc<Rules>) -> Self {
        Self { rules, known: HashMap::new() }
    }

    pub(super) fn rules(&self) -> &Arc<Rules> {
        &self.rules
    }

    /// What becomes of the fields of a `message` at `place`.
    pub(super) fn of(&mut self, message: TypeId, place: NodeId) -> Arc<Route> {
        let route = self.known.entry((message, place)).or_insert_with(|| Arc::new(Route::new(&self.rules, message, place)));
        Arc::clone(route)
    }
}

impl Route {
    fn new(rules: &Rules, message: TypeId, place: NodeId) -> Self {
        let schema = schema();
        let fields = schema.get(message).fields();
        let actions = fields.iter().map(|field| rules.under_key(place, field.name.as_bytes())).collect();
        let passes = |number| rules.passes_unnamed(place, number, |name| schema.has_name(message, name));
        let unknown = (passes(true), passes(false));
        Self { actions, unknown }
    }

    /// Of the field at `index` in its type.
    pub(super) fn action(&self, index: usize) -> Action {
        self.actions[index]
    }

    /// Whether a field passes that is not in the tables.
    pub(super) fn passes_unknown(&self, wire: Wire) -> bool {
        match wire {
            Wire::Number => self.unknown.0,
            Wire::Bytes => self.unknown.1,
        }
    }
}
