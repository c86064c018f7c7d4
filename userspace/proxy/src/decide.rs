//! Asks the snapshot of roles and grants whether this request may go on, and opens its record.

use std::sync::Arc;

use portcullis_access::{Allowed, Decision, MaskLevel, Operation, Query, decide};
use portcullis_kube::RequestInfo;
use portcullis_mask::Rules;
use portcullis_record::{Event, StreamKind, redact_query};

use crate::Proxy;
use crate::classify::Classified;
use crate::lease::Lease;
use crate::record::RequestRecord;
use crate::refusal::Refusal;

/// A request that a grant allows, under the obligations of its role.
pub(crate) struct Decided {
    pub(crate) classified: Classified,
    pub(crate) allowed: Allowed,
    /// What is to be masked in the answer.
    pub(crate) rules: Option<Arc<Rules>>,
    pub(crate) lease: Lease,
}

/// A decided request whose record is open.
pub(crate) struct Recorded {
    pub(crate) decided: Decided,
    pub(crate) record: RequestRecord,
    pub(crate) audit_id: String,
}

impl Decided {
    pub(crate) fn by_grant(proxy: &Proxy, classified: Classified) -> Result<Self, Refusal> {
        let person = &classified.person;
        let snapshots = proxy.snapshots.clone();
        let snapshot = Arc::clone(&snapshots.borrow());
        let query = Query {
            subject: &person.subject,
            target: &person.route.target.name,
            operation: &classified.operation,
        };
        let allowed = match decide(&snapshot, &query, proxy.clock.now()) {
            Decision::Allow(allowed) => allowed,
            Decision::Deny(denied) => return Err(Refusal::Denied { message: denied.message(&query) }),
        };
        let rules = match (allowed.obligations.mask, &classified.operation) {
            (MaskLevel::Default, Operation::Resource { api_group, resource, .. }) => {
                proxy.profile.for_resource(api_group, resource)
            }
            _ => None,
        };
        let lease = Lease::new(allowed.grant.clone(), snapshots, Arc::clone(&proxy.clock));
        Ok(Self { classified, allowed, rules, lease })
    }

    /// Opens the record of this request: once this returns, what was decided is evidence.
    pub(crate) fn open_record(self) -> Result<Recorded, Refusal> {
        let Classified { person, request, info, operation, upgrade } = &self.classified;
        let session = person.session()?;
        let number = session.next_request();
        let audit_id = audit_id();
        let decided = Event::RequestDecided {
            request: number,
            audit_id: audit_id.clone(),
            method: request.method().to_string(),
            target: redact_query(&request.uri().to_string()),
            verb: operation.verb().to_owned(),
            api_group: info.api_group.clone(),
            resource: info.resource.clone(),
            subresource: info.subresource.clone(),
            namespace: info.namespace.clone(),
            name: info.name.clone(),
            decision: "allow".to_owned(),
            role: Some(self.allowed.role.to_string()),
            rule: Some(self.allowed.rule),
            grant: self.allowed.grant.as_ref().map(ToString::to_string),
            reason: None,
        };
        let record = RequestRecord::open(session, number, self.allowed.obligations.record, &decided)?;
        if let Some(protocol) = upgrade
            && let Some(kind) = stream_kind(info)
        {
            record.event(&Event::StreamOpened {
                request: number,
                kind,
                protocol: String::from_utf8_lossy(protocol.as_bytes()).into_owned(),
                command: info.query_all("command"),
                container: info.query_all("container").into_iter().next(),
                tty: info.query_all("tty").iter().any(|tty| tty == "true"),
            })?;
        }
        Ok(Recorded { decided: self, record, audit_id })
    }
}

fn stream_kind(info: &RequestInfo) -> Option<StreamKind> {
    match info.subresource.as_str() {
        "exec" => Some(StreamKind::Exec),
        "attach" => Some(StreamKind::Attach),
        "portforward" => Some(StreamKind::PortForward),
        _ => None,
    }
}

/// An id for the API server's audit log, which takes at most 64 ASCII characters word for word.
fn audit_id() -> String {
    format!("portcullis-{:032x}", rand::random::<u128>())
}
