//! Objects in memory: versions, optimistic concurrency, and the history that watches read.

use std::collections::{BTreeMap, VecDeque};
use std::ops::Bound;
use std::sync::{Arc, Mutex, MutexGuard};

use serde_json::{Value, json};
use tokio::sync::watch;

use crate::kinds::Resource;
use crate::object;
use crate::status::Status;

/// Changes kept for watches that start in the past; older ones get 410.
const HISTORY: usize = 10_000;

/// All objects of the cluster.
pub(crate) struct Store {
    inner: Mutex<Inner>,
    version: watch::Sender<u64>,
}

/// One change, as watches see it.
#[derive(Debug, Clone)]
pub(crate) struct Change {
    /// The version that this change made.
    pub version: u64,
    /// What it changed.
    pub resource: &'static Resource,
    /// The object before; `None` for a creation.
    pub before: Option<Arc<Value>>,
    /// The object after; for a deletion the last state, at the deletion's version.
    pub after: Arc<Value>,
    /// The object is gone.
    pub deleted: bool,
}

/// What an update decided about the object it was shown.
pub(crate) enum Next {
    /// Store this.
    Put(Value),
    /// Remove the object; its last state.
    Remove(Value),
    /// Change nothing and answer this (a dry run, or a change that changes nothing).
    Answer(Value),
}

struct Inner {
    version: u64,
    objects: BTreeMap<Key, Arc<Value>>,
    history: VecDeque<Change>,
}

