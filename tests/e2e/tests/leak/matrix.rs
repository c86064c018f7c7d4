//! Every format, verb and encoding, and what clients try to get around a mask.

use crate::ask::Ask;
use crate::plant::RUNNER;

/// What can be asked for, and what cannot; of each spelling that clients have.
const ACCEPTS: [&str; 32] = [
    "application/json",
    "*/*",
    "application/*",
    "application/vnd.kubernetes.protobuf",
    "application/vnd.kubernetes.protobuf,application/json",
    "application/vnd.kubernetes.protobuf;stream=watch",
    "application/json;stream=watch",
    "application/yaml",
    "application/yaml, */*;q=0.1",
    "application/yaml;q=1.0, application/json;q=0.9",
    "application/cbor",
    "application/cbor-seq",
    "application/cbor, application/json;q=0.5",
    "application/json;as=Table;v=v1;g=meta.k8s.io",
    "application/json;as=Table;v=v1beta1;g=meta.k8s.io, application/json",
    "application/vnd.kubernetes.protobuf;as=Table;v=v1;g=meta.k8s.io",
    "application/json;as=PartialObjectMetadata;v=v1;g=meta.k8s.io",
    "application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io",
    "application/vnd.kubernetes.protobuf;as=PartialObjectMetadata;v=v1;g=meta.k8s.io",
    "application/vnd.kubernetes.protobuf;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io,application/json",
    "text/html, application/json;q=0.1",
    "application/json;q=0, application/vnd.kubernetes.protobuf;q=1",
    "application/vnd.kubernetes.protobuf;Q=0.9,application/json;q=0.1",
    "APPLICATION/VND.KUBERNETES.PROTOBUF",
    "Application/YAML, application/json",
    "application/vnd.kubernetes.protobuf ; stream = watch, application/json",
    "application/json; charset=utf-8",
    "application/json;as=Table;v=v9;g=example.test",
    "application/json;as=table;v=v1;g=meta.k8s.io",
    "text/plain",
    ";;,,",
    ", application/yaml ,, application/json",
];

/// The forms that answers really come in.
const FORMS: [&str; 6] = [
    "application/json",
    "application/vnd.kubernetes.protobuf,application/json",
    "application/json;as=Table;v=v1;g=meta.k8s.io",
    "application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io,application/json;as=PartialObjectMetadata;v=v1;g=meta.k8s.io",
    "application/vnd.kubernetes.protobuf;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io,application/vnd.kubernetes.protobuf;as=PartialObjectMetadata;v=v1;g=meta.k8s.io",
    "application/yaml",
];

const WATCH_FORMS: [&str; 6] = [
    "application/json",
    "application/json;stream=watch",
    "application/vnd.kubernetes.protobuf;stream=watch",
    "application/vnd.kubernetes.protobuf",
    "application/json;as=Table;v=v1;g=meta.k8s.io",
    "application/vnd.kubernetes.protobuf;as=PartialObjectMetadata;v=v1;g=meta.k8s.io;stream=watch,application/json",
];

const CODINGS: [&str; 8] =
    ["identity", "gzip", "deflate, br", "gzip, deflate, br, zstd", "GZIP", "gzip;q=0", "*", "x-gzip"];

/// A resource that values are planted in: its path up to the namespace, what it is called, and objects of it.
struct Kind {
    root: &'static str,
    plural: &'static str,
    objects: &'static [&'static str],
}

const SECRETS: Kind = Kind {
    root: "/api/v1",
    plural: "secrets",
    objects: &["planted-0", "planted-5", "applied-0", "typed-2", "sh.helm.release.v1.app0.v1"],
};
const CONFIG_MAPS: Kind = Kind {
    root: "/api/v1",
    plural: "configmaps",
    objects: &["planted-keys", "planted-texts-0", "planted-texts-2", "sh.helm.release.v1.map1.v1"],
};
const PODS: Kind = Kind { root: "/api/v1", plural: "pods", objects: &["planted", RUNNER] };
const OTHERS: [Kind; 9] = [
    Kind { root: "/apis/apps/v1", plural: "deployments", objects: &["planted"] },
    Kind { root: "/apis/apps/v1", plural: "statefulsets", objects: &["planted"] },
    Kind { root: "/apis/apps/v1", plural: "daemonsets", objects: &["planted"] },
    Kind { root: "/apis/apps/v1", plural: "replicasets", objects: &["planted"] },
    Kind { root: "/apis/batch/v1", plural: "jobs", objects: &["planted"] },
    Kind { root: "/apis/batch/v1", plural: "cronjobs", objects: &["planted"] },
    Kind { root: "/api/v1", plural: "services", objects: &["planted"] },
    Kind { root: "/api/v1", plural: "events", objects: &["planted.0"] },
    Kind {
        root: "/apis/certificates.k8s.io/v1",
        plural: "certificatesigningrequests",
        objects: &["planted"],
    },
];

