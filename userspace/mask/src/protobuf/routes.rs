//! What becomes of each field of a message at a place, asked of the rules once.

use std::collections::HashMap;
use std::sync::Arc;

use super::schema::{TypeId, schema};
use super::wire::Wire;
use crate::Rules;
use crate::rules::{Action, NodeId};

/// What becomes of the fields of a message, in the order of its type's fields.
pub(super) struct Route(Box<[Action]>);

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
        let route = self
            .known
            .entry((message, place))
            .or_insert_with(|| Arc::new(Route::new(&self.rules, message, place)));
        Arc::clone(route)
    }

    /// Whether a field of a `message` at `place` passes that is not in the tables.
    pub(super) fn passes_unknown(&self, message: TypeId, place: NodeId, wire: Wire) -> bool {
        self.rules.passes_unnamed(place, wire == Wire::Number, |name| schema().has_name(message, name))
    }
}

impl Route {
    fn new(rules: &Rules, message: TypeId, place: NodeId) -> Self {
        let fields = schema().get(message).fields();
        Self(fields.iter().map(|field| rules.under_key(place, field.name.as_bytes())).collect())
    }

    /// Of the field at `index` in its type.
    pub(super) fn action(&self, index: usize) -> Action {
        self.0[index]
    }
}
