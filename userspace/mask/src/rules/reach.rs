//! What rules could do to a field whose name is not known, as of a newer API server in protobuf.

use super::{Action, Choice, Node, NodeId, Rules};

impl Rules {
    /// Whether a field passes at this place whatever it is called, and whatever is in it unless it is a `number`.
    /// `is_other` says which names it has not, because they are those of others.
    pub(crate) fn passes_unnamed(
        &self,
        node: NodeId,
        number: bool,
        is_other: impl Fn(&[u8]) -> bool,
    ) -> bool {
        let node = &self.nodes[node as usize];
        let keys = node.keys.iter().filter(|(name, _)| !is_other(name)).map(|(_, action)| *action);
        let mut actions: Vec<Action> = keys.chain([node.long]).collect();
        node.other.collect(&mut actions);
        let passing = self.passing();
        actions.into_iter().all(|action| match action {
            // It would change what becomes of the fields beside it.
            Action::Name | Action::Scan | Action::Text => number,
            Action::Enter(node) if number => {
                self.for_scalar(node) == Action::Scan || passes(passing, self.for_scalar(node))
            }
            action => passes(passing, action),
        })
    }

    /// Whether nothing at this place, and nothing in it, is ever masked or scanned.
    pub(crate) fn passes(&self, node: NodeId) -> bool {
        self.passing()[node as usize]
    }

    /// Of each node, whether nothing there is ever masked or scanned.
    fn passing(&self) -> &[bool] {
        self.passing.get_or_init(|| {
            let actions: Vec<Vec<Action>> = self.nodes.iter().map(Node::actions).collect();
            let mut passing = vec![true; actions.len()];
            loop {
                let stops = |(node, actions): (usize, &Vec<Action>)| {
                    passing[node] && !actions.iter().all(|action| passes(&passing, *action))
                };
                let stopped: Vec<usize> =
                    actions.iter().enumerate().filter(|at| stops(*at)).map(|(node, _)| node).collect();
                if stopped.is_empty() {
                    return passing.into();
                }
                stopped.into_iter().for_each(|node| passing[node] = false);
            }
        })
    }
}

/// Whether what an action is for passes, as far as is known which nodes do.
fn passes(passing: &[bool], action: Action) -> bool {
    match action {
        Action::Keep | Action::Name => true,
        Action::Enter(node) => passing[node as usize],
        Action::Scan | Action::Text | Action::Mask(_) | Action::Json | Action::Helm(_) | Action::Quotes => {
            false
        }
    }
}

impl Node {
    /// All that can become of a value here.
    fn actions(&self) -> Vec<Action> {
        let mut actions: Vec<Action> = self.keys.iter().map(|(_, action)| *action).collect();
        actions.extend([self.scalar, self.long]);
        self.other.collect(&mut actions);
        if let Some(named) = &self.named {
            named.collect(&mut actions);
        }
        actions
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