impl Kind {
    /// All of it in the namespace.
    fn list(&self) -> String {
        match self.plural {
            "certificatesigningrequests" => format!("{}/{}", self.root, self.plural),
            plural => format!("{}/namespaces/demo/{plural}", self.root),
        }
    }

    fn everywhere(&self) -> String {
        format!("{}/{}", self.root, self.plural)
    }

    fn legacy_watch(&self) -> String {
        match self.plural {
            "certificatesigningrequests" => format!("{}/watch/{}", self.root, self.plural),
            plural => format!("{}/watch/namespaces/demo/{plural}", self.root),
        }
    }

    fn objects(&self) -> impl Iterator<Item = String> + '_ {
        self.objects.iter().map(|name| format!("{}/{name}", self.list()))
    }
}

/// Every kind.
fn kinds() -> impl Iterator<Item = Kind> {
    [SECRETS, CONFIG_MAPS, PODS].into_iter().chain(OTHERS)
}

/// get and list.
pub(crate) fn reads() -> Vec<Ask> {
    let mut asks = Vec::new();
    for kind in [SECRETS, CONFIG_MAPS, PODS] {
        let first = kind.objects().nth(2).or(kind.objects().next()).into_iter();
        for target in first.chain([kind.list(), kind.everywhere()]) {
            asks.extend(ACCEPTS.map(|accept| Ask::get(target.as_str(), accept)));
            asks.push(Ask::get(target.as_str(), ""));
            asks.push(Ask::get(target.as_str(), "application/yaml").with("Accept: application/json"));
            asks.push(
                Ask::get(target.as_str(), "text/html").with("Accept: application/vnd.kubernetes.protobuf"),
            );
            for coding in CODINGS {
                let coded =
                    |form: &&str| Ask::get(target.as_str(), form).with(&format!("Accept-Encoding: {coding}"));
                asks.extend(FORMS[..3].iter().map(coded));
            }
        }
    }
    for kind in kinds() {
        for target in kind.objects().chain([kind.list()]) {
            asks.extend(FORMS.map(|form| Ask::get(target.as_str(), form)));
        }
    }
    for query in [
        "includeObject=Object",
        "includeObject=Metadata",
        "includeObject=None",
        "includeObject=object",
        "limit=1",
        "limit=500&resourceVersion=0",
        "pretty=true",
        "pretty=1",
        "pretty=0",
        "labelSelector=planted%3Dyes",
        "fieldSelector=metadata.name%3Dplanted-1",
        "resourceVersion=0&resourceVersionMatch=NotOlderThan",
        "timeoutSeconds=1",
        "watch=false",
        "watch=0",
        "watch=true&watch=false&timeoutSeconds=1",
        "dryRun=All",
        "export=true",
        "as=Table",
    ] {
        for kind in kinds() {
            asks.extend([FORMS[0], FORMS[2]].map(|form| Ask::get(format!("{}?{query}", kind.list()), form)));
        }
    }
    for odd in [
        "/api/v1/namespaces/demo/secrets/",
        "/api/v1/namespaces/demo/secrets/planted-0/",
        "/api/v1/namespaces/demo/%73ecrets/planted-0",
        "/api/v1/namespaces/demo/secrets%2Fplanted-0",
        "/api/v1//namespaces/demo/secrets",
        "/api/v1/namespaces/demo/configmaps/../secrets/planted-0",
        "/api/v1/namespaces/demo/Secrets/planted-0",
        "/api/v1/namespaces/demo/secrets/planted-0/status",
        "/api/v1/namespaces/demo/pods/planted/status",
        "/apis/apps/v1/namespaces/demo/deployments/planted/status",
        "/apis/apps/v1/namespaces/demo/deployments/planted/scale",
        "/apis/certificates.k8s.io/v1/certificatesigningrequests/planted/approval",
        "/apis/certificates.k8s.io/v1/certificatesigningrequests/planted/status",
    ] {
        asks.extend(FORMS.map(|form| Ask::get(odd, form)));
    }
    for (number, ask) in asks.iter_mut().enumerate() {
        ask.old = number % 3 == 1;
        if number % 2 == 0 {
            // What curl is given is indented; kubectl is not.
            ask.headers.push("User-Agent: kubectl/v1.33.1 (linux/amd64)".to_owned());
        }
    }
    asks
}

