//! What a request is for, beyond its reading: the verb to authorise, whether it lasts, whether it is discovery.

use super::{RequestInfo, query_flag};

impl RequestInfo {
    /// The verb to authorise: `create` for exec, attach and port-forward, which arrive as POST over SPDY and as GET
    /// over WebSocket; else the verb as read.
    #[must_use]
    pub fn authz_verb(&self) -> &str {
        if self.is_session() { "create" } else { &self.verb }
    }

    /// Whether a session with a pod is asked for: exec, attach or port-forward.
    #[must_use]
    pub fn is_session(&self) -> bool {
        self.is_core("pods") && matches!(self.subresource.as_str(), "exec" | "attach" | "portforward")
    }

    /// Whether the API server would pass the request on to a pod, service or node, out of sight of every rule.
    #[must_use]
    pub fn is_proxy(&self) -> bool {
        self.is_resource_request && (self.subresource == "proxy" || self.verb == "proxy")
    }

    /// Whether a client may ask to upgrade this request to SPDY or WebSocket and be given it: sessions and proxies, and
    /// watches and logs, which the API server also sends over WebSocket.
    #[must_use]
    pub fn is_upgradable(&self) -> bool {
        self.is_session() || self.is_proxy() || self.verb == "watch" || self.is_log()
    }

    /// Whether the answer has no end of its own, so that expiry and revocation must cut it. `target` is the request
    /// target that was classified.
    #[must_use]
    pub fn is_long_running(&self, target: &str) -> bool {
        self.is_session()
            || self.is_proxy()
            || self.verb == "watch"
            || self.is_log() && query_flag(target, "follow")
    }

    /// Whether this only asks what the API server is and serves: discovery, OpenAPI, version and readiness.
    #[must_use]
    pub fn is_discovery(&self) -> bool {
        let mut segments = self.path.trim_matches('/').split('/');
        !self.is_resource_request
            && matches!(self.verb.as_str(), "get" | "head")
            && match segments.next() {
                Some("api" | "apis" | "openapi") => true,
                Some("version" | "healthz" | "livez" | "readyz") => segments.next().is_none(),
                _ => false,
            }
    }

    fn is_log(&self) -> bool {
        self.is_core("pods") && self.subresource == "log"
    }

    fn is_core(&self, resource: &str) -> bool {
        self.is_resource_request && self.api_group.is_empty() && self.resource == resource
    }
}

#[cfg(test)]
mod tests {
    use crate::classify;

    #[test]
    fn sessions_are_created_however_they_arrive() {
        for method in ["GET", "POST"] {
            for sub in ["exec", "attach", "portforward"] {
                let info =
                    classify(method, &format!("/api/v1/namespaces/a/pods/p/{sub}?command=ls")).unwrap();
                assert_eq!(info.authz_verb(), "create");
                assert!(info.is_session() && info.is_upgradable() && info.is_long_running("/"));
            }
        }
        let info = classify("GET", "/apis/example.com/v1/namespaces/a/pods/p/exec").unwrap();
        assert_eq!(info.authz_verb(), "get", "another group's pods are not pods");
        assert_eq!(classify("GET", "/api/v1/namespaces/a/pods/p").unwrap().authz_verb(), "get");
    }

    #[test]
    fn proxies() {
        for target in [
            "/api/v1/namespaces/a/services/https:web:443/proxy/x",
            "/api/v1/nodes/n/proxy",
            "/api/v1/proxy/nodes/n",
        ] {
            assert!(classify("GET", target).unwrap().is_proxy(), "{target}");
        }
        assert!(!classify("GET", "/proxy").unwrap().is_proxy());
    }

    #[test]
    fn what_lasts() {
        let long = |target| classify("GET", target).unwrap().is_long_running(target);
        assert!(long("/api/v1/pods?watch=1"));
        assert!(long("/api/v1/watch/pods"));
        assert!(long("/api/v1/namespaces/a/pods/p/log?follow=true"));
        assert!(!long("/api/v1/namespaces/a/pods/p/log?follow=false"));
        assert!(!long("/api/v1/namespaces/a/pods/p/log"));
        assert!(!long("/api/v1/pods"));
    }

    #[test]
    fn discovery() {
        let discovery = |method, target| classify(method, target).unwrap().is_discovery();
        for target in [
            "/api",
            "/api/",
            "/api/v1",
            "/apis",
            "/apis/apps",
            "/apis/apps/v1",
            "/openapi/v3/apis/apps/v1",
            "/version",
        ] {
            assert!(discovery("GET", target), "{target}");
        }
        assert!(discovery("GET", "/readyz?verbose") && discovery("HEAD", "/livez"));
        for target in
            ["/api/v1/pods", "/apis/apps/v1/deployments", "/metrics", "/logs", "/", "/healthz/etcd", "/API"]
        {
            assert!(!discovery("GET", target), "{target}");
        }
        assert!(!discovery("POST", "/apis"));
    }
}
