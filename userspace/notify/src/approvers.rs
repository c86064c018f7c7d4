//! The people who may decide by link, button or program.

use std::collections::HashMap;

use portcullis_identity::{Method, Subject};

use crate::NotifyError;
use crate::config::ApproverConfig;
use crate::secret::Secret;

/// All of them, by each name that they come with.
#[derive(Debug, Default)]
pub(crate) struct Approvers {
    listed: Vec<Approver>,
    by_name: HashMap<String, usize>,
    by_slack: HashMap<String, usize>,
}

/// One of them.
#[derive(Debug)]
pub(crate) struct Approver {
    subject: Subject,
    /// Signs for them alone.
    pub(crate) secret: Option<Secret>,
}

impl Approvers {
    /// Takes what [`NotifyConfig::check`](crate::NotifyConfig::check) accepted, and reads their secrets.
    pub(crate) fn load(listed: &[ApproverConfig]) -> Result<Self, NotifyError> {
        let mut approvers = Self::default();
        for (number, one) in listed.iter().enumerate() {
            let subject = Subject {
                issuer: one.issuer.clone(),
                id: one.id.clone(),
                name: one.name.clone(),
                groups: one.groups.clone(),
                method: Method::Link,
                account: None,
            };
            let secret = one.secret_file.as_deref().map(Secret::read).transpose()?;
            approvers.listed.push(Approver { subject, secret });
            approvers.by_name.insert(one.name.clone(), number);
            if let Some(slack) = &one.slack {
                approvers.by_slack.insert(slack.clone(), number);
            }
        }
        Ok(approvers)
    }

    pub(crate) fn named(&self, name: &str) -> Option<&Approver> {
        self.by_name.get(name).map(|number| &self.listed[*number])
    }

    /// Who has this Slack user id.
    pub(crate) fn on_slack(&self, user: &str) -> Option<&Approver> {
        self.by_slack.get(user).map(|number| &self.listed[*number])
    }

    /// Whether anyone has a secret of their own.
    pub(crate) fn any_signs(&self) -> bool {
        self.listed.iter().any(|approver| approver.secret.is_some())
    }
}

impl Approver {
    /// Who it is, and how we know this time.
    pub(crate) fn subject(&self, method: Method) -> Subject {
        Subject { method, ..self.subject.clone() }
    }

    pub(crate) fn groups(&self) -> &std::collections::BTreeSet<String> {
        &self.subject.groups
    }
}