/// Watches in all their spellings; each ends by itself after a second.
pub(crate) fn watches() -> Vec<Ask> {
    let mut asks = Vec::new();
    for kind in kinds() {
        let (list, legacy) = (kind.list(), kind.legacy_watch());
        for target in [
            format!("{list}?watch=true&timeoutSeconds=1"),
            format!("{list}?watch=1&timeoutSeconds=1&resourceVersion=0&includeObject=Object"),
            format!(
                "{list}?watch&timeoutSeconds=1&allowWatchBookmarks=true&sendInitialEvents=true&resourceVersionMatch=NotOlderThan"
            ),
            format!("{legacy}?timeoutSeconds=1"),
            format!("{legacy}/{}?timeoutSeconds=1", kind.objects[0]),
        ] {
            asks.extend(WATCH_FORMS.map(|form| Ask::get(target.as_str(), form)));
            asks.push(Ask::get(target.as_str(), "application/json").with("Accept-Encoding: gzip"));
        }
    }
    for (number, ask) in asks.iter_mut().enumerate() {
        ask.old = number % 16 == 1;
    }
    asks
}

/// Watches, logs and commands over WebSocket.
pub(crate) fn sockets() -> Vec<Ask> {
    let upgrade = |target: String, protocol: &str| {
        let mut ask = Ask::get(target, "*/*").with("Connection: Upgrade").with("Upgrade: websocket");
        ask = ask.with("Sec-WebSocket-Version: 13").with("Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==");
        ask = ask.with("Origin: https://dashboard.example.test");
        if !protocol.is_empty() {
            ask = ask.with(&format!("Sec-WebSocket-Protocol: {protocol}"));
        }
        Ask { old: true, ..ask }
    };
    let mut asks = Vec::new();
    for kind in [SECRETS, CONFIG_MAPS, PODS] {
        for protocol in ["", "binary.k8s.io", "base64.binary.k8s.io"] {
            asks.push(upgrade(format!("{}?watch=true&timeoutSeconds=1", kind.list()), protocol));
        }
        asks.push(upgrade(format!("{}?timeoutSeconds=1", kind.legacy_watch()), ""));
    }
    let runner = format!("{}/{RUNNER}", PODS.list());
    for protocol in ["", "binary.k8s.io", "base64.binary.k8s.io"] {
        asks.push(upgrade(format!("{runner}/log?container=main"), protocol));
        asks.push(upgrade(format!("{runner}/log?container=main&tailLines=5&timestamps=true"), protocol));
    }
    for protocol in [
        "v5.channel.k8s.io",
        "v4.channel.k8s.io",
        "v4.base64.channel.k8s.io",
        "base64.channel.k8s.io",
        "channel.k8s.io",
        "",
    ] {
        for tty in [false, true] {
            let command = "command=cat&command=secrets.env&command=main.log&command=forward.txt";
            asks.push(upgrade(
                format!("{runner}/exec?container=main&stdout=true&tty={tty}&{command}"),
                protocol,
            ));
        }
    }
    asks
}

/// The log of a container.
pub(crate) fn logs() -> Vec<Ask> {
    let log = format!("{}/{RUNNER}/log?container=main", PODS.list());
    let mut asks = Vec::new();
    for query in [
        "",
        "&timestamps=true",
        "&tailLines=10",
        "&pretty=true",
        "&insecureSkipTLSVerifyBackend=true",
        "&sinceSeconds=3600&tailLines=30",
    ] {
        for accept in ["*/*", "application/json", "text/plain", "application/vnd.kubernetes.protobuf"] {
            asks.push(Ask::get(format!("{log}{query}"), accept));
            asks.push(Ask {
                old: true,
                ..Ask::get(format!("{log}{query}"), accept).with("Accept-Encoding: gzip, br")
            });
        }
    }
    // Parts of it, which begin and end anywhere.
    asks.extend((1..26).map(|lines| Ask::get(format!("{log}&tailLines={lines}"), "*/*")));
    asks.extend((1..40).map(|part| Ask::get(format!("{log}&limitBytes={}", part * 71), "*/*")));
    asks
}

