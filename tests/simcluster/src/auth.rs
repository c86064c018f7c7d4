//! Who users are and what they may: well-known tokens, impersonation, five fixed roles.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::HeaderMap;
use http::header::{AUTHORIZATION, SEC_WEBSOCKET_PROTOCOL};
use serde::Serialize;
use serde_json::{Value, json};

use crate::request::RequestInfo;
use crate::status::Status;

/// An authenticated caller, or the one they act as.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct User {
    /// `user.Info.Name`
    pub name: String,
    /// `user.Info.UID`, empty where none.
    pub uid: String,
    /// Groups, `system:authenticated` last.
    pub groups: Vec<String>,
    /// Extra attributes.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub extra: BTreeMap<String, Vec<String>>,
}

/// A bearer token and whom it stands for.
#[derive(Debug, Clone)]
pub struct Token {
    /// The token itself.
    pub secret: String,
    /// User name.
    pub user: String,
    /// Groups.
    pub groups: Vec<String>,
}

/// The tokens that the server takes.
#[derive(Debug, Clone)]
pub(crate) struct Tokens(Vec<Token>);

/// A rule, as `SelfSubjectRulesReview` prints it.
struct Rule {
    verbs: &'static [&'static str],
    groups: &'static [&'static str],
    resources: &'static [&'static str],
}

const AUTHENTICATED: &str = "system:authenticated";
/// May do everything.
const MASTERS: &str = "system:masters";
/// May read all but secrets, and exec.
const VIEWERS: &[&str] = &["dev", "view", "system:serviceaccounts:demo"];
/// May act as others.
const IMPERSONATORS: &str = "impersonators";
/// May have tokens of service accounts.
const ISSUERS: &str = "issuers";

const VIEW_RULES: &[Rule] = &[
    Rule {
        verbs: &["get", "list", "watch"],
        groups: &["", "apps"],
        resources: &[
            "pods",
            "pods/log",
            "configmaps",
            "deployments",
            "deployments/scale",
            "endpoints",
            "events",
            "namespaces",
            "nodes",
            "replicasets",
            "serviceaccounts",
            "services",
        ],
    },
    Rule {
        verbs: &["create", "get"],
        groups: &[""],
        resources: &["pods/exec", "pods/attach", "pods/portforward"],
    },
];
const IMPERSONATE_RULES: &[Rule] = &[Rule {
    verbs: &["impersonate"],
    groups: &["", "authentication.k8s.io"],
    resources: &["users", "groups", "uids", "userextras"],
}];
const ISSUE_RULES: &[Rule] =
    &[Rule { verbs: &["create"], groups: &[""], resources: &["serviceaccounts/token"] }];
const SELF_RULES: &[Rule] = &[
    Rule {
        verbs: &["create"],
        groups: &["authorization.k8s.io"],
        resources: &["selfsubjectaccessreviews", "selfsubjectrulesreviews"],
    },
    Rule { verbs: &["create"], groups: &["authentication.k8s.io"], resources: &["selfsubjectreviews"] },
];
const OPEN_PATHS: &[&str] = &[
    "/api",
    "/api/*",
    "/apis",
    "/apis/*",
    "/healthz",
    "/livez",
    "/openapi",
    "/openapi/*",
    "/readyz",
    "/version",
    "/version/",
];

impl User {
    /// A user of those groups, and of all authenticated users.
    pub(crate) fn new(name: impl Into<String>, groups: impl IntoIterator<Item = String>) -> User {
        let mut groups: Vec<String> = groups.into_iter().collect();
        if !groups.iter().any(|group| group == AUTHENTICATED) {
            groups.push(AUTHENTICATED.to_owned());
        }
        User { name: name.into(), uid: String::new(), groups, extra: BTreeMap::new() }
    }

    /// As a `UserInfo` object.
    pub(crate) fn to_value(&self) -> Value {
        let mut info = json!({"username": self.name});
        if !self.uid.is_empty() {
            info["uid"] = json!(self.uid);
        }
        info["groups"] = json!(self.groups);
        if !self.extra.is_empty() {
            info["extra"] = json!(self.extra);
        }
        info
    }

    fn is_in(&self, group: &str) -> bool {
        self.groups.iter().any(|known| known == group)
    }

