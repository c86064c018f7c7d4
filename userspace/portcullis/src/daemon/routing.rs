//! Which target an address belongs to, as the kernel's map of endpoints has it.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};

use portcullis_identity::OriginalDst;
use portcullis_intercept::TargetTable;
use portcullis_proxy::{Routing, Target};
use tokio::sync::watch;

/// The targets by name, and the addresses that lead to them.
pub(super) struct Routes {
    table: watch::Receiver<Arc<TargetTable>>,
    targets: RwLock<Arc<BTreeMap<String, Arc<Target>>>>,
}

impl Routes {
    pub(super) fn new(
        table: watch::Receiver<Arc<TargetTable>>,
        targets: BTreeMap<String, Arc<Target>>,
    ) -> Self {
        Self { table, targets: RwLock::new(Arc::new(targets)) }
    }

    /// Puts other targets in force; connections under way keep theirs.
    pub(super) fn replace(&self, targets: BTreeMap<String, Arc<Target>>) {
        *self.targets.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(targets);
    }
}

impl Routing for Routes {
    fn target(&self, destination: OriginalDst) -> Option<Arc<Target>> {
        let table = Arc::clone(&self.table.borrow());
        let name = table.target_of(destination)?;
        let targets = self.targets.read().unwrap_or_else(PoisonError::into_inner);
        targets.get(name.as_str()).cloned()
    }
}