/// What writes answer. Only labels are written, and only by the first of them.
pub(crate) fn writes() -> Vec<Ask> {
    let mut asks = Vec::new();
    for kind in kinds() {
        let Some(target) = kind.objects().nth(2).or(kind.objects().next()) else { continue };
        let api_version = kind.root.trim_start_matches("/apis/").trim_start_matches("/api/");
        let labels = |number: usize| format!(r#"{{"metadata":{{"labels":{{"touched":"{number}"}}}}}}"#);
        let name = target.rsplit('/').next().unwrap_or_default().to_owned();
        let apply = format!(
            r#"{{"apiVersion":"{api_version}","kind":"{}","metadata":{{"name":"{name}","labels":{{"applied":"yes"}}}}}}"#,
            kind_of(kind.plural)
        );
        for (number, form) in FORMS.iter().enumerate() {
            for dry in ["", "&dryRun=All"] {
                let write = |method: &'static str, content_type: &str, body: String| {
                    let target = format!("{target}?fieldManager=leak&force=true{dry}");
                    let ask = Ask { method, target, body, ..Ask::default() };
                    ask.with(&format!("Accept: {form}"))
                        .with(&format!("Content-Type: application/{content_type}"))
                };
                let force = |mut ask: Ask| {
                    // Only an apply may be forced.
                    ask.target = ask.target.replace("&force=true", "");
                    ask
                };
                asks.push(force(write("PATCH", "merge-patch+json", labels(number))));
                asks.push(force(write("PATCH", "strategic-merge-patch+json", labels(number + 100))));
                let json = format!(r#"[{{"op":"add","path":"/metadata/labels/json","value":"{number}"}}]"#);
                asks.push(force(write("PATCH", "json-patch+json", json)));
                asks.push(write("PATCH", "apply-patch+yaml", apply.clone()));
            }
            // What is not to be done is asked in the query and in the body.
            let delete = Ask { method: "DELETE", target: target.clone(), ..Ask::default() };
            asks.push(
                Ask {
                    body: r#"{"kind":"DeleteOptions","apiVersion":"v1","dryRun":["All"]}"#.to_owned(),
                    ..delete
                }
                .with(&format!("Accept: {form}"))
                .with("Content-Type: application/json"),
            );
            let all =
                Ask { method: "DELETE", target: format!("{}?dryRun=All", kind.list()), ..Ask::default() };
            asks.push(all.with(&format!("Accept: {form}")));
        }
    }
    for (method, content_type, body) in [
        ("PATCH", "json-patch+json", r#"[{"op":"test","path":"/data/k1","value":"guess"}]"#),
        ("PATCH", "json-patch+json", r#"[{"op":"copy","from":"/data/k1","path":"/metadata/labels/k1"}]"#),
        (
            "PATCH",
            "json-patch+json",
            r#"[{"op":"move","from":"/data/k1","path":"/metadata/annotations/k1"}]"#,
        ),
        ("PUT", "json", "{\"kind\":"),
        ("PATCH", "merge-patch+json", r#"{"metadata":{"resourceVersion":"1"}}"#),
        ("PATCH", "merge-patch+json", r#"{"type":"kubernetes.io/tls"}"#),
        ("PATCH", "strategic-merge-patch+json", r#"{"data":{"k1":1}}"#),
    ] {
        for form in FORMS {
            let target = "/api/v1/namespaces/demo/secrets/planted-1".to_owned();
            let ask = Ask { method, target, body: body.to_owned(), ..Ask::default() };
            asks.push(
                ask.with(&format!("Accept: {form}"))
                    .with(&format!("Content-Type: application/{content_type}")),
            );
        }
    }
    asks
}

/// Deletes that are done: of one object with an answer in its shape, and of what is left, collection by collection.
pub(crate) fn deletes() -> Vec<Ask> {
    let delete = |target: String, form: &str| {
        Ask { method: "DELETE", target, ..Ask::default() }.with(&format!("Accept: {form}"))
    };
    let mut asks = vec![delete(format!("{}/planted", PODS.list()), FORMS[1])];
    asks.extend(
        kinds()
            .zip(FORMS.iter().cycle())
            .map(|(kind, form)| delete(format!("{}?labelSelector=planted%3Dyes", kind.list()), form)),
    );
    asks
}

fn kind_of(plural: &str) -> &'static str {
    match plural {
        "secrets" => "Secret",
        "configmaps" => "ConfigMap",
        "pods" => "Pod",
        "deployments" => "Deployment",
        "statefulsets" => "StatefulSet",
        "daemonsets" => "DaemonSet",
        "replicasets" => "ReplicaSet",
        "jobs" => "Job",
        "cronjobs" => "CronJob",
        "services" => "Service",
        "events" => "Event",
        _ => "CertificateSigningRequest",
    }
}