    fn rules(&self) -> Vec<&'static Rule> {
        let mut rules: Vec<&Rule> = SELF_RULES.iter().collect();
        if VIEWERS.iter().any(|group| self.is_in(group)) {
            rules.extend(VIEW_RULES);
        }
        if self.is_in(IMPERSONATORS) {
            rules.extend(IMPERSONATE_RULES);
        }
        if self.is_in(ISSUERS) {
            rules.extend(ISSUE_RULES);
        }
        rules
    }

    /// Whether a role of theirs allows `verb` on `resource` (`pods` or `pods/exec`).
    pub(crate) fn may(&self, verb: &str, group: &str, resource: &str) -> bool {
        let allows = |rule: &&Rule| {
            rule.verbs.contains(&verb) && rule.groups.contains(&group) && rule.resources.contains(&resource)
        };
        self.is_in(MASTERS) || self.rules().iter().any(allows)
    }

    /// Whether a role of theirs allows reading a path that is no resource.
    pub(crate) fn may_path(&self, verb: &str, path: &str) -> bool {
        let matches = |open: &&str| match open.strip_suffix('*') {
            Some(prefix) => path.starts_with(prefix),
            None => path == *open,
        };
        self.is_in(MASTERS) || (verb == "get" && OPEN_PATHS.iter().any(matches))
    }

    /// Refuses what no role of theirs allows.
    ///
    /// # Errors
    /// 403 in RBAC's words.
    pub(crate) fn authorize(&self, info: &RequestInfo) -> Result<(), Status> {
        if !info.is_resource {
            let allowed = self.may_path(&info.verb, &info.path);
            return if allowed {
                Ok(())
            } else {
                Err(Status::forbidden_path(&self.name, &info.verb, &info.path))
            };
        }
        // Streams are authorised as create, however they arrive (Kubernetes 1.35 and later).
        let verb = match info.subresource.as_str() {
            "exec" | "attach" | "portforward" if info.resource == "pods" => "create",
            _ => &info.verb,
        };
        let resource = match info.subresource.as_str() {
            "" => info.resource.clone(),
            sub => format!("{}/{sub}", info.resource),
        };
        if self.may(verb, &info.group, &resource) {
            Ok(())
        } else {
            Err(Status::forbidden(&self.name, verb, info))
        }
    }

    /// The status of a `SelfSubjectRulesReview`.
    pub(crate) fn rules_status(&self) -> Value {
        let all = json!([{"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"]}]);
        let some = self
            .rules()
            .into_iter()
            .map(|rule| json!({"verbs": rule.verbs, "apiGroups": rule.groups, "resources": rule.resources}));
        let paths = if self.is_in(MASTERS) { json!(["*"]) } else { json!(OPEN_PATHS) };
        let verbs = if self.is_in(MASTERS) { json!(["*"]) } else { json!(["get"]) };
        json!({
            "resourceRules": if self.is_in(MASTERS) { all } else { some.collect() },
            "nonResourceRules": [{"verbs": verbs, "nonResourceURLs": paths}],
            "incomplete": false,
        })
    }
}

impl Tokens {
    /// The tokens given, or the well-known ones when none are.
    pub(crate) fn new(configured: Vec<Token>) -> Tokens {
        if configured.is_empty() { Tokens(well_known_tokens()) } else { Tokens(configured) }
    }

    /// All of them.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Token> {
        self.0.iter()
    }

    /// Whom a token stands for.
    pub(crate) fn user(&self, secret: &str) -> Option<User> {
        let token = self.0.iter().find(|token| token.secret == secret)?;
        let mut user = User::new(&token.user, token.groups.iter().cloned());
        user.uid = format!("uid-{}", token.user);
        Some(user)
    }
}

impl std::str::FromStr for Token {
    type Err = String;

    /// `TOKEN=user:group,group`
    fn from_str(text: &str) -> Result<Token, String> {
        let (secret, whom) =
            text.split_once('=').ok_or_else(|| format!("token {text:?}: want TOKEN=user:group,group"))?;
        let (user, groups) = whom.split_once(':').unwrap_or((whom, ""));
        let groups = groups.split(',').filter(|group| !group.is_empty()).map(str::to_owned).collect();
        Ok(Token { secret: secret.to_owned(), user: user.to_owned(), groups })
    }
}