type Key = (&'static Resource, String, String);

impl Default for Store {
    fn default() -> Store {
        // Real clusters are never at version 1 when a client first reads them.
        let inner = Inner { version: 100, objects: BTreeMap::new(), history: VecDeque::new() };
        Store { inner: Mutex::new(inner), version: watch::Sender::new(100) }
    }
}

impl Store {
    /// The object, if it exists.
    pub(crate) fn get(&self, resource: &'static Resource, namespace: &str, name: &str) -> Option<Arc<Value>> {
        self.lock().objects.get(&key(resource, namespace, name)).cloned()
    }

    /// The object.
    ///
    /// # Errors
    /// 404.
    pub(crate) fn read(
        &self,
        resource: &'static Resource,
        namespace: &str,
        name: &str,
    ) -> Result<Arc<Value>, Status> {
        self.get(resource, namespace, name).ok_or_else(|| Status::not_found(resource, name))
    }

    /// The objects after `start` (namespace, name) in order, with the version of the answer.
    /// An empty namespace means all.
    pub(crate) fn list(
        &self,
        resource: &'static Resource,
        namespace: &str,
        start: Option<(&str, &str)>,
    ) -> (Vec<Arc<Value>>, u64) {
        let inner = self.lock();
        let from = match start {
            Some((namespace, name)) => Bound::Excluded(key(resource, namespace, name)),
            None => Bound::Included(key(resource, namespace, "")),
        };
        let rows = inner.objects.range((from, Bound::Unbounded));
        let objects = rows
            .take_while(|((kind, at, _), _)| *kind == resource && (namespace.is_empty() || at == namespace))
            .map(|(_, value)| value.clone())
            .collect();
        (objects, inner.version)
    }

    /// Stores a new object and gives it its version.
    ///
    /// # Errors
    /// 409 when one of that name exists.
    pub(crate) fn create(&self, resource: &'static Resource, mut value: Value) -> Result<Arc<Value>, Status> {
        let mut inner = self.lock();
        let key = key(resource, object::namespace(&value), object::name(&value));
        if inner.objects.contains_key(&key) {
            return Err(Status::already_exists(resource, object::name(&value)));
        }
        inner.version += 1;
        object::meta_mut(&mut value).insert("resourceVersion".to_owned(), json!(inner.version.to_string()));
        let after = Arc::new(order_meta(resource, value));
        inner.objects.insert(key, after.clone());
        self.record(&mut inner, resource, None, after.clone(), false);
        Ok(after)
    }

    /// Shows `change` the object and does what it decides, with nobody in between.
    ///
    /// # Errors
    /// 404, and whatever `change` refuses with.
    pub(crate) fn update(
        &self,
        resource: &'static Resource,
        namespace: &str,
        name: &str,
        change: impl FnOnce(&Value) -> Result<Next, Status>,
    ) -> Result<Arc<Value>, Status> {
        let mut inner = self.lock();
        let key = key(resource, namespace, name);
        let before = inner.objects.get(&key).cloned().ok_or_else(|| Status::not_found(resource, name))?;
        let (mut value, removed) = match change(&before)? {
            Next::Answer(value) => return Ok(Arc::new(value)),
            Next::Put(value) if value == *before => return Ok(before),
            Next::Put(value) => (value, false),
            Next::Remove(value) => (value, true),
        };
        inner.version += 1;
        object::meta_mut(&mut value).insert("resourceVersion".to_owned(), json!(inner.version.to_string()));
        let after = Arc::new(order_meta(resource, value));
        if removed {
            inner.objects.remove(&key);
        } else {
            inner.objects.insert(key, after.clone());
        }
        self.record(&mut inner, resource, Some(before), after.clone(), removed);
        Ok(after)
    }

    /// Removes the object, whatever it waits for.
    ///
    /// # Errors
    /// 404.
    pub(crate) fn remove(
        &self,
        resource: &'static Resource,
        namespace: &str,
        name: &str,
    ) -> Result<Arc<Value>, Status> {
        self.update(resource, namespace, name, |value| Ok(Next::Remove(value.clone())))
    }

    /// The version of the last change.
    pub(crate) fn current(&self) -> u64 {
        self.lock().version
    }

    /// Tells of each new version.
    pub(crate) fn subscribe(&self) -> watch::Receiver<u64> {
        self.version.subscribe()
    }

    /// The changes to `resource` after `version`, and the version they lead to.
    ///
    /// # Errors
    /// 410 when the history does not reach back so far.
    pub(crate) fn since(
        &self,
        resource: &'static Resource,
        version: u64,
    ) -> Result<(Vec<Change>, u64), Status> {
        let inner = self.lock();
        let oldest = inner.history.front().map_or(inner.version, |change| change.version - 1);
        if version < oldest {
            return Err(Status::expired(format!("too old resource version: {version} ({oldest})")));
        }
        let start = inner.history.partition_point(|change| change.version <= version);
        let changes = inner.history.range(start..).filter(|change| change.resource == resource);
        Ok((changes.cloned().collect(), inner.version))
    }

    /// Forgets the history, as compaction does: watches from before now get 410.
    pub(crate) fn compact(&self) {
        self.lock().history.clear();
    }

    fn record(
        &self,
        inner: &mut Inner,
        resource: &'static Resource,
        before: Option<Arc<Value>>,
        after: Arc<Value>,
        deleted: bool,
    ) {
        if inner.history.len() == HISTORY {
            inner.history.pop_front();
        }
        inner.history.push_back(Change { version: inner.version, resource, before, after, deleted });
        self.version.send_replace(inner.version);
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().expect("no holder of the store's lock panics")
    }
}

fn key(resource: &'static Resource, namespace: &str, name: &str) -> Key {
    (resource, namespace.to_owned(), name.to_owned())
}

/// Metadata in Go's order again, after fields were stamped into it.
fn order_meta(resource: &Resource, value: Value) -> Value {
    let object = crate::schema::schema().get(resource.schema);
    object.conform(value, &mut Vec::new()).expect("a stored object conformed when it was decoded")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn configmap(name: &str) -> Value {
        json!({"metadata": {"name": name, "namespace": "demo"}})
    }

    #[test]
    fn versions_history_and_expiry() {
        let store = Store::default();
        let resource = Resource::core("configmaps");
        let first = store.create(resource, configmap("a")).expect("created");
        assert_eq!(store.create(resource, configmap("a")).unwrap_err().reason, "AlreadyExists");
        let start: u64 = object::meta(&first, "resourceVersion").parse().expect("a number");
        store
            .update(resource, "demo", "a", |old| {
                let mut new = old.clone();
                new["data"] = json!({"k": "v"});
                Ok(Next::Put(new))
            })
            .expect("updated");
        store.remove(resource, "demo", "a").expect("removed");
        let (changes, now) = store.since(resource, start).expect("in history");
        assert_eq!(changes.iter().map(|change| change.deleted).collect::<Vec<_>>(), [false, true]);
        assert_eq!(now, start + 2);
        assert!(store.since(Resource::core("secrets"), start).expect("in history").0.is_empty());
        store.compact();
        assert_eq!(store.since(resource, start).unwrap_err().reason, "Expired");
        assert!(store.since(resource, now).is_ok());
    }

    #[test]
    fn an_update_that_changes_nothing_makes_no_version() {
        let store = Store::default();
        let resource = Resource::core("configmaps");
        store.create(resource, configmap("a")).expect("created");
        let before = store.current();
        store.update(resource, "demo", "a", |old| Ok(Next::Put(old.clone()))).expect("kept");
        assert_eq!(store.current(), before);
    }
}
