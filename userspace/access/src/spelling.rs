//! Operations as people write them, after `kubectl auth can-i`: `create pods/exec web -n demo`, `get /metrics`.

use std::str::FromStr;

use crate::AccessError;
use crate::operation::Operation;
use crate::verbs::{PATH_VERBS, RESOURCE_VERBS};

impl Operation {
    /// An operation from its words. `what` is `RESOURCE[.GROUP][/SUBRESOURCE]` or a path, or with the verb `mcp` a
    /// method of MCP; an empty `namespace` means
    /// a cluster-scoped object or all namespaces. Only what an API server could be asked is taken, or a policy would
    /// be tried with requests that never come.
    ///
    /// # Errors
    /// [`AccessError::BadOperation`].
    pub fn spelled(verb: &str, what: &str, namespace: &str, name: &str) -> Result<Self, AccessError> {
        Self::read(verb, what, namespace, name).map_err(|why| {
            let scope = if namespace.is_empty() { String::new() } else { format!("-n {namespace}") };
            let words: Vec<&str> =
                [verb, what, name, &scope].into_iter().filter(|word| !word.is_empty()).collect();
            AccessError::BadOperation { text: words.join(" "), why }
        })
    }

    fn read(verb: &str, what: &str, namespace: &str, name: &str) -> Result<Self, String> {
        if verb == "mcp" {
            if !namespace.is_empty() {
                return Err("what an MCP server has, has no namespace".to_owned());
            }
            return Self::mcp(what, name);
        }
        let known = if what.starts_with('/') { PATH_VERBS } else { RESOURCE_VERBS };
        if !known.contains(&verb) {
            return Err(format!("{verb:?} is no verb of one; known are {}", known.join(", ")));
        }
        if what.starts_with('/') {
            if !(namespace.is_empty() && name.is_empty()) {
                return Err("a path has neither namespace nor name".to_owned());
            }
            return Ok(Operation::NonResource { verb: verb.to_owned(), path: what.to_owned() });
        }
        let (kind, subresource) = what.split_once('/').unwrap_or((what, ""));
        let (resource, api_group) = kind.split_once('.').unwrap_or((kind, ""));
        let plain = |part: &str| {
            part.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || "-.".contains(c))
        };
        if resource.is_empty() || what.ends_with(['/', '.']) || ![kind, subresource].into_iter().all(plain) {
            return Err(format!("{what:?} is no resource; write pods, deployments.apps, pods/log or a path"));
        }
        match verb {
            "get" | "update" | "patch" | "delete" if name.is_empty() => {
                return Err(format!(
                    "{verb} is about one object: give its name, or use list, watch or deletecollection"
                ));
            }
            "create" if !name.is_empty() && subresource.is_empty() => {
                return Err(
                    "an object that is created has no name in the request that rules could match".to_owned()
                );
            }
            _ => {}
        }
        // As RequestInfo has it: a Namespace lies in itself.
        let of_itself = resource == "namespaces" && api_group.is_empty() && namespace.is_empty();
        Ok(Operation::Resource {
            verb: verb.to_owned(),
            api_group: api_group.to_owned(),
            api_version: String::new(),
            resource: resource.to_owned(),
            subresource: subresource.to_owned(),
            namespace: if of_itself { name } else { namespace }.to_owned(),
            name: name.to_owned(),
        })
    }
}

/// The words on one line: `delete pods web -n demo`.
impl FromStr for Operation {
    type Err = AccessError;

    fn from_str(text: &str) -> Result<Self, AccessError> {
        let bad = |why: &str| AccessError::BadOperation { text: text.to_owned(), why: why.to_owned() };
        let (mut words, mut namespace) = (Vec::new(), "");
        let mut rest = text.split_whitespace();
        while let Some(word) = rest.next() {
            match word {
                "-n" => namespace = rest.next().ok_or_else(|| bad("-n needs a namespace"))?,
                flag if flag.starts_with('-') => return Err(bad("the only flag is -n NAMESPACE")),
                word => words.push(word),
            }
        }
        match words[..] {
            [verb, what] => Self::spelled(verb, what, namespace, ""),
            [verb, what, name] => Self::spelled(verb, what, namespace, name),
            _ => Err(bad(
                "write VERB RESOURCE[.GROUP][/SUBRESOURCE] [NAME] [-n NAMESPACE], VERB /PATH, or mcp METHOD [NAME]",
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn operations_are_written_as_for_can_i() {
        for (text, read) in [
            ("list pods -n demo", "list pods in namespace \"demo\""),
            ("list pods", "list pods across the cluster"),
            ("get pods/exec web -n demo", "create pods/exec \"web\" in namespace \"demo\""),
            (
                "-n demo  patch deployments.apps/scale web",
                "patch deployments.apps/scale \"web\" in namespace \"demo\"",
            ),
            (
                "delete roles.rbac.authorization.k8s.io r -n x",
                "delete roles.rbac.authorization.k8s.io \"r\" in namespace \"x\"",
            ),
            ("get namespaces demo", "get namespaces \"demo\" in namespace \"demo\""),
            (
                "create serviceaccounts/token ci -n x",
                "create serviceaccounts/token \"ci\" in namespace \"x\"",
            ),
            ("get /metrics", "get /metrics"),
        ] {
            assert_eq!(text.parse::<Operation>().unwrap().to_string(), read);
        }
    }

    #[test]
    fn what_is_never_asked_is_refused() {
        for (text, why) in [
            ("", "write VERB"),
            ("list", "write VERB"),
            ("list pods a b", "write VERB"),
            ("list pods -n", "-n needs a namespace"),
            ("list pods -A", "the only flag is -n"),
            ("get pods -n demo", "give its name, or use list"),
            ("look pods", "\"look\" is no verb"),
            ("post pods", "\"post\" is no verb"),
            ("list /metrics", "\"list\" is no verb"),
            ("get /metrics x", "neither namespace nor name"),
            ("list Pods", "is no resource"),
            ("list pods/", "is no resource"),
            ("list .apps", "is no resource"),
            ("list *", "is no resource"),
            ("create pods web -n demo", "has no name in the request"),
        ] {
            let error = text.parse::<Operation>().unwrap_err().to_string();
            assert!(error.contains(why), "{text:?}: {error}");
        }
    }
}