/// The user that the caller acts as, where they ask to act as one.
///
/// # Errors
/// 403 when they may not; 500 when they name groups or extras but no user, as the real server.
pub(crate) fn impersonated(
    caller: &User,
    headers: &HeaderMap,
    info: &RequestInfo,
) -> Result<Option<User>, Status> {
    let values = |name: &str| -> Vec<String> {
        headers
            .get_all(name)
            .iter()
            .map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned())
            .collect()
    };
    let names = values("impersonate-user");
    let groups = values("impersonate-group");
    let extra: BTreeMap<String, Vec<String>> = headers
        .keys()
        .filter_map(|name| Some((name.as_str(), name.as_str().strip_prefix("impersonate-extra-")?)))
        .map(|(header, key)| (key.to_owned(), values(header)))
        .collect();
    let Some(name) = names.first() else {
        if groups.is_empty() && extra.is_empty() {
            return Ok(None);
        }
        return Err(Status::internal("requested groups without impersonating a user"));
    };
    if !caller.may("impersonate", "", "users") {
        let verb = format!("impersonate-on:user-info:{}", info.verb);
        return Err(Status::forbidden(&caller.name, &verb, info));
    }
    let mut user = User::new(name, groups);
    user.uid = values("impersonate-uid").into_iter().next().unwrap_or_default();
    user.extra = extra;
    Ok(Some(user))
}

/// The bearer token of a request, in `Authorization` or in a WebSocket sub-protocol.
pub(crate) fn bearer(headers: &HeaderMap) -> Option<String> {
    let header = headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok());
    let bearer = header
        .and_then(|value| value.split_once(' '))
        .and_then(|(scheme, token)| scheme.eq_ignore_ascii_case("bearer").then(|| token.trim().to_owned()));
    bearer.or_else(|| websocket_token(headers))
}

fn websocket_token(headers: &HeaderMap) -> Option<String> {
    let offered = headers.get_all(SEC_WEBSOCKET_PROTOCOL).iter().filter_map(|value| value.to_str().ok());
    let mut protocols = offered.flat_map(|value| value.split(',')).map(str::trim);
    let encoded = protocols.find_map(|name| name.strip_prefix("base64url.bearer.authorization.k8s.io."))?;
    String::from_utf8(URL_SAFE_NO_PAD.decode(encoded).ok()?).ok()
}

fn well_known_tokens() -> Vec<Token> {
    [
        ("token-admin-0001", "admin", MASTERS),
        ("token-alice-0001", "alice", "dev"),
        ("token-nobody-0001", "nobody", ""),
        ("token-gateway-0001", "gateway", IMPERSONATORS),
        ("token-issuer-0001", "issuer", ISSUERS),
    ]
    .map(|(secret, user, group)| Token {
        secret: secret.to_owned(),
        user: user.to_owned(),
        groups: if group.is_empty() { Vec::new() } else { vec![group.to_owned()] },
    })
    .into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::request::Query;
    use http::Method;

    fn info(target: &str) -> RequestInfo {
        RequestInfo::new(&Method::GET, target, &Query::default()).expect("decodes")
    }

    #[test]
    fn refusals_are_worded_as_rbac_words_them() {
        let alice = Tokens::new(Vec::new()).user("token-alice-0001").expect("known");
        let denied = |target: &str| alice.authorize(&info(target)).unwrap_err().message;
        assert_eq!(
            denied("/api/v1/namespaces/demo/secrets"),
            r#"secrets is forbidden: User "alice" cannot list resource "secrets" in API group "" in the namespace "demo""#
        );
        assert_eq!(
            denied("/apis/apps/v1/namespaces/demo/daemonsets/x"),
            r#"daemonsets.apps "x" is forbidden: User "alice" cannot get resource "daemonsets" in API group "apps" in the namespace "demo""#
        );
        assert_eq!(denied("/metrics"), r#"forbidden: User "alice" cannot get path "/metrics""#);
        assert!(alice.authorize(&info("/api/v1/namespaces/demo/pods/shell/exec")).is_ok());
    }

    #[test]
    fn only_impersonators_act_as_others() {
        let tokens = Tokens::new(Vec::new());
        let mut headers = HeaderMap::new();
        headers.insert("impersonate-user", "alice".parse().unwrap());
        headers.insert("impersonate-group", "dev".parse().unwrap());
        headers.insert("impersonate-extra-session", "s-1".parse().unwrap());
        let target = info("/api/v1/namespaces/demo/pods");
        let gateway = tokens.user("token-gateway-0001").expect("known");
        let alice = impersonated(&gateway, &headers, &target).expect("may").expect("asked");
        assert_eq!(alice.groups, ["dev", AUTHENTICATED]);
        assert_eq!(alice.extra["session"], ["s-1"]);
        let nobody = tokens.user("token-nobody-0001").expect("known");
        assert!(
            impersonated(&nobody, &headers, &target)
                .unwrap_err()
                .message
                .contains("impersonate-on:user-info:list")
        );
    }
}
