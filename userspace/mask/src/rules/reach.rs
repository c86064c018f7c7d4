//! What rules could do to a field whose name is not known, as of a newer API server in protobuf.

use std::collections::HashSet;

use super::{Action, Choice, NodeId, Rules};

impl Rules {
    /// Whether a field passes at this place whatever it is called, and whatever is in it unless it is a `number`.
    /// `is_other` says which names it has not, because they are those of others.
    pub(crate) fn passes_unnamed(&self, node: NodeId, number: bool, is_other: impl Fn(&[u8]) -> bool) -> bool {
        let node = &self.nodes[node as usize];
        let mut actions = Vec::new();
        actions.extend(node.keys.iter().filter(|(name, _)| !is_other(name)).map(|(_, action)| *action));
        node.other.collect(&mut actions);
        actions.push(node.long);
        actions.into_iter().all(|action| match action {
            // It would change what becomes of the fields beside it.
            Action::Name => number,
            Action::Enter(node) if number => self.action_passes(self.for_scalar(node), &mut HashSet::new()),
            action => self.action_passes(action, &mut HashSet::new()),
        })
    }

    /// Whether nothing at this place, and nothing in it, is ever masked.
    pub(crate) fn passes(&self, node: NodeId) -> bool {
        self.action_passes(Action::Enter(node), &mut HashSet::new())
    }

    fn action_passes(&self, action: Action, seen: &mut HashSet<NodeId>) -> bool {
        match action {
            Action::Keep | Action::Scan | Action::Name => true,
            Action::Enter(node) => self.node_passes(node, seen),
            Action::Mask(_) | Action::Json | Action::Helm(_) | Action::Quotes => false,
        }
    }

    fn node_passes(&self, id: NodeId, seen: &mut HashSet<NodeId>) -> bool {
        if !seen.insert(id) {
            return true;
        }
        let node = &self.nodes[id as usize];
        let mut actions = vec![node.scalar, node.long];
        actions.extend(node.keys.iter().map(|(_, action)| *action));
        node.other.collect(&mut actions);
        if let Some(named) = &node.named {
            named.collect(&mut actions);
        }
        actions.into_iter().all(|action| self.action_passes(action, seen))
    }
}

impl Choice {
    /// Appends all that it can come to.
    fn collect(&self, actions: &mut Vec<Action>) {
        match self {
            Self::Done(action) => actions.push(*action),
            Self::Test { yes, no, .. } => {
                yes.collect(actions);
                no.collect(actions);
            }
        }
    }
}
